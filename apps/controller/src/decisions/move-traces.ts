/** The trace of a move that is committed: the report that led to it, the decision, the commit, the offer. */
import type { Attributes } from "@opentelemetry/api";
import type { OpenSpan, Tracing } from "../obs/tracing.js";
import type { DecisionRow } from "./decision.row.js";
import type { DecisionContext } from "./load-contexts.js";

export interface TracedMove {
  readonly context: DecisionContext;
  readonly row: DecisionRow;
  /** What decide() took, and when it was done. */
  readonly seconds: number;
  readonly decidedMs: number;
}

export interface MoveTrace {
  readonly report: OpenSpan;
  readonly commit: OpenSpan;
}

/** By instance; empty while tracing is off. The report and the commit are still open. */
export function beginTraces(
  tracing: Tracing,
  moves: readonly TracedMove[],
  agent: string | null,
): ReadonlyMap<string, MoveTrace> {
  const traces = new Map<string, MoveTrace>();
  for (const move of moves) {
    const { context, row, decidedMs, seconds } = move;
    const attributes = attributesOf(move);
    const from = agent === null ? {} : { "fulcrum.agent.name": agent };
    const start = { name: "fulcrum.report", parent: null, startMs: row.decidedAtMs };
    const report = tracing.start({ ...start, attributes: { ...attributes, ...from } });
    if (!report) return traces;
    const parent = report.traceparent;
    tracing.record({
      name: "fulcrum.decide",
      parent,
      startMs: decidedMs - seconds * 1_000,
      endMs: decidedMs,
      attributes: {
        ...attributes,
        "fulcrum.policy.name": row.policyName,
        "fulcrum.decision.kind": row.kind,
        "fulcrum.decision.reason": row.reason,
        "fulcrum.decision.message": row.message,
      },
    });
    const commit = tracing.start({ name: "fulcrum.commit", parent, startMs: Date.now(), attributes });
    if (commit) traces.set(context.instanceId, { report, commit });
  }
  return traces;
}

/** The commit is over: applied, or not and why. */
export function endCommit({ commit }: MoveTrace, { outcome, generation }: DecisionRow): void {
  const made: Attributes = generation === null ? {} : { "fulcrum.generation": generation };
  commit.end(Date.now(), { "fulcrum.decision.outcome": outcome, ...made });
}

/** The commit failed, and with it everything of its trace. */
export function failTraces(traces: ReadonlyMap<string, MoveTrace>, error: unknown): void {
  const why = error instanceof Error ? error.message : String(error);
  for (const { report, commit } of traces.values()) {
    commit.end(Date.now(), {}, why);
    report.end(Date.now(), {}, why);
  }
}

function attributesOf({ context, row }: TracedMove): Attributes {
  return {
    "fulcrum.pool.name": context.pool,
    "fulcrum.instance.name": context.instance,
    "fulcrum.decision.id": row.id,
  };
}
