import { RETENTION_ACTION } from "@fulcrum/contracts/audit-chain.js";
import type { DataSource, EntityManager } from "typeorm";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";

/** Partitions are made so far ahead; the default partition takes what falls outside. */
const MONTHS_AHEAD = 2;
/** As append_audit takes it: nothing is appended while partitions are moved or dropped. */
const CHAIN_LOCK = 4_702_111;

export async function makeAuditMonths(source: DataSource, nowMs: number): Promise<void> {
  await emptyDefault(source, monthOf(nowMs, MONTHS_AHEAD + 1));
  for (let ahead = 0; ahead <= MONTHS_AHEAD; ahead += 1) {
    const month = monthOf(nowMs, ahead);
    const [existing] = await source.query<{ found: string | null }[]>("SELECT to_regclass($1) AS found", [
      partitionOf(month),
    ]);
    if (existing?.found) continue;
    await source.transaction(async (manager) => {
      await manager.query("SELECT pg_advisory_xact_lock($1)", [CHAIN_LOCK]);
      await makeMonth(manager, month);
    });
  }
}

async function makeMonth(manager: EntityManager, month: string): Promise<void> {
  const name = partitionOf(month);
  await manager.query(
    `CREATE TABLE IF NOT EXISTS ${name} PARTITION OF audit
     FOR VALUES FROM ('${month}') TO ('${monthOf(Date.parse(month), 1)}')`,
  );
  await refuseTruncate(manager, name);
}

/** Of a partition by its own name: the parent's trigger does not see that. */
async function refuseTruncate(manager: EntityManager, name: string): Promise<void> {
  await manager.query(
    `CREATE OR REPLACE TRIGGER audit_no_truncate BEFORE TRUNCATE ON ${name}
     FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()`,
  );
}

/**
 * Rows lie in the default partition where their month had none when they came: no controller ran at the turn of the month,
 * or a clock had run ahead. A month cannot be made while it has rows there, and would never be dropped; so all rows go
 * through a new default partition, into their months as far as those are before `end`.
 */
async function emptyDefault(source: DataSource, end: string): Promise<void> {
  if ((await monthsInDefault(source.manager, end)).length === 0) return;
  await source.transaction(async (manager) => {
    await manager.query("SELECT pg_advisory_xact_lock($1)", [CHAIN_LOCK]);
    // Another replica may have been first.
    const months = await monthsInDefault(manager, end);
    if (months.length === 0) return;
    await manager.query("ALTER TABLE audit DETACH PARTITION audit_default");
    await manager.query("ALTER TABLE audit_default RENAME TO audit_outside");
    await manager.query("CREATE TABLE audit_default PARTITION OF audit DEFAULT");
    await refuseTruncate(manager, "audit_default");
    for (const month of months) await makeMonth(manager, month);
    await manager.query("INSERT INTO audit SELECT * FROM audit_outside");
    await manager.query("DROP TABLE audit_outside");
  });
}

/** Months before 2000 were put there by hand, and stay. */
async function monthsInDefault(manager: EntityManager, end: string): Promise<string[]> {
  const rows = await manager.query<{ month: string }[]>(
    `SELECT DISTINCT to_char(month, 'YYYY-MM-01') AS month FROM audit_default
     WHERE month >= '2000-01-01' AND month < $1::date ORDER BY 1`,
    [end],
  );
  return rows.map(({ month }) => month);
}

export interface DroppedMonths {
  readonly dropped: number;
  /** A month that was to go and stays, with all after it: rows from before it lie elsewhere, and it is no beginning. */
  readonly stuck: string | null;
}

/**
 * Drops the months that lie wholly before the last `keepMonths`, oldest first, each with a row in the log that names the
 * last hash that went with it: what stays begins where that row says.
 */
export async function dropAuditMonths(
  source: DataSource,
  keepMonths: number,
  nowMs: number,
): Promise<DroppedMonths> {
  const oldest = partitionOf(monthOf(nowMs, -keepMonths));
  const rows = await source.query<{ name: string }[]>(
    `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'audit'::regclass AND c.relname ~ '^audit_[0-9]{6}$' AND c.relname < $1 ORDER BY 1`,
    [oldest],
  );
  for (const [dropped, { name }] of rows.entries()) {
    const isGone = await source.transaction((manager) => drop(manager, name));
    if (!isGone) return { dropped, stuck: name };
  }
  return { dropped: rows.length, stuck: null };
}

/** False: it is not the beginning of the log. */
async function drop(manager: EntityManager, name: string): Promise<boolean> {
  await manager.query("SELECT pg_advisory_xact_lock($1)", [CHAIN_LOCK]);
  const [went] = await manager.query<{ rows: number; from_seq: number; to_seq: number; last_hash: string }[]>(
    `SELECT count(*)::int AS rows, min(seq)::float8 AS from_seq, max(seq)::float8 AS to_seq,
            (array_agg(hash ORDER BY seq DESC))[1] AS last_hash FROM ${name}`,
  );
  if (went && went.rows > 0) {
    const [before] = await manager.query<{ found: boolean }[]>(
      `SELECT EXISTS (SELECT 1 FROM audit WHERE seq < (SELECT max(seq) FROM ${name})
                      AND tableoid <> '${name}'::regclass) AS found`,
    );
    if (before?.found) return false;
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
  return true;
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
