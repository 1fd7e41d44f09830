import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import type { EntityManager } from "typeorm";
import { uuidV7 } from "../db/uuid-v7.js";
import { ReconfigurationRow, ReconfigurationStepRow } from "./reconfiguration.rows.js";

export interface NewReconfiguration {
  readonly poolId: string;
  readonly instanceId: string;
  readonly decisionId: string | null;
  readonly kind: "decision" | "rollback";
  readonly reason: string;
  /** What was asked until now; its generation is the one the change was based on. */
  readonly from: GeneratedAllocation;
  readonly to: Allocation;
  readonly offerTimeoutMs: number;
}

/**
 * Makes `to` the allocation of generation `from.generation + 1`, on condition that the generation is
 * still `from.generation`; ends an unfinished rollout as superseded. Null when another was first.
 * Runs in the caller's transaction.
 */
export async function openReconfiguration(
  manager: EntityManager,
  change: NewReconfiguration,
): Promise<ReconfigurationRow | null> {
  const now = new Date();
  const generation = change.from.generation + 1;
  const [, moved] = await manager.query<[unknown, number]>(
    `UPDATE instances SET generation = $3, attempt = 1, allocation = $4, issued_at = $5, issue_reason = $6
     WHERE id = $1 AND generation = $2 AND deleted_at IS NULL`,
    [change.instanceId, change.from.generation, generation, JSON.stringify(change.to), now, change.reason],
  );
  if (moved === 0) return null;
  await supersede(manager, change.instanceId, generation, now);
  await manager.query(
    `UPDATE instance_ranks SET generation = $2, attempt = 1, step = NULL, delivered = NULL, updated_at = $3
     WHERE instance_id = $1`,
    [change.instanceId, generation, now],
  );
  const row: ReconfigurationRow = {
    id: uuidV7(),
    poolId: change.poolId,
    instanceId: change.instanceId,
    decisionId: change.decisionId,
    kind: change.kind,
    state: "offered",
    generation,
    attempt: 1,
    fromAllocation: change.from,
    toAllocation: change.to,
    failure: null,
    deadlineAt: new Date(now.getTime() + change.offerTimeoutMs),
    createdAt: now,
    endedAt: null,
  };
  await manager.insert(ReconfigurationRow, row);
  await addStep(manager, row, { at: now, step: "offered" });
  return row;
}

export async function addStep(
  manager: EntityManager,
  row: Pick<ReconfigurationRow, "id" | "attempt">,
  step: { at: Date; step: string; rank?: number; delivered?: Allocation | null; detail?: string | null },
): Promise<void> {
  await manager.insert(ReconfigurationStepRow, {
    reconfigurationId: row.id,
    at: step.at,
    rank: step.rank ?? null,
    attempt: row.attempt,
    step: step.step,
    delivered: step.delivered ?? null,
    detail: step.detail ?? null,
  });
}

async function supersede(
  manager: EntityManager,
  instanceId: string,
  generation: number,
  now: Date,
): Promise<void> {
  const open = await manager
    .createQueryBuilder(ReconfigurationRow, "row")
    .where("row.instanceId = :instanceId AND row.endedAt IS NULL", { instanceId })
    .getOne();
  if (!open) return;
  await manager.update(
    ReconfigurationRow,
    { id: open.id },
    { state: "superseded", endedAt: now, failure: `superseded by generation ${generation}` },
  );
  await addStep(manager, open, { at: now, step: "superseded", detail: `by generation ${generation}` });
}
