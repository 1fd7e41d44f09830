import { RETENTION_ACTION } from "@fulcrum/contracts/audit-chain.js";
import type { DataSource, EntityManager } from "typeorm";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";

/** Partitions are made so far ahead; the default partition takes what falls outside. */
const MONTHS_AHEAD = 2;
/** As append_audit takes it: nothing is appended while a month is dropped. */
const CHAIN_LOCK = 4_702_111;

export async function makeAuditMonths(source: DataSource, nowMs: number): Promise<void> {
  for (let ahead = 0; ahead <= MONTHS_AHEAD; ahead += 1) {
    const name = partitionOf(monthOf(nowMs, ahead));
    const [existing] = await source.query<{ found: string | null }[]>("SELECT to_regclass($1) AS found", [
      name,
    ]);
    if (existing?.found) continue;
    await source.transaction(async (manager) => {
      await manager.query(
        `CREATE TABLE IF NOT EXISTS ${name} PARTITION OF audit
         FOR VALUES FROM ('${monthOf(nowMs, ahead)}') TO ('${monthOf(nowMs, ahead + 1)}')`,
      );
      await manager.query(
        `CREATE OR REPLACE TRIGGER audit_no_truncate BEFORE TRUNCATE ON ${name}
         FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()`,
      );
    });
  }
}

/**
 * Drops the months that lie wholly before the last `keepMonths`, oldest first, each with a row in the log that names the
 * last hash that went with it: what stays begins where that row says. Answers with how many months went.
 */
export async function dropAuditMonths(
  source: DataSource,
  keepMonths: number,
  nowMs: number,
): Promise<number> {
  const oldest = partitionOf(monthOf(nowMs, -keepMonths));
  const rows = await source.query<{ name: string }[]>(
    `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'audit'::regclass AND c.relname ~ '^audit_[0-9]{6}$' AND c.relname < $1 ORDER BY 1`,
    [oldest],
  );
  for (const { name } of rows) await source.transaction((manager) => drop(manager, name));
  return rows.length;
}

async function drop(manager: EntityManager, name: string): Promise<void> {
  await manager.query("SELECT pg_advisory_xact_lock($1)", [CHAIN_LOCK]);
  const [went] = await manager.query<{ rows: number; from_seq: number; to_seq: number; last_hash: string }[]>(
    `SELECT count(*)::int AS rows, min(seq)::float8 AS from_seq, max(seq)::float8 AS to_seq,
            (array_agg(hash ORDER BY seq DESC))[1] AS last_hash FROM ${name}`,
  );
  if (went && went.rows > 0) {
    // Before the drop: without any row the chain would begin anew.
    await appendAudit(manager, CONTROLLER, {
      action: RETENTION_ACTION,
      subject: `audit/${name.slice(6, 10)}-${name.slice(10)}`,
      before: null,
      after: { rows: went.rows, fromSeq: went.from_seq, toSeq: went.to_seq, lastHash: went.last_hash },
    });
    const [later] = await manager.query<{ rows: number }[]>(`SELECT count(*)::int AS rows FROM ${name}`);
    if (later?.rows !== went.rows) throw new Error(`${name} is the present month: is the clock right?`);
  }
  await manager.query(`DROP TABLE ${name}`);
}

/** The first of the month, `ahead` months from that of `nowMs`: `2026-11-01`. */
function monthOf(nowMs: number, ahead: number): string {
  const now = new Date(nowMs);
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + ahead, 1)).toISOString().slice(0, 10);
}

/** `audit_202611`: names sort as their months do. */
function partitionOf(month: string): string {
  return `audit_${month.slice(0, 7).replace("-", "")}`;
}
