/** Fewer buckets, without changing what any of them says. */
import type { Histogram } from "@fulcrum/core/nouns.js";
import { MAX_BUCKETS } from "@fulcrum/core/signal/histogram.js";

/**
 * Merges neighbouring buckets until there are at most MAX_BUCKETS. The bounds at or just above and just below
 * each of `keepMs` (the SLO bounds) stay, so that attainment and misses are read as finely as before.
 */
export function coarsen(histogram: Histogram, keepMs: readonly number[]): Histogram {
  const { boundsMs, counts } = histogram;
  const most = MAX_BUCKETS - 1;
  if (boundsMs.length <= most) return histogram;
  const kept = new Set<number>([boundsMs.length - 1]);
  for (const ms of keepMs) {
    const above = boundsMs.findIndex((bound) => bound >= ms);
    const at = above < 0 ? boundsMs.length - 1 : above;
    for (const i of [at - 1, at, at + 1]) if (i >= 0 && i < boundsMs.length) kept.add(i);
  }
  const stride = Math.ceil(boundsMs.length / (most - kept.size));
  for (let i = stride - 1; i < boundsMs.length; i += stride) kept.add(i);

  const merged: { boundsMs: number[]; counts: number[] } = { boundsMs: [], counts: [] };
  let open = 0;
  boundsMs.forEach((bound, i) => {
    open += counts[i] ?? 0;
    if (!kept.has(i)) return;
    merged.boundsMs.push(bound);
    merged.counts.push(open);
    open = 0;
  });
  merged.counts.push(counts.at(-1) ?? 0);
  return { ...merged, sumMs: histogram.sumMs };
}
