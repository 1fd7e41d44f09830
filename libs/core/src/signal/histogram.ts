/**
 * Arithmetic on latency histograms. Buckets are closed above, as Prometheus' `le` buckets are, and the last
 * bucket has no upper bound.
 */
import type { Histogram } from "../nouns.js";
import { HUGE, firstFault, isRecord, rangeFault, shapeFault, wholeFault } from "./fault.js";
import type { Fault } from "./fault.js";

/** Most buckets of one histogram, the overflow bucket included. */
export const MAX_BUCKETS = 64;

/** Two histograms were combined whose buckets are not the same. */
export class HistogramBoundsError extends Error {
  readonly code = "HISTOGRAM_BOUNDS_DIFFER";
  constructor(left: readonly number[], right: readonly number[]) {
    super(`histograms have different bucket bounds: [${left.join(", ")}] ms and [${right.join(", ")}] ms`);
    this.name = "HistogramBoundsError";
  }
}

export function emptyHistogram(boundsMs: readonly number[]): Histogram {
  return { boundsMs, counts: Array.from({ length: boundsMs.length + 1 }, () => 0), sumMs: 0 };
}

export function sameBounds(left: Histogram, right: Histogram): boolean {
  if (left.boundsMs === right.boundsMs) return true;
  if (left.boundsMs.length !== right.boundsMs.length) return false;
  return left.boundsMs.every((bound, i) => bound === right.boundsMs[i]);
}

/** Sum of two histograms. Throws HistogramBoundsError when their bounds differ. */
export function addHistograms(left: Histogram, right: Histogram): Histogram {
  if (!sameBounds(left, right)) throw new HistogramBoundsError(left.boundsMs, right.boundsMs);
  return {
    boundsMs: left.boundsMs,
    counts: left.counts.map((count, i) => count + (right.counts[i] ?? 0)),
    sumMs: left.sumMs + right.sumMs,
  };
}

/**
 * What was added between two readings of one cumulative histogram; null when any count fell, which means
 * that the engine restarted and the difference is unknown. Throws HistogramBoundsError when bounds differ.
 */
export function subtractHistograms(later: Histogram, earlier: Histogram): Histogram | null {
  if (!sameBounds(later, earlier)) throw new HistogramBoundsError(later.boundsMs, earlier.boundsMs);
  const counts = later.counts.map((count, i) => count - (earlier.counts[i] ?? 0));
  if (counts.some((count) => count < 0)) return null;
  // Sums are floats: one that did not move may come out as -1e-12.
  return { boundsMs: later.boundsMs, counts, sumMs: Math.max(0, later.sumMs - earlier.sumMs) };
}

export function sampleCount(histogram: Histogram): number {
  let total = 0;
  for (const count of histogram.counts) total += count;
  return total;
}

/** Mean in ms; null without samples. */
export function meanMs(histogram: Histogram): number | null {
  const total = sampleCount(histogram);
  return total > 0 ? histogram.sumMs / total : null;
}

/** A percentile read off a histogram. With `overflow` it lies above the highest bound, which is what `ms` then is. */
export interface Percentile {
  readonly ms: number;
  readonly overflow: boolean;
}

/**
 * Percentile `q` (0..1) by linear interpolation inside its bucket, as Prometheus' histogram_quantile does:
 * the first bucket starts at 0, and a rank in the overflow bucket gives the highest bound. Null without samples.
 */
export function percentile(histogram: Histogram, q: number): Percentile | null {
  const total = sampleCount(histogram);
  if (total <= 0) return null;
  const rank = Math.min(1, Math.max(0, q)) * total;
  let below = 0;
  for (let i = 0; i < histogram.boundsMs.length; i++) {
    const count = histogram.counts[i] ?? 0;
    const upper = histogram.boundsMs[i] ?? 0;
    if (count > 0 && below + count >= rank) {
      const lower = lowerBound(histogram, i);
      return { ms: lower + ((upper - lower) * (rank - below)) / count, overflow: false };
    }
    below += count;
  }
  return { ms: histogram.boundsMs.at(-1) ?? 0, overflow: true };
}

/** A share of samples within a bound. `exact` is false when the bound cuts a bucket that holds samples. */
export interface OkShare {
  readonly share: number;
  readonly exact: boolean;
}

/**
 * Share (0..1) of the samples at or below `boundMs`; null without samples. Exact when the bound is a bucket
 * bound; inside a bucket the samples are taken as evenly spread; in the overflow bucket none counts as within.
 */
export function okShare(histogram: Histogram, boundMs: number): OkShare | null {
  const total = sampleCount(histogram);
  if (total <= 0) return null;
  let within = 0;
  for (let i = 0; i < histogram.boundsMs.length; i++) {
    const upper = histogram.boundsMs[i] ?? 0;
    const count = histogram.counts[i] ?? 0;
    if (upper <= boundMs) {
      within += count;
      continue;
    }
    const lower = lowerBound(histogram, i);
    const part = boundMs <= lower ? 0 : (boundMs - lower) / (upper - lower);
    return { share: (within + count * part) / total, exact: count === 0 || part === 0 };
  }
  const highest = histogram.boundsMs.at(-1) ?? 0;
  const overflow = histogram.counts.at(-1) ?? 0;
  return { share: within / total, exact: overflow === 0 || boundMs === highest };
}

function lowerBound(histogram: Histogram, i: number): number {
  if (i > 0) return histogram.boundsMs[i - 1] ?? 0;
  return Math.min(0, histogram.boundsMs[0] ?? 0);
}

/** What is wrong with a histogram that came from outside; `field` names where it stands. */
export function histogramFault(field: string, value: unknown): Fault | null {
  if (!isRecord(value)) return shapeFault(field, "a histogram");
  const { boundsMs, counts, sumMs } = value;
  if (!Array.isArray(boundsMs) || boundsMs.length < 1 || boundsMs.length >= MAX_BUCKETS) {
    return shapeFault(`${field}.boundsMs`, `a list of 1 to ${MAX_BUCKETS - 1} bounds`);
  }
  if (!Array.isArray(counts) || counts.length !== boundsMs.length + 1) {
    return shapeFault(`${field}.counts`, `a list of ${boundsMs.length + 1} counts, one more than the bounds`);
  }
  for (let i = 0; i < boundsMs.length; i++) {
    const fault = rangeFault(`${field}.boundsMs[${i}]`, boundsMs[i], 0, HUGE);
    if (fault !== null) return fault;
    if (i > 0 && boundsMs[i] <= boundsMs[i - 1]) {
      return { field: `${field}.boundsMs[${i}]`, bound: `above the bound before it`, value: boundsMs[i] };
    }
  }
  for (let i = 0; i < counts.length; i++) {
    const fault = wholeFault(`${field}.counts[${i}]`, counts[i], 0, HUGE);
    if (fault !== null) return fault;
  }
  return firstFault(rangeFault(`${field}.sumMs`, sumMs, 0, HUGE));
}
