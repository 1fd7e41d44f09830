import { afterAll, beforeAll, expect, inject } from "vitest";

import { type LogLine, startController, type TestController } from "./controller.js";
import { createDatabase, type TestDatabase } from "./database.js";

export interface Fixture {
  /** The first replica. */
  readonly controller: TestController;
  /** The second replica, on the same database. */
  readonly other: TestController;
  readonly database: TestDatabase;
}

/**
 * Starts `replicas` controllers on a database of this file's own, before its tests. After them, nothing
 * may have been logged as an error: a 500 that no test looked at fails the file.
 */
export function useControllers(
  options: { replicas?: 1 | 2; env?: Readonly<Record<string, string>> } = {},
): Fixture {
  let database: TestDatabase | undefined;
  const started: TestController[] = [];
  beforeAll(async () => {
    database = await createDatabase(inject("postgresUrl"));
    for (let index = 0; index < (options.replicas ?? 1); index += 1)
      started.push(await startController(database.url, options.env));
  });
  afterAll(async () => {
    await Promise.all(started.map((controller) => controller.close()));
    await database?.drop();
    expect(errorsOf(started.flatMap((controller) => controller.logged))).toEqual([]);
  });
  return {
    get controller() {
      return started.at(0)!;
    },
    get other() {
      return started.at(1)!;
    },
    get database() {
      return database!;
    },
  };
}

/** Pino's level 50 is "error". */
export function errorsOf(logged: readonly LogLine[]): string[] {
  return logged
    .filter((line) => line.level >= 50)
    .map((line) => `${line.event ?? "?"} ${line.path ?? ""}: ${line.err?.stack ?? line.msg ?? ""}`);
}
