/**
 * The share of requests within both bounds, as far as windows tell it, and how well it is known.
 *
 * An engine tells two histograms and not which request each sample belongs to. The share within both bounds lies
 * between `a + b - 1` and the lesser of the two shares; here it is their product, as if a late first token and slow
 * tokens had nothing to do with each other.
 */
import type { Signal } from "../decision.js";
import type { Histogram, LatencyTarget, SloTarget, Window } from "../nouns.js";
import { okShare, percentile, sampleCount } from "../signal/histogram.js";

/** The share of requests within both bounds, of the shares within each: the one place that says so. */
export function withinBoth(ttftOkShare: number, tpotOkShare: number): number {
  return ttftOkShare * tpotOkShare;
}

/** A share of requests and the standard error of it. */
export interface Attainment {
  readonly share: number;
  readonly standardError: number;
}

/** What windows say against an SLO. Shares 0..1; latencies at the SLO's percentiles. */
export interface Figures {
  readonly attainmentShare: number;
  readonly ttftOkShare: number;
  readonly tpotOkShare: number;
  readonly ttftMs: number;
  readonly tpotMs: number;
  /** Requests that finished, and what arrived per second of engine time. */
  readonly requests: number;
  readonly arrivalPerS: number;
  readonly promptTokensPerS: number;
}

/**
 * Requests that wait in one queue are late together: shares of so many requests scatter as those of this many times fewer
 * independent ones. Simulated chat at 0.7 and 0.9 of what the GPU sustains: 5 to 8 (docs/outcomes.md).
 */
export const LEAST_CLUMPING = 8;
const MOST_CLUMPING = 200;
/** What was measured is cut into so many blocks of equal size; with half as many or fewer nothing is said of its scatter. */
const BLOCKS = 8;
const LEAST_BLOCK = 30;

/**
 * How much more the shares within the bounds scattered from block to block than those of independent requests would:
 * near saturation a queue wanders for minutes, and half a minute of it is no measure of the next. `windows` oldest first.
 */
export function clumpingOf(windows: readonly Window[], slo: SloTarget): number {
  const ttft = scatterOf(
    windows.map((window) => window.ttft),
    slo.ttft.boundMs,
  );
  const tpot = scatterOf(
    windows.map((window) => window.tpot),
    slo.tpot.boundMs,
  );
  return Math.min(MOST_CLUMPING, Math.max(LEAST_CLUMPING, ttft, tpot));
}

/** Variance of the blocks' shares over that of a binomial; 0 where there are too few. */
function scatterOf(histograms: readonly Histogram[], boundMs: number): number {
  const counts = histograms.map((histogram) => {
    const samples = sampleCount(histogram);
    return { samples, within: samples * (okShare(histogram, boundMs)?.share ?? 0) };
  });
  const total = counts.reduce((sum, { samples }) => sum + samples, 0);
  const share = counts.reduce((sum, { within }) => sum + within, 0) / total;
  const blockSize = Math.max(LEAST_BLOCK, total / BLOCKS);
  let excess = 0;
  let blocks = 0;
  let block = { samples: 0, within: 0 };
  for (const { samples, within } of counts) {
    block = { samples: block.samples + samples, within: block.within + within };
    if (block.samples < blockSize) continue;
    excess += (block.within - block.samples * share) ** 2 / (block.samples * share * (1 - share));
    blocks += 1;
    block = { samples: 0, within: 0 };
  }
  return blocks > BLOCKS / 2 && share > 0 && share < 1 ? excess / (blocks - 1) : 0;
}

/** Null without samples of either phase. */
export function attainmentOf(signal: Signal, slo: SloTarget, clumping: number): Attainment | null {
  const ttft = signal.ttft && phaseShare(signal.ttft, slo.ttft.boundMs, clumping);
  const tpot = signal.tpot && phaseShare(signal.tpot, slo.tpot.boundMs, clumping);
  return ttft && tpot ? both(ttft, tpot) : null;
}

/** Null without samples of either phase. */
export function figuresOf(signal: Signal, slo: SloTarget): Figures | null {
  const { ttft, tpot, durationMs } = signal;
  if (ttft === null || tpot === null || !(durationMs > 0)) return null;
  const ttftOk = okShare(ttft, slo.ttft.boundMs);
  const tpotOk = okShare(tpot, slo.tpot.boundMs);
  const ttftMs = percentile(ttft, slo.ttft.percentile);
  const tpotMs = percentile(tpot, slo.tpot.percentile);
  if (ttftOk === null || tpotOk === null || ttftMs === null || tpotMs === null) return null;
  return {
    attainmentShare: withinBoth(ttftOk.share, tpotOk.share),
    ttftOkShare: ttftOk.share,
    tpotOkShare: tpotOk.share,
    ttftMs: ttftMs.ms,
    tpotMs: tpotMs.ms,
    requests: signal.finished,
    arrivalPerS: (signal.arrivals * 1000) / durationMs,
    promptTokensPerS: (signal.promptTokens * 1000) / durationMs,
  };
}

/** Latencies at the SLO's percentiles that a policy predicted. */
export interface PredictedLatencies {
  readonly ttftMs: number | null;
  readonly tpotMs: number | null;
}

/**
 * What predicted percentiles mean as a share of requests: every latency that was measured is taken to change in the
 * proportion in which its percentile was predicted to. Null where a latency was not predicted, or where the percentile
 * that was measured lies above the highest bucket.
 */
export function predictedAttainment(
  before: Signal,
  predicted: PredictedLatencies,
  slo: SloTarget,
  clumping: number,
): Attainment | null {
  const ttft = scaledShare(before.ttft, predicted.ttftMs, slo.ttft, clumping);
  const tpot = scaledShare(before.tpot, predicted.tpotMs, slo.tpot, clumping);
  return ttft && tpot ? both(ttft, tpot) : null;
}

function scaledShare(
  measured: Histogram | null,
  predictedMs: number | null,
  target: LatencyTarget,
  clumping: number,
): Attainment | null {
  if (measured === null || predictedMs === null || !(predictedMs > 0)) return null;
  const was = percentile(measured, target.percentile);
  if (was === null || was.overflow || !(was.ms > 0)) return null;
  return phaseShare(measured, (target.boundMs * was.ms) / predictedMs, clumping);
}

/**
 * Agresti and Coull's "plus four": two more within and two more without, so that none of thirty is not taken for never.
 */
function phaseShare(histogram: Histogram, boundMs: number, clumping: number): Attainment | null {
  const ok = okShare(histogram, boundMs);
  if (ok === null) return null;
  const samples = sampleCount(histogram) / clumping;
  const shrunk = (ok.share * samples + 2) / (samples + 4);
  return { share: ok.share, standardError: Math.sqrt((shrunk * (1 - shrunk)) / (samples + 4)) };
}

function both(a: Attainment, b: Attainment): Attainment {
  return {
    share: withinBoth(a.share, b.share),
    standardError: Math.hypot(
      a.share * b.standardError,
      b.share * a.standardError,
      a.standardError * b.standardError,
    ),
  };
}
