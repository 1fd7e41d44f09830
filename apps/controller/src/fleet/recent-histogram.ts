import type { Histogram } from "@fulcrum/core/nouns.js";
import { addHistograms, sameBounds, sampleCount } from "@fulcrum/core/signal/histogram.js";

export interface RecentLatencies {
  readonly ttft: Histogram;
  readonly tpot: Histogram;
}

/**
 * The sum of those that have the buckets of the newest one with samples; null without samples: what an engine has not
 * observed yet it may not have told the buckets of either.
 */
export function recentHistogram(newestFirst: readonly Histogram[]): Histogram | null {
  const told = newestFirst.filter((histogram) => sampleCount(histogram) > 0);
  const [newest] = told;
  if (newest === undefined) return null;
  return told
    .filter((histogram) => sameBounds(histogram, newest))
    .reduce((sum, each) => addHistograms(sum, each));
}
