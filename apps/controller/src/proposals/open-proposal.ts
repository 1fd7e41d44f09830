/** Makes proposals out of moves that a pool in mode recommend does not apply by itself. */
import type { Approval } from "@fulcrum/contracts/proposals.js";
import type { Decision } from "@fulcrum/core/decision.js";
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import type { EntityManager } from "typeorm";
import type { AuditRecord } from "../audit/append-audit.js";
import { uuidV7 } from "../db/uuid-v7.js";
import { audited } from "../reconfigurations/open-reconfiguration.js";
import { ProposalRow } from "./proposal.rows.js";

/** What of an open proposal a decision is held against. */
export interface OpenProposal {
  readonly id: string;
  readonly basedOnGeneration: number;
  readonly to: Allocation;
  readonly expiresAtMs: number;
}

/** The open proposal of `instances i` as JSON; null when there is none. */
export const OPEN_PROPOSAL = `(
  SELECT json_build_object('id', q.id, 'basedOnGeneration', q.based_on_generation, 'to', q.to_allocation,
                           'expiresAtMs', floor(extract(epoch FROM q.expires_at) * 1000))
  FROM proposals q WHERE q.instance_id = i.id AND q.ended_at IS NULL)`;

/** A move that waits for people. */
export interface Wish {
  readonly decisionId: string;
  readonly poolId: string;
  readonly instanceId: string;
  readonly instance: string;
  readonly from: GeneratedAllocation;
  readonly to: Allocation;
  readonly reason: string;
  readonly message: string;
  readonly predicted: Decision["predicted"];
  readonly approval: Approval;
}

/**
 * A policy that looks every few seconds shifts its target by a step with the load's noise. A proposal that was replaced
 * each time could never be approved: one whose caps and quota are all less than so many points off says the same.
 */
const SAME_WITHIN_PCT = 5;

/** Whether the open proposal says what a decision says now, and may still be approved. */
export function saysTheSame(
  open: OpenProposal | null,
  { from, to }: Pick<Wish, "from" | "to">,
  nowMs: number,
): boolean {
  if (open === null || open.expiresAtMs <= nowMs || open.basedOnGeneration !== from.generation) return false;
  const apart = [
    open.to.split.prefillSmPct - to.split.prefillSmPct,
    open.to.split.decodeSmPct - to.split.decodeSmPct,
    open.to.kvQuotaPct - to.kvQuotaPct,
  ];
  return apart.every((points) => Math.abs(points) < SAME_WITHIN_PCT);
}

interface Opened {
  readonly decisionIds: ReadonlySet<string>;
  readonly audit: readonly AuditRecord[];
}

/**
 * Opens a proposal for each wish whose instance is still at the generation that it was made on and has none that says the
 * same; ends the one before. Runs in the caller's transaction, locks instances in order, and leaves the audit to it.
 */
export async function openProposals(
  manager: EntityManager,
  wishes: readonly Wish[],
  now: Date,
): Promise<Opened> {
  const locked = await manager.query<{ id: string; generation: number }[]>(
    `SELECT id, generation FROM instances WHERE id = ANY($1::uuid[]) AND deleted_at IS NULL
     ORDER BY id FOR NO KEY UPDATE`,
    [wishes.map(({ instanceId }) => instanceId)],
  );
  const generations = new Map(locked.map(({ id, generation }) => [id, generation]));
  // Under the lock: another replica may have proposed it already.
  const open = await manager.query<{ instance_id: string; open: OpenProposal }[]>(
    `SELECT i.id AS instance_id, ${OPEN_PROPOSAL} AS open FROM instances i WHERE i.id = ANY($1::uuid[])`,
    [locked.map(({ id }) => id)],
  );
  const openOf = new Map(open.map((row) => [row.instance_id, row.open]));
  const made = wishes.filter(
    (wish) =>
      generations.get(wish.instanceId) === wish.from.generation &&
      !saysTheSame(openOf.get(wish.instanceId) ?? null, wish, now.getTime()),
  );
  if (made.length === 0) return { decisionIds: new Set(), audit: [] };
  const ended = await endOpen(manager, made, now);
  const rows = made.map((wish) => newRow(wish, now));
  await manager.insert(ProposalRow, rows);
  const created = made.map((wish, index) => ({
    action: "proposal.create",
    subject: `instance/${wish.instance}`,
    before: audited(wish.from),
    after: {
      proposal: rows[index]!.id,
      decision: wish.decisionId,
      allocation: wish.to,
      required: wish.approval.required,
      expiresAt: rows[index]!.expiresAt,
      message: wish.message,
    },
  }));
  return { decisionIds: new Set(made.map(({ decisionId }) => decisionId)), audit: [...ended, ...created] };
}

async function endOpen(manager: EntityManager, made: readonly Wish[], now: Date): Promise<AuditRecord[]> {
  const [rows] = await manager.query<[{ id: string; instance: string; state: string }[], number]>(
    `UPDATE proposals q
     SET ended_at = $2, state = CASE WHEN q.expires_at <= $2 THEN 'expired'
                                     WHEN q.based_on_generation <> i.generation THEN 'outdated'
                                     ELSE 'superseded' END
     FROM instances i
     WHERE i.id = q.instance_id AND q.instance_id = ANY($1::uuid[]) AND q.ended_at IS NULL
     RETURNING q.id, i.name AS instance, q.state`,
    [made.map(({ instanceId }) => instanceId), now],
  );
  return rows.map(endedRecord);
}

/** What the audit log holds of a proposal that ended without a person. */
export function endedRecord(row: { id: string; instance: string; state: string }): AuditRecord {
  return {
    action: `proposal.${row.state}`,
    subject: `instance/${row.instance}`,
    before: { proposal: row.id, state: "open" },
    after: { proposal: row.id, state: row.state },
  };
}

function newRow(wish: Wish, now: Date): ProposalRow {
  return {
    id: uuidV7(),
    decisionId: wish.decisionId,
    poolId: wish.poolId,
    instanceId: wish.instanceId,
    basedOnGeneration: wish.from.generation,
    fromAllocation: wish.from,
    toAllocation: wish.to,
    reason: wish.reason,
    message: wish.message,
    predicted: wish.predicted,
    state: "open",
    required: wish.approval.required,
    createdAt: now,
    expiresAt: new Date(now.getTime() + wish.approval.expireMs),
    endedAt: null,
    generation: null,
  };
}
