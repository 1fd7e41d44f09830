import type { SloTarget, Split } from "@fulcrum/core/nouns.js";
import { runFixed } from "@fulcrum/evaluation/best-fixed.js";
import { drawFrom, type LengthSource } from "@fulcrum/evaluation/lengths.js";
import { attainmentOf, quantile, type RequestOutcome } from "@fulcrum/evaluation/outcome.js";
import { runServing } from "@fulcrum/evaluation/run-serving.js";
import { mean } from "@fulcrum/evaluation/statistics.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { createRandom } from "@fulcrum/simulator/random.js";
import type { Serving } from "@fulcrum/simulator/serving.js";

/** The same requests at any rate: gaps and lengths are drawn once, time is stretched. */
export interface Load {
  at(ratePerS: number): readonly SimRequest[];
}

/** Poisson arrivals of a set's lengths. */
export function poissonLoad(source: LengthSource, count: number, seed: number): Load {
  const times = createRandom(seed, 0);
  const lengths = createRandom(seed, 1);
  let at = 0;
  const drawn = Array.from({ length: count }, (_, id) => {
    at += times.exponential(1000);
    return { id, atOnePerS: at, ...drawFrom(source, lengths) };
  });
  return {
    at: (ratePerS) =>
      drawn.map(({ id, atOnePerS, promptTokens, outputTokens }) => ({
        id,
        arrivalMs: atOnePerS / ratePerS,
        promptTokens,
        outputTokens,
      })),
  };
}

/** Requests that have not finished so long after the last arrival never do. */
export const DRAIN_MS = 600_000;
/** Of the requests at either end, left out: the engine fills up and empties there. */
const EDGE_SHARE = 0.05;

/** What became of the requests on one instance under a fixed split, without the edges. */
export function serveSplit(
  profile: Profile,
  split: Split,
  requests: readonly SimRequest[],
  slo: SloTarget,
): readonly RequestOutcome[] {
  return withoutEdges(runFixed({ profile, requests, slo, drainMs: DRAIN_MS }, split)?.outcomes ?? []);
}

/** The same on another way to serve. */
export function serveOn(
  serving: Serving,
  requests: readonly SimRequest[],
  slo: SloTarget,
): readonly RequestOutcome[] {
  return withoutEdges(runServing({ serving, requests, slo, drainMs: DRAIN_MS })?.outcomes ?? []);
}

/** Share of requests within both bounds. */
export function attained(outcomes: readonly RequestOutcome[], slo: SloTarget): number {
  return attainmentOf(outcomes, slo)?.bothOk ?? 0;
}

export interface Latencies {
  /** Null when no request got so far. */
  readonly ttftMs: number | null;
  readonly tpotMs: number | null;
}

/** P90 over the requests that got so far. */
export function p90(outcomes: readonly RequestOutcome[]): Latencies {
  return {
    ttftMs: quantile(
      outcomes.map((outcome) => outcome.ttftMs),
      0.9,
    ),
    tpotMs: quantile(
      outcomes.map((outcome) => outcome.tpotMs),
      0.9,
    ),
  };
}

/** Means over the requests that got so far. */
export function means(outcomes: readonly RequestOutcome[]): Latencies {
  const known = (values: readonly (number | null)[]) => mean(values.filter((value) => value !== null));
  return {
    ttftMs: known(outcomes.map((outcome) => outcome.ttftMs)),
    tpotMs: known(outcomes.map((outcome) => outcome.tpotMs)),
  };
}

function withoutEdges(outcomes: readonly RequestOutcome[]): readonly RequestOutcome[] {
  const edge = Math.floor(outcomes.length * EDGE_SHARE);
  return outcomes.slice(edge, outcomes.length - edge);
}

export function splitText(split: Split): string {
  return `(${split.prefillSmPct},${split.decodeSmPct})`;
}
