/** Spans of a rollout, under the trace that its row names; none where it names none. docs/tracing.md */
import type { Ack } from "@fulcrum/contracts/agent-api.js";
import { goingOn, type Tracing } from "../obs/tracing.js";
import type { ReconfigurationRow } from "./reconfiguration.rows.js";

export interface StepTold {
  readonly open: ReconfigurationRow;
  readonly ack: Ack;
  /** When the rank was offered it, or told the step before. */
  readonly startMs: number;
  readonly endMs: number;
  /** As the agent sent it. */
  readonly traceparent: string | null;
}

/** A step of one rank: from the one before to when the agent was done with it, by the agent's clock. */
export function stepSpan(tracing: Tracing, { open, ack, startMs, endMs, traceparent }: StepTold): void {
  if (open.traceparent === null) return;
  tracing.record({
    name: `fulcrum.rank.${ack.step}`,
    parent: goingOn(traceparent, open.traceparent),
    startMs: Math.min(startMs, endMs),
    endMs,
    attributes: { ...attributesOf(ack.instance, open), "fulcrum.rank": ack.rank },
    fault: ack.failure && `${ack.failure.code}: ${ack.failure.message}`,
  });
}

/** The whole rollout, once it has ended. */
export function rolloutSpan(
  tracing: Tracing,
  instance: string,
  row: ReconfigurationRow,
  end: { readonly state: string; readonly fault: string | null; readonly nowMs: number },
): void {
  if (row.traceparent === null) return;
  tracing.record({
    name: "fulcrum.rollout",
    parent: row.traceparent,
    startMs: row.createdAt.getTime(),
    endMs: end.nowMs,
    attributes: { ...attributesOf(instance, row), "fulcrum.rollout.state": end.state },
    fault: end.fault,
  });
}

/** Agents were told that there is something to fetch. `endMs` absent: at once. */
export function offerSpan(
  tracing: Tracing,
  instance: string,
  row: ReconfigurationRow,
  startMs: number,
  endMs: number = startMs,
): void {
  if (row.traceparent === null) return;
  const attributes = attributesOf(instance, row);
  tracing.record({ name: "fulcrum.offer", parent: row.traceparent, startMs, endMs, attributes });
}

function attributesOf(instance: string, { id, kind, generation, attempt, toAllocation }: ReconfigurationRow) {
  const { split, kvQuotaPct } = toAllocation;
  return {
    "fulcrum.instance.name": instance,
    "fulcrum.rollout.id": id,
    "fulcrum.rollout.kind": kind,
    "fulcrum.rollout.attempt": attempt,
    "fulcrum.generation": generation,
    "fulcrum.split.prefill_sm_pct": split.prefillSmPct,
    "fulcrum.split.decode_sm_pct": split.decodeSmPct,
    "fulcrum.kv_quota_pct": kvQuotaPct,
  };
}
