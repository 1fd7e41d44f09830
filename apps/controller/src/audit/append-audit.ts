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

/**
 * Appends rows to the chain, in the caller's transaction: a change and its record stand or fall together.
 * Writers queue on the chain's lock until the transaction ends, so append once, as the last thing.
 */
export async function appendAudit(
  manager: EntityManager,
  actor: Actor,
  ...records: readonly AuditRecord[]
): Promise<void> {
  if (records.length === 0) return;
  const at = new Date().toISOString();
  const rows = records.map((record) => ({
    ...record,
    before: JSON.stringify(record.before ?? null),
    after: JSON.stringify(record.after ?? null),
  }));
  const all = <T>(value: T) => rows.map(() => value);
  await manager.query("SELECT append_audit($1, $2, $3, $4, $5, $6, $7, $8, $9)", [
    all(at),
    all(actor.name),
    all(actor.keyId),
    all(actor.address),
    rows.map((row) => row.action),
    rows.map((row) => row.subject),
    rows.map((row) => row.before),
    rows.map((row) => row.after),
    rows.map((row) => {
      const head = JSON.stringify([
        at,
        actor.name,
        actor.keyId,
        actor.address,
        row.action,
        row.subject,
      ]).slice(1, -1);
      return `${head},${row.before},${row.after}`;
    }),
  ]);
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
