/** Moves that were decided become allocations, or it is said what stopped them. */
import { holdGate } from "@fulcrum/core/guard/gates.js";
import type { EntityManager } from "typeorm";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { shareHolds } from "../db/holds-lock.js";
import { standingOf } from "../holds/standing.js";
import { audited, openReconfigurations } from "../reconfigurations/open-reconfiguration.js";
import type { ReconfigurationRow } from "../reconfigurations/reconfiguration.rows.js";
import { agentsOf } from "../reconfigurations/reconfiguration.service.js";
import { type DecisionOutcome, type DecisionRow, insertDecisions } from "./decision.row.js";
import type { DecisionContext } from "./load-contexts.js";

export interface DecidedMove {
  readonly context: DecisionContext;
  readonly row: DecisionRow;
  /** The trace that its rollout goes on; null: it is not traced. */
  readonly traceparent: string | null;
}

/** What kept a move from being made. */
export interface Stopped {
  readonly outcome: Exclude<DecisionOutcome, "applied" | "recorded">;
  readonly stoppedBy: string;
}

export interface Committed {
  /** By instance, as is `stopped`: each move is in one of the two. */
  readonly opened: ReadonlyMap<string, ReconfigurationRow>;
  readonly stopped: ReadonlyMap<string, Stopped>;
  /** That have something new to fetch. */
  readonly agents: readonly string[];
}

/**
 * Commits the moves together, each with its decision, allocation, rollout and audit row, on condition that nobody holds its
 * instance, that its pool is as it was read and that its generation is still current.
 */
export async function commitMoves(
  manager: EntityManager,
  moves: readonly DecidedMove[],
  offerTimeoutMs: number,
): Promise<Committed> {
  // Always in one order, so that two replicas that commit at once cannot wait for each other.
  const ordered = [...moves].sort((a, b) => (a.context.instanceId < b.context.instanceId ? -1 : 1));
  // Whoever has paused or changed the pool since these were decided on has been answered: not one of them is applied.
  await shareHolds(manager);
  const stopped = new Map([...(await outdatedBy(manager, ordered)), ...(await heldBy(manager, ordered))]);
  const free = ordered.filter(({ context }) => !stopped.has(context.instanceId));
  const changes = free.map(({ context, row, traceparent }) => ({
    poolId: context.poolId,
    instanceId: context.instanceId,
    decisionId: row.id,
    kind: "decision" as const,
    reason: row.reason,
    from: context.current,
    to: row.allocation,
    traceparent,
  }));
  const opened = await openReconfigurations(manager, changes, offerTimeoutMs);
  const lost = free.filter(({ context }) => !opened.has(context.instanceId));
  for (const [id, why] of await overtakenBy(manager, lost)) stopped.set(id, why);
  const won = free.filter(({ context }) => opened.has(context.instanceId));
  if (won.length === 0) return { opened, stopped, agents: [] };
  const generationOf = (context: DecisionContext) => opened.get(context.instanceId)!.generation;
  await insertDecisions(
    manager,
    won.map(({ context, row }) => ({
      ...row,
      outcome: "applied" as const,
      generation: generationOf(context),
    })),
  );
  const agents = await agentsOf(manager, ...won.map(({ context }) => context.instanceId));
  const records = won.map(({ context, row }) => ({
    action: "decision.applied",
    subject: `instance/${context.instance}`,
    before: audited(context.current),
    after: {
      ...audited({ ...row.allocation, generation: generationOf(context) }),
      decision: row.id,
      reason: row.reason,
    },
  }));
  await appendAudit(manager, CONTROLLER, ...records);
  return { opened, stopped, agents };
}

type Stops = readonly (readonly [string, Stopped])[];

async function heldBy(manager: EntityManager, moves: readonly DecidedMove[]): Promise<Stops> {
  const nowMs = Math.max(...moves.map(({ row }) => row.decidedAtMs));
  const held = await standingOf(
    manager,
    moves.map(({ context }) => context.instanceId),
    nowMs,
  );
  return [...held].map(([id, hold]) => {
    const stoppedBy = holdGate(hold, nowMs)?.message ?? "It was held at that moment.";
    return [id, { outcome: "held", stoppedBy }] as const;
  });
}

/** Mode, policy, limits, guards or promise: whatever was changed, the next evaluation decides by it. */
async function outdatedBy(manager: EntityManager, moves: readonly DecidedMove[]): Promise<Stops> {
  const rows = await manager.query<{ id: string; version: number; mode: string }[]>(
    "SELECT id, version, mode FROM pools WHERE id = ANY($1::uuid[])",
    [[...new Set(moves.map(({ context }) => context.poolId))]],
  );
  const now = new Map(rows.map((row) => [row.id, row]));
  return moves.flatMap(({ context }) => {
    const { version, mode } = now.get(context.poolId)!;
    if (version === context.poolVersion) return [];
    const turned = mode === context.mode ? "" : `; it is in mode ${mode} now`;
    const stoppedBy = `Pool ${context.pool} was changed at that moment, from version ${context.poolVersion} to ${version}${turned}.`;
    return [[context.instanceId, { outcome: "outdated", stoppedBy }] as const];
  });
}

async function overtakenBy(manager: EntityManager, moves: readonly DecidedMove[]): Promise<Stops> {
  if (moves.length === 0) return [];
  const rows = await manager.query<{ id: string; generation: number; reason: string; deleted: boolean }[]>(
    `SELECT id, generation, issue_reason AS reason, deleted_at IS NOT NULL AS deleted FROM instances
     WHERE id = ANY($1::uuid[])`,
    [moves.map(({ context }) => context.instanceId)],
  );
  return rows.map(({ id, generation, reason, deleted }) => {
    const stoppedBy = deleted
      ? "The instance was deleted at that moment."
      : `Generation ${generation} was made at that moment: ${reason}.`;
    return [id, { outcome: "lost_race", stoppedBy }] as const;
  });
}
