/** How many requests kept both bounds, out of latency histograms that do not say which request a sample is of. */
import type { SloTarget, Window } from "../nouns.js";
import { withinBoth } from "../outcome/attainment.js";
import { okShare, sampleCount } from "../signal/histogram.js";

/**
 * What windows of one instance add up to. A sum of them is one again, also of windows that were held against different
 * bounds. Counts of samples; those within a bound that lies inside a bucket are no whole numbers.
 */
export interface Tally {
  readonly finished: number;
  readonly ttft: number;
  readonly ttftOk: number;
  readonly tpot: number;
  readonly tpotOk: number;
}

export function tallyOf(window: Pick<Window, "finished" | "ttft" | "tpot">, slo: SloTarget): Tally {
  const ttft = sampleCount(window.ttft);
  const tpot = sampleCount(window.tpot);
  return {
    finished: window.finished,
    ttft,
    ttftOk: ttft * (okShare(window.ttft, slo.ttft.boundMs)?.share ?? 0),
    tpot,
    tpotOk: tpot * (okShare(window.tpot, slo.tpot.boundMs)?.share ?? 0),
  };
}

/**
 * Requests within both bounds, of those that finished: the same product of two shares as everywhere else. Of answers of
 * one token no TPOT is told; with samples of one phase only, that phase's share stands for both. Null: of neither.
 */
export function withinOf({ finished, ttft, ttftOk, tpot, tpotOk }: Tally): number | null {
  const first = ttft > 0 ? Math.min(1, ttftOk / ttft) : null;
  const each = tpot > 0 ? Math.min(1, tpotOk / tpot) : null;
  if (first === null && each === null) return null;
  return finished * withinBoth(first ?? 1, each ?? 1);
}
