import type { Split, SloTarget } from "@fulcrum/core/nouns.js";
import { attainmentOf, quantile, type RequestOutcome } from "./outcome.js";
import type { LaneResult } from "./run-lane.js";

/** Arrivals this near to a lane's ends do not count: it starts empty and ends alone. 5 % of five minutes. */
export const EDGE_MS = 15_000;

/** Width of the bins of attainment over time. */
export const BIN_MS = 10_000;

export interface Percentiles {
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p99: number | null;
}

/** What one lane came to: plain JSON. */
export interface LaneSummary {
  /** Requests that count, and the shares of them within both bounds, and within each. */
  readonly requests: number;
  readonly bothOk: number;
  readonly ttftOk: number;
  readonly tpotOk: number;
  /** Requests within both bounds per second. */
  readonly goodputPerS: number;
  readonly ttftMs: Percentiles;
  readonly tpotMs: Percentiles;
  readonly preemptions: number;
  readonly switches: readonly SwitchNote[];
  /** By BIN_MS of arrival from 0: requests, and those within both bounds. */
  readonly bins: { readonly requests: readonly number[]; readonly ok: readonly number[] };
}

export interface SwitchNote {
  readonly atMs: number;
  readonly to: Split;
}

export type Served = Pick<LaneResult, "outcomes" | "switches" | "preemptions">;

/** `durationMs`: how long requests came; arrivals within `edgeMs` of both ends are left out. */
export function summarise(
  { outcomes, switches, preemptions }: Served,
  slo: SloTarget,
  durationMs: number,
  edgeMs = EDGE_MS,
): LaneSummary {
  const counted = outcomes.filter(({ arrivalMs }) => arrivalMs >= edgeMs && arrivalMs < durationMs - edgeMs);
  const attained = attainmentOf(counted, slo) ?? { requests: 0, bothOk: 1, ttftOk: 1, tpotOk: 1 };
  const spanS = (durationMs - 2 * edgeMs) / 1000;
  return {
    ...attained,
    goodputPerS: (attained.bothOk * attained.requests) / spanS,
    ttftMs: percentiles(counted.map((outcome) => outcome.ttftMs)),
    tpotMs: percentiles(counted.map((outcome) => outcome.tpotMs)),
    preemptions,
    switches: switches.map(({ atMs, to }) => ({ atMs, to: to.split })),
    bins: binsOf(outcomes, durationMs),
  };
}

function percentiles(values: readonly (number | null)[]): Percentiles {
  return { p50: quantile(values, 0.5), p90: quantile(values, 0.9), p99: quantile(values, 0.99) };
}

function binsOf(outcomes: readonly RequestOutcome[], durationMs: number): LaneSummary["bins"] {
  const requests = Array.from({ length: Math.ceil(durationMs / BIN_MS) }, () => 0);
  const ok = requests.map(() => 0);
  for (const outcome of outcomes) {
    const bin = Math.floor(outcome.arrivalMs / BIN_MS);
    requests[bin] = (requests[bin] ?? 0) + 1;
    if (outcome.ok) ok[bin] = (ok[bin] ?? 0) + 1;
  }
  return { requests, ok };
}
