/** Windows folded into steps of a chart, and what a step says against an SLO. Pure. */
import type { Histogram, SloTarget, Window } from "@fulcrum/core/nouns.js";
import { withinBoth } from "@fulcrum/core/outcome/attainment.js";
import { okShare, percentile } from "@fulcrum/core/signal/histogram.js";
import { recentHistogram } from "../fleet/recent-histogram.js";

/** What the windows of one step add up to; gauges are those of the window that ended last. */
export interface Fold {
  readonly ttft: Histogram | null;
  readonly tpot: Histogram | null;
  readonly durationMs: number;
  readonly arrivals: number;
  readonly promptTokens: number;
  readonly endAtMs: number;
  readonly generation: number | null;
  readonly prefillWaiting: number | null;
  readonly decodeRunning: number | null;
  readonly kvUsedShare: number | null;
}

export interface Sight {
  readonly ttftMs: number | null;
  readonly tpotMs: number | null;
  readonly attainmentShare: number | null;
}

/** Adds a window to a step; of histograms with other buckets (the engine came back changed) the newer ones stay. */
export function foldWindow(step: Fold | null, window: Window): Fold {
  const { queue, kv } = window;
  const newer = step === null || window.endAtMs >= step.endAtMs;
  const sum = (added: Histogram, before: Histogram | null | undefined) =>
    recentHistogram(before ? (newer ? [added, before] : [before, added]) : [added]);
  const gauges = newer
    ? {
        endAtMs: window.endAtMs,
        generation: window.generation,
        prefillWaiting: queue.prefillWaiting,
        decodeRunning: queue.decodeRunning,
        kvUsedShare: shareOf(kv.usedTokens, kv.totalTokens),
      }
    : step;
  return {
    ...gauges,
    ttft: sum(window.ttft, step?.ttft),
    tpot: sum(window.tpot, step?.tpot),
    durationMs: (step?.durationMs ?? 0) + window.durationMs,
    arrivals: (step?.arrivals ?? 0) + window.arrivals,
    promptTokens: (step?.promptTokens ?? 0) + window.promptTokens,
  };
}

/**
 * Both latencies at the SLO's percentiles, and the share of requests within both bounds as far as two separate
 * histograms tell: the product of the two shares, as the search policy takes it. Null without samples.
 */
export function sightOf(ttft: Histogram | null, tpot: Histogram | null, slo: SloTarget): Sight {
  const ttftOk = ttft && okShare(ttft, slo.ttft.boundMs);
  const tpotOk = tpot && okShare(tpot, slo.tpot.boundMs);
  return {
    ttftMs: percentileMs(ttft, slo.ttft.percentile),
    tpotMs: percentileMs(tpot, slo.tpot.percentile),
    attainmentShare: ttftOk && tpotOk ? withinBoth(ttftOk.share, tpotOk.share) : null,
  };
}

export function percentileMs(histogram: Histogram | null, q: number): number | null {
  return histogram === null ? null : (percentile(histogram, q)?.ms ?? null);
}

/** Per second of engine time. */
export function perS(count: number, durationMs: number): number | null {
  return durationMs > 0 ? (count * 1_000) / durationMs : null;
}

function shareOf(part: number | null, whole: number | null): number | null {
  return part === null || whole === null || whole <= 0 ? null : part / whole;
}
