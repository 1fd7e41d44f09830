import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { type EntityManager, In, IsNull } from "typeorm";
import { uuidV7 } from "../db/uuid-v7.js";
import { ReconfigurationRow, ReconfigurationStepRow } from "./reconfiguration.rows.js";

export interface NewReconfiguration {
  readonly poolId: string;
  readonly instanceId: string;
  readonly decisionId: string | null;
  readonly kind: ReconfigurationRow["kind"];
  readonly reason: string;
  /** What was asked until now; its generation is the one the change was based on. */
  readonly from: GeneratedAllocation;
  readonly to: Allocation;
  /** No rank runs anything but `to`, so that each may take the new number by itself. Absent: false. */
  readonly nothingMoved?: boolean;
  /** The trace that it goes on, and the span above its own; absent: it is not traced. */
  readonly traceparent?: string | null;
}

/**
 * Makes each `to` the allocation of generation `from.generation + 1`, on condition that the generation is
 * still `from.generation`; ends unfinished rollouts as superseded. Answers with the rollouts that were
 * opened, by instance; where another was first there is none. Runs in the caller's transaction, in a fixed
 * number of statements, and locks instances in the order of `changes`, at most one per instance.
 */
export async function openReconfigurations(
  manager: EntityManager,
  changes: readonly NewReconfiguration[],
  offerTimeoutMs: number,
): Promise<ReadonlyMap<string, ReconfigurationRow>> {
  const now = new Date();
  const won = await moveGenerations(manager, changes, now);
  const rows = changes
    .filter((change) => won.has(change.instanceId))
    .map((change) => newRow(change, now, offerTimeoutMs));
  if (rows.length === 0) return new Map();
  await supersedeOpen(manager, rows, now);
  await manager.query(
    `UPDATE instance_ranks r SET generation = t.generation, attempt = 1, step = NULL, delivered = NULL, iterations = NULL, updated_at = $3
     FROM unnest($1::uuid[], $2::int[]) AS t(instance_id, generation) WHERE r.instance_id = t.instance_id`,
    [rows.map((row) => row.instanceId), rows.map((row) => row.generation), now],
  );
  await manager.insert(ReconfigurationRow, rows);
  await addSteps(
    manager,
    rows.map((row) => ({ of: row, at: now, step: "offered" })),
  );
  return new Map(rows.map((row) => [row.instanceId, row]));
}

/** An allocation as audit rows show it, before and after in the same shape. */
export function audited({ generation, split, kvQuotaPct }: GeneratedAllocation) {
  return { generation, allocation: { split, kvQuotaPct } };
}

export interface NewStep {
  readonly of: Pick<ReconfigurationRow, "id" | "attempt">;
  readonly at: Date;
  readonly step: string;
  readonly rank?: number;
  readonly delivered?: Allocation | null;
  readonly detail?: string | null;
}

export async function addSteps(manager: EntityManager, steps: readonly NewStep[]): Promise<void> {
  if (steps.length === 0) return;
  await manager.insert(
    ReconfigurationStepRow,
    steps.map(({ of, at, step, rank, delivered, detail }) => ({
      reconfigurationId: of.id,
      at,
      rank: rank ?? null,
      attempt: of.attempt,
      step,
      delivered: delivered ?? null,
      detail: detail ?? null,
    })),
  );
}

/**
 * SQL for the gate that `instances i` gets with an offer: closed when its ranks are under several agents, or some under
 * none yet, and every agent knows to wait; none where one agent moves all ranks, or an older agent would not wait.
 */
export const CLOSED_GATE = `(
  SELECT '{"open": false}'::jsonb FROM instance_ranks g WHERE g.instance_id = i.id
  HAVING bool_and(g.barrier) AND (count(DISTINCT g.agent_id) > 1 OR count(*) < i.rank_count))`;

/** The compare-and-set: which instances were still at the generation that the change was based on. */
async function moveGenerations(
  manager: EntityManager,
  changes: readonly NewReconfiguration[],
  now: Date,
): Promise<ReadonlySet<string>> {
  const ids = changes.map((change) => change.instanceId);
  const [moved] = await manager.query<[{ id: string }[], number]>(
    // Locked in the given order first: an UPDATE … FROM takes its rows in whatever order the plan has.
    `WITH t AS (
       SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $6::boolean[])
         WITH ORDINALITY AS t(id, generation, allocation, reason, nothing_moved, n)
     ), locked AS MATERIALIZED (
       SELECT i.id FROM t JOIN instances i ON i.id = t.id ORDER BY t.n FOR UPDATE OF i
     )
     UPDATE instances i
     SET generation = t.generation + 1, attempt = 1, allocation = t.allocation::jsonb, issued_at = $5,
         issue_reason = t.reason, gate = CASE WHEN NOT t.nothing_moved THEN ${CLOSED_GATE} END
     FROM t JOIN locked USING (id)
     WHERE i.id = t.id AND i.generation = t.generation AND i.deleted_at IS NULL
     RETURNING i.id`,
    [
      ids,
      changes.map(({ from }) => from.generation),
      changes.map(({ to }) => JSON.stringify(to)),
      changes.map(({ reason }) => reason),
      now,
      changes.map(({ nothingMoved = false }) => nothingMoved),
    ],
  );
  return new Set(moved.map((row) => row.id));
}

function newRow(change: NewReconfiguration, now: Date, offerTimeoutMs: number): ReconfigurationRow {
  return {
    id: uuidV7(),
    poolId: change.poolId,
    instanceId: change.instanceId,
    decisionId: change.decisionId,
    kind: change.kind,
    state: "offered",
    generation: change.from.generation + 1,
    attempt: 1,
    fromAllocation: change.from,
    toAllocation: change.to,
    failure: null,
    traceparent: change.traceparent ?? null,
    deadlineAt: new Date(now.getTime() + offerTimeoutMs),
    createdAt: now,
    endedAt: null,
  };
}

async function supersedeOpen(
  manager: EntityManager,
  newer: readonly ReconfigurationRow[],
  now: Date,
): Promise<void> {
  const open = await manager.findBy(ReconfigurationRow, {
    instanceId: In(newer.map((row) => row.instanceId)),
    endedAt: IsNull(),
  });
  for (const row of open) {
    const generation = newer.find(({ instanceId }) => instanceId === row.instanceId)?.generation;
    await manager.update(
      ReconfigurationRow,
      { id: row.id },
      { state: "superseded", endedAt: now, failure: `superseded by generation ${generation}` },
    );
    await addSteps(manager, [
      { of: row, at: now, step: "superseded", detail: `by generation ${generation}` },
    ]);
  }
}
