/** What a run of the demo came to, from the engines' own counters and the controller's rows. */
import type { Allocation, SloTarget } from "@fulcrum/core/nouns.js";
import type { DecisionSummary, ReconfigurationSummary } from "@fulcrum/contracts/resources.js";
import type { ApiClient } from "../api/client.js";
import { everyItem } from "../api/pages.js";
import { finishedOf, shareOfFinished, type EngineCounts } from "./engine-counts.js";

/** One decision per 2 s and engine makes 450 in a demo of 15 minutes. */
const MOST_ROWS = 20_000;

export interface LaneFigures {
  readonly name: string;
  readonly engineS: number;
  readonly requests: {
    readonly arrived: number;
    readonly finished: number;
    /** Still queued or running at the end. */
    readonly unfinished: number;
    readonly both: number;
    readonly ttftOnly: number;
    readonly tpotOnly: number;
    readonly neither: number;
  };
  /** Shares of the finished requests. */
  readonly attainmentShare: number | null;
  readonly ttftOkShare: number | null;
  readonly tpotOkShare: number | null;
  /** Requests within both bounds per second of engine time. */
  readonly goodputPerS: number | null;
  readonly moves: Readonly<Record<string, number>>;
  readonly holds: Readonly<Record<string, number>>;
  readonly reconfigurations: {
    readonly count: number;
    readonly rolledBack: number;
    readonly failed: number;
    /** Wall time from offer to verified, of those that were verified. */
    readonly p50Ms: number | null;
    readonly maxMs: number | null;
  };
  /** Wall time from the start of the engines' processes to the first decision, and to the first move. */
  readonly firstDecisionMs: number | null;
  readonly firstMoveMs: number | null;
  readonly finalAllocation: Allocation | null;
}

export interface DemoFigures {
  /** Engines in processes of their own, or the simulator alone; then all times are of the engine. */
  readonly time: "real" | "virtual";
  /** Null in virtual time. */
  readonly startedAt: string | null;
  readonly durationS: number;
  readonly speed: number;
  readonly seed: number;
  readonly load: string;
  readonly slo: SloTarget;
  readonly lanes: readonly LaneFigures[];
  readonly verdict: string;
}

/** The rows that an engine's run left in the controller. */
export interface LaneRows {
  readonly decisions: readonly Pick<DecisionSummary, "at" | "kind" | "reason">[];
  readonly reconfigurations: readonly Pick<ReconfigurationSummary, "kind" | "state" | "durationMs">[];
  readonly finalAllocation: Allocation | null;
}

export async function fetchRows(api: ApiClient, instance: string): Promise<LaneRows> {
  const decisions: DecisionSummary[] = [];
  for await (const each of everyItem(api, "listDecisions", { instance }, MOST_ROWS)) decisions.push(each);
  const reconfigurations: ReconfigurationSummary[] = [];
  for await (const each of everyItem(api, "listReconfigurations", { instance }, MOST_ROWS)) {
    reconfigurations.push(each);
  }
  const { body } = await api.call("getInstance", { params: { instance } });
  return { decisions, reconfigurations, finalAllocation: body.desired };
}

export function laneFigures(
  name: string,
  counts: EngineCounts,
  rows: LaneRows,
  enginesAtMs: number,
): LaneFigures {
  const { decisions, reconfigurations } = rows;
  const { clockS, arrived, ...results } = counts;
  const finished = finishedOf(counts);
  const firstAfterMs = (kinds: readonly string[]) =>
    least(decisions.filter(({ kind }) => kinds.includes(kind)).map(({ at }) => Date.parse(at) - enginesAtMs));
  const verified = reconfigurations
    .filter(({ state }) => state === "verified")
    .flatMap(({ durationMs }) => (durationMs === null ? [] : [durationMs]))
    .sort((a, b) => a - b);
  return {
    name,
    engineS: clockS,
    requests: { arrived, finished, unfinished: Math.max(0, arrived - finished), ...results },
    attainmentShare: shareOfFinished(counts, ["both"]),
    ttftOkShare: shareOfFinished(counts, ["both", "ttftOnly"]),
    tpotOkShare: shareOfFinished(counts, ["both", "tpotOnly"]),
    goodputPerS: clockS > 0 ? counts.both / clockS : null,
    moves: byReason(decisions, "move"),
    holds: byReason(decisions, "hold"),
    reconfigurations: {
      count: reconfigurations.length,
      rolledBack: reconfigurations.filter(({ state, kind }) => state === "rolled_back" || kind === "rollback")
        .length,
      failed: reconfigurations.filter(({ state }) => state === "failed").length,
      p50Ms: verified[Math.floor((verified.length - 1) / 2)] ?? null,
      maxMs: verified.at(-1) ?? null,
    },
    firstDecisionMs: firstAfterMs(["move", "hold"]),
    firstMoveMs: firstAfterMs(["move"]),
    finalAllocation: rows.finalAllocation,
  };
}

function byReason(decisions: LaneRows["decisions"], kind: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const each of decisions) {
    if (each.kind === kind) counts[each.reason] = (counts[each.reason] ?? 0) + 1;
  }
  return counts;
}

function least(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((least, each) => Math.min(least, each));
}
