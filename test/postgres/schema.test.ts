import "reflect-metadata";

import { dataSourceOptions, openDatabase } from "@fulcrum/controller/db/data-source.js";
import { MIGRATIONS } from "@fulcrum/migrations/all.js";
import type { DataSource } from "typeorm";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";

import { createDatabase, type TestDatabase } from "../support/database.js";

let database: TestDatabase;
let source: DataSource;

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  source = await openDatabase(dataSourceOptions(database.url, 2));
});
afterAll(async () => {
  await source?.destroy();
  await database?.drop();
});

async function tables(): Promise<string[]> {
  const rows = await source.query<{ name: string }[]>(
    "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
  );
  return rows.map(({ name }) => name);
}

test("the migrations make exactly what the entities say: a comparison finds nothing to do", async () => {
  const { upQueries } = await source.driver.createSchemaBuilder().log();
  expect(upQueries.map(({ query }) => query)).toEqual([]);
});

test("replicas that start together migrate one after the other", async () => {
  const fresh = await createDatabase(inject("postgresUrl"));
  const opened = await Promise.all(
    Array.from({ length: 3 }, () => openDatabase(dataSourceOptions(fresh.url, 2))),
  );
  const [row] = await opened.at(0)!.query("SELECT count(*)::int AS count FROM fulcrum_migrations");
  expect(row.count).toBe(MIGRATIONS.length);
  await Promise.all(opened.map((one) => one.destroy()));
  await fresh.drop();
});

test("every migration can be taken back, down to nothing, and made again", async () => {
  const before = await tables();
  for (const _ of MIGRATIONS) await source.undoLastMigration({ transaction: "each" });
  expect(await tables()).toEqual(["fulcrum_migrations"]);
  const functions = await source.query(
    "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
  );
  expect(functions).toEqual([]);
  await source.runMigrations({ transaction: "each" });
  expect(await tables()).toEqual(before);
});

describe("audit rows are only ever added", () => {
  beforeAll(async () => {
    await source.query(
      `INSERT INTO audit (seq, at, actor, action, subject, prev_hash, hash)
       VALUES (1, now(), 'a', 'b', 'c', 'd', 'e')`,
    );
  });
  test.each([
    "UPDATE audit SET actor = 'somebody else'",
    "UPDATE audit SET hash = 'f' WHERE seq = 1",
    "DELETE FROM audit",
    "TRUNCATE audit",
    "TRUNCATE audit CASCADE",
    "INSERT INTO audit SELECT * FROM audit ON CONFLICT (seq) DO UPDATE SET actor = 'somebody else'",
  ])("%s is refused by the database itself", async (statement) => {
    await expect(source.query(statement)).rejects.toThrow("audit rows are only ever added");
    expect(await source.query("SELECT seq, actor, hash FROM audit")).toEqual([
      { seq: "1", actor: "a", hash: "e" },
    ]);
  });
});
