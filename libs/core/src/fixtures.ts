/** A healthy instance to start tests from: 10 requests per second on an exclusive 50/50 split, both targets met. */
import type { Signal, Snapshot } from "./decision.js";
import type { Histogram, Limits, SloTarget, Window } from "./nouns.js";
import { emptyHistogram } from "./signal/histogram.js";

export const SAMPLE_NOW_MS = 1_000_000_000;

/** The paper's tight SLO for Llama3-8B on ShareGPT (Table 2). */
export const SAMPLE_SLO: SloTarget = {
  ttft: { percentile: 0.9, boundMs: 300 },
  tpot: { percentile: 0.9, boundMs: 150 },
  attainmentShare: 0.9,
};

export const EXCLUSIVE_LIMITS: Limits = {
  minSmPct: 5,
  maxSmPct: 100,
  maxSumPct: 100,
  granularityPct: 1,
  minKvQuotaPct: 5,
  maxKvQuotaPct: 100,
};

/** 10 ms to 40 s, each bound 1.25 times the one before: interpolation errs by less than 12 %. */
export const SAMPLE_BOUNDS_MS: readonly number[] = Array.from(
  { length: 38 },
  (_, i) => Math.round(10 * 1.25 ** i * 1000) / 1000,
);

/** A histogram of `count` samples that all equal `ms`. */
export function histogramAt(ms: number, count: number, boundsMs = SAMPLE_BOUNDS_MS): Histogram {
  const empty = emptyHistogram(boundsMs);
  const found = boundsMs.findIndex((bound) => ms <= bound);
  const bucket = found < 0 ? boundsMs.length : found;
  return { ...empty, counts: empty.counts.map((_, i) => (i === bucket ? count : 0)), sumMs: ms * count };
}

/** `count` samples whose percentile `q` reads exactly `ms`: one bucket bound lies there. */
export function histogramWithPercentile(ms: number, q: number, count: number): Histogram {
  const boundsMs = [ms / 4, ms / 2, ms, ms * 2, ms * 4];
  const above = Math.round(count * (1 - q));
  return { boundsMs, counts: [0, 0, count - above, above, 0, 0], sumMs: ms * count };
}

export function sampleWindow(over: Partial<Window> = {}): Window {
  const seq = over.seq ?? 1;
  const endAtMs = over.endAtMs ?? SAMPLE_NOW_MS;
  return {
    seq,
    startAtMs: endAtMs - 5_000,
    endAtMs,
    durationMs: 5_000,
    generation: 1,
    arrivals: 50,
    promptTokens: 12_500,
    finished: 50,
    outputTokens: 15_000,
    ttft: histogramAt(200, 50),
    tpot: histogramAt(80, 50),
    queue: { prefillWaiting: 1, decodeRunning: 100 },
    kv: { totalTokens: 440_000, usedTokens: 100_000, preemptions: 0 },
    busy: { prefillShare: 0.6, decodeShare: 1 },
    ...over,
  };
}

export function sampleSignal(over: Partial<Signal> = {}): Signal {
  return {
    freshness: "fresh",
    windows: 4,
    fromAtMs: SAMPLE_NOW_MS - 20_000,
    toAtMs: SAMPLE_NOW_MS,
    durationMs: 20_000,
    arrivals: 200,
    promptTokens: 50_000,
    finished: 200,
    outputTokens: 60_000,
    ttft: histogramWithPercentile(200, 0.9, 200),
    tpot: histogramWithPercentile(80, 0.9, 200),
    busy: { prefillShare: 0.6, decodeShare: 1 },
    queue: { prefillWaiting: 1, decodeRunning: 100 },
    kv: { totalTokens: 440_000, usedTokens: 100_000, preemptions: 0 },
    ...over,
  };
}

export function sampleSnapshot(over: Partial<Snapshot> = {}): Snapshot {
  return {
    instance: "llama-0",
    slo: SAMPLE_SLO,
    sloVersion: 1,
    current: { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100, generation: 1 },
    rolloutGeneration: null,
    lastChangeAtMs: SAMPLE_NOW_MS - 60_000,
    coolDownUntilMs: null,
    recentMoves: [],
    limits: EXCLUSIVE_LIMITS,
    hold: { pinned: null, frozen: false },
    signal: sampleSignal(),
    state: null,
    ...over,
  };
}
