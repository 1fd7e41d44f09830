import "reflect-metadata";

import { createHash } from "node:crypto";
import { verifyChain } from "@fulcrum/contracts/audit-chain.js";
import type { AuditEntry } from "@fulcrum/contracts/resources.js";
import { AuditRead } from "@fulcrum/controller/audit/audit.read.js";
import { appendAudit, CONTROLLER } from "@fulcrum/controller/audit/append-audit.js";
import { dropAuditMonths, makeAuditMonths } from "@fulcrum/controller/db/audit-months.js";
import { dataSourceOptions, openDatabase } from "@fulcrum/controller/db/data-source.js";
import type { DataSource } from "typeorm";
import { afterEach, beforeEach, expect, inject, test } from "vitest";

import { createDatabase, type TestDatabase } from "../support/database.js";

let database: TestDatabase;
let source: DataSource;

beforeEach(async () => {
  database = await createDatabase(inject("postgresUrl"));
  source = await openDatabase(dataSourceOptions(database.url, 2));
});
afterEach(async () => {
  await source?.destroy();
  await database?.drop();
});

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const monthMs = (ahead: number): number => {
  const now = new Date();
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + ahead, 1, 12);
};
const partOf = (ahead: number): string =>
  `audit_${new Date(monthMs(ahead)).toISOString().slice(0, 7).replace("-", "")}`;

/** A row of a replica whose clock says that. */
async function append(subject: string, atMs: number): Promise<void> {
  const at = new Date(atMs).toISOString();
  const tail = `"${at}","a",null,null,"b","${subject}",null,null`;
  await source.query(
    "SELECT append_audit(ARRAY[$1::timestamptz], '{a}', '{NULL}', '{NULL}', '{b}', ARRAY[$2], '{\"null\"}', '{\"null\"}', ARRAY[$3])",
    [at, subject, tail],
  );
}

async function places(): Promise<string[]> {
  const rows = await source.query<{ seq: string; part: string }[]>(
    "SELECT seq, tableoid::regclass::text AS part FROM audit ORDER BY seq",
  );
  return rows.map(({ seq, part }) => `${seq} ${part}`);
}

async function faults(): Promise<readonly string[]> {
  const { items } = await new AuditRead(source).list({ limit: 500, order: "asc" });
  return (await verifyChain(items satisfies AuditEntry[], sha256)).faults.map(({ message }) => message);
}

/** As rows lay before the month went by the database's clock too. */
async function outside(subject: string, ahead: number): Promise<void> {
  await append(subject, Date.now());
  await source.transaction(async (manager) => {
    await manager.query("SET LOCAL session_replication_role = replica");
    await manager.query("UPDATE audit SET month = $1 WHERE subject = $2", [
      new Date(monthMs(ahead)).toISOString().slice(0, 8) + "01",
      subject,
    ]);
  });
}

test("a clock that is months ahead takes no row into a month to come", async () => {
  await append("before", Date.now());
  await append("ahead", monthMs(7));
  await append("after", Date.now());
  expect(await places()).toEqual([1, 2, 3].map((seq) => `${seq} ${partOf(0)}`));
  for (const ahead of [1, 4, 7, 9]) await makeAuditMonths(source, monthMs(ahead));
  expect(await faults()).toEqual([]);
});

test("rows that lie in the default partition come into their months when those are made, and can be dropped", async () => {
  await append("before", Date.now());
  await outside("ahead", 4);
  await outside("as well", 4);
  await outside("further", 200);
  expect(await places()).toEqual([`1 ${partOf(0)}`, ...[2, 3, 4].map((seq) => `${seq} audit_default`)]);
  await Promise.all([makeAuditMonths(source, monthMs(3)), makeAuditMonths(source, monthMs(3))]);
  expect(await places()).toEqual([`1 ${partOf(0)}`, `2 ${partOf(4)}`, `3 ${partOf(4)}`, "4 audit_default"]);
  await expect(source.query("TRUNCATE audit_default")).rejects.toThrow("audit rows are only ever added");
  await expect(source.query(`DELETE FROM ${partOf(4)}`)).rejects.toThrow("audit rows are only ever added");
  expect(await faults()).toEqual([]);
  expect(await dropAuditMonths(source, 1, monthMs(3))).toEqual({ dropped: 2, stuck: null });
  expect((await places()).slice(0, 3)).toEqual([`2 ${partOf(4)}`, `3 ${partOf(4)}`, "4 audit_default"]);
});

test("a month is never dropped while rows from before it stay", async () => {
  await outside("stays", 200);
  await append("goes", Date.now());
  await source.transaction(async (manager) => {
    await manager.query("SET LOCAL session_replication_role = replica");
    await manager.query("UPDATE audit SET month = date_trunc('month', now())::date WHERE subject = 'goes'");
  });
  expect(await dropAuditMonths(source, 1, monthMs(3))).toEqual({ dropped: 0, stuck: partOf(0) });
  expect(await places()).toEqual(["1 audit_default", `2 ${partOf(0)}`]);
});

test("the migration brings rows back from months to come", async () => {
  await appendAudit(source.manager, CONTROLLER, { action: "b", subject: "first", before: null, after: null });
  await outside("ahead", 12);
  await outside("later", 12);
  const [row] = await source.query<{ up: number }[]>(
    "SELECT count(*)::int AS up FROM fulcrum_migrations WHERE timestamp >= 1764000000010",
  );
  for (let back = 0; back < row!.up; back += 1) await source.undoLastMigration({ transaction: "each" });
  await source.runMigrations({ transaction: "each" });
  expect(await places()).toEqual([1, 2, 3].map((seq) => `${seq} ${partOf(0)}`));
  expect(await faults()).toEqual([]);
});
