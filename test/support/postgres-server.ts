import { rm } from "node:fs/promises";

import { temporaryDataDir } from "@fulcrum/embedded/default-data-dir.js";
import { startPostgres, type RunningPostgres } from "@fulcrum/embedded/postgres.js";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  export interface ProvidedContext {
    /** A Postgres for this run, with user, password and an empty database: see createDatabase(). */
    postgresUrl: string;
  }
}

let dataDir: string | undefined;
let server: RunningPostgres | undefined;

/** Starts one temporary Postgres for the project; tests take a database each from it. */
export async function setup(project: TestProject): Promise<void> {
  dataDir = await temporaryDataDir();
  // Nothing here is meant to survive a power cut, and waiting for the disk is most of a small test's time.
  const settings = { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };
  server = await startPostgres({ dataDir, settings });
  project.provide("postgresUrl", server.url);
}

export async function teardown(): Promise<void> {
  await server?.stop();
  if (dataDir !== undefined) await rm(dataDir, { recursive: true, force: true });
}
