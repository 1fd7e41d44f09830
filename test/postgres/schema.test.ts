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

/** But for the months of the audit log, which are made at every start. */
async function tables(): Promise<string[]> {
  const rows = await source.query<{ name: string }[]>(
    "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '^audit_[0-9]+$' ORDER BY 1",
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

test("an audit log from before it was cut by month keeps every row, each in its month, and takes more", async () => {
  const rows = "SELECT seq, at, actor, prev_hash, hash FROM audit ORDER BY seq";
  const fresh = await createDatabase(inject("postgresUrl"));
  const opened = await openDatabase(dataSourceOptions(fresh.url, 2));
  for (const _ of MIGRATIONS.slice(3)) await opened.undoLastMigration({ transaction: "each" });
  const append = `SELECT append_audit(ARRAY[$1::timestamptz], '{a}', '{NULL}', '{NULL}', '{b}', '{c}', '{null}', '{null}', '{d}')`;
  for (const at of [
    "2026-08-31T23:59:59Z",
    "2026-09-01T00:00:01Z",
    "2026-08-31T23:59:59.5Z",
    "2026-11-02T12:00:00Z",
  ])
    await opened.query(append, [at]);
  const before = await opened.query(rows);
  await opened.runMigrations({ transaction: "each" });
  expect(await opened.query(rows)).toEqual(before);
  await opened.query(append, ["2026-11-03T12:00:00Z"]);
  expect(await opened.query("SELECT seq, tableoid::regclass::text AS part FROM audit ORDER BY seq")).toEqual([
    { seq: "1", part: "audit_202608" },
    { seq: "2", part: "audit_202609" },
    // A later row of a replica whose clock is behind stays behind the one before it.
    { seq: "3", part: "audit_202609" },
    { seq: "4", part: "audit_202611" },
    { seq: "5", part: "audit_202611" },
  ]);
  const [last] = await opened.query("SELECT prev_hash FROM audit WHERE seq = 5");
  expect(last.prev_hash).toBe(before[3].hash);
  await opened.destroy();
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
      `INSERT INTO audit (seq, month, at, actor, action, subject, prev_hash, hash)
       VALUES (1, '2026-11-01', now(), 'a', 'b', 'c', 'd', 'e')`,
    );
  });
  test.each([
    "UPDATE audit SET actor = 'somebody else'",
    "UPDATE audit SET hash = 'f' WHERE seq = 1",
    "DELETE FROM audit",
    "TRUNCATE audit",
    "TRUNCATE audit CASCADE",
    "TRUNCATE audit_default",
    "UPDATE audit_default SET actor = 'somebody else'",
    "DELETE FROM audit_default",
    "INSERT INTO audit SELECT * FROM audit ON CONFLICT (seq, month) DO UPDATE SET actor = 'somebody else'",
  ])("%s is refused by the database itself", async (statement) => {
    await expect(source.query(statement)).rejects.toThrow("audit rows are only ever added");
    expect(await source.query("SELECT seq, actor, hash FROM audit")).toEqual([
      { seq: "1", actor: "a", hash: "e" },
    ]);
  });
});
