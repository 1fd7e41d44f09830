import type { EntityManager } from "typeorm";
import { tell } from "../outbox/outbox.js";

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
  /** Who did this one; absent: whoever the others are of. */
  readonly actor?: Actor;
}

/**
 * Appends rows to the chain, in the caller's transaction: a change and its record stand or fall together.
 * Writers queue on the chain's lock until the transaction ends, so append once, as the last thing. Webhooks that
 * want to hear of a record are told in the same transaction.
 */
export async function appendAudit(
  manager: EntityManager,
  actor: Actor,
  ...records: readonly AuditRecord[]
): Promise<void> {
  if (records.length === 0) return;
  const at = new Date().toISOString();
  // Before the chain's lock is taken.
  await tell(
    manager,
    records.map((record) => ({ ...record, actor: (record.actor ?? actor).name })),
    at,
  );
  const rows = records.map((record) => ({
    ...record,
    actor: record.actor ?? actor,
    before: JSON.stringify(record.before ?? null),
    after: JSON.stringify(record.after ?? null),
  }));
  await manager.query("SELECT append_audit($1, $2, $3, $4, $5, $6, $7, $8, $9)", [
    rows.map(() => at),
    rows.map((row) => row.actor.name),
    rows.map((row) => row.actor.keyId),
    rows.map((row) => row.actor.address),
    rows.map((row) => row.action),
    rows.map((row) => row.subject),
    rows.map((row) => row.before),
    rows.map((row) => row.after),
    rows.map((row) => {
      const head = JSON.stringify([
        at,
        row.actor.name,
        row.actor.keyId,
        row.actor.address,
        row.action,
        row.subject,
      ]).slice(1, -1);
      return `${head},${row.before},${row.after}`;
    }),
  ]);
}
