import { createHash } from "node:crypto";
import type { EntityManager } from "typeorm";

/** Who did it: a key's holder, or the controller itself. */
export interface Actor {
  readonly name: string;
  readonly keyId: string | null;
  readonly address: string | null;
}

export const CONTROLLER: Actor = { name: "controller", keyId: null, address: null };

export interface AuditRecord {
  readonly action: string;
  readonly subject: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** The first row's `prev_hash`. */
export const GENESIS = "0".repeat(64);

/** Any constant; it names the chain's lock among the database's advisory locks. */
const CHAIN_LOCK = 4_702_111;

/**
 * Appends one row to the chain, in the caller's transaction: the change and its record stand or fall
 * together. Writers queue on an advisory lock until the transaction ends, so append last.
 */
export async function appendAudit(manager: EntityManager, actor: Actor, record: AuditRecord): Promise<void> {
  await manager.query("SELECT pg_advisory_xact_lock($1)", [CHAIN_LOCK]);
  const [last] = await manager.query<{ seq: string; hash: string }[]>(
    "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
  );
  const row = {
    seq: Number(last?.seq ?? 0) + 1,
    at: new Date().toISOString(),
    actor: actor.name,
    keyId: actor.keyId,
    address: actor.address,
    action: record.action,
    subject: record.subject,
    before: record.before ?? null,
    after: record.after ?? null,
    prevHash: last?.hash ?? GENESIS,
  };
  await manager.query(
    `INSERT INTO audit (seq, at, actor, key_id, address, action, subject, before, after, prev_hash, hash)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      row.seq,
      row.at,
      row.actor,
      row.keyId,
      row.address,
      row.action,
      row.subject,
      JSON.stringify(row.before),
      JSON.stringify(row.after),
      row.prevHash,
      auditHash(row),
    ],
  );
}

/** SHA-256 over the row as one JSON array in a fixed order: anyone can recompute it from an export. */
export function auditHash(row: {
  seq: number;
  at: string;
  actor: string;
  keyId: string | null;
  address: string | null;
  action: string;
  subject: string;
  before: unknown;
  after: unknown;
  prevHash: string;
}): string {
  const text = JSON.stringify([
    row.prevHash,
    row.seq,
    row.at,
    row.actor,
    row.keyId,
    row.address,
    row.action,
    row.subject,
    row.before,
    row.after,
  ]);
  return createHash("sha256").update(text).digest("hex");
}
