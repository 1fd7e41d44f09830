/** A bucket bound at an SLO bound, so that attainment is counted and not interpolated. */
import type { Histogram } from "@fulcrum/core/nouns.js";

/**
 * The histogram with `boundMs` among its bounds. `within` is how many samples lie within the bound, where that was
 * counted; it is held to what the other buckets say. Not counted: the bucket's samples are taken as evenly spread.
 */
export function splitBucket(histogram: Histogram, boundMs: number, within: number | null): Histogram {
  const { boundsMs, counts, sumMs } = histogram;
  if (boundsMs.includes(boundMs)) return histogram;
  const found = boundsMs.findIndex((bound) => bound > boundMs);
  const at = found < 0 ? boundsMs.length : found;
  const inBucket = counts[at] ?? 0;
  const below = counts.slice(0, at).reduce((sum, n) => sum + n, 0);
  const from = boundsMs[at - 1] ?? 0;
  const to = boundsMs[at];
  const spread = to === undefined ? 0 : (inBucket * (boundMs - from)) / (to - from);
  const low = Math.min(inBucket, Math.max(0, Math.round(within === null ? spread : within - below)));
  return {
    boundsMs: [...boundsMs.slice(0, at), boundMs, ...boundsMs.slice(at)],
    counts: [...counts.slice(0, at), low, inBucket - low, ...counts.slice(at + 1)],
    sumMs,
  };
}
