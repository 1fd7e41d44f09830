/** What a signal says against the targets: percentiles, shares within the bounds, arrival rate. */
import type { Observed, ObservedClass, Signal } from "../decision.js";
import type { Histogram, LatencyTarget, SloTarget } from "../nouns.js";
import { observedClasses } from "./classes.js";
import { okShare, percentile } from "./histogram.js";

/** A measured percentile against its target; `overflow`: the true value lies above the highest bucket bound. */
export interface Seen {
  readonly ms: number;
  readonly overflow: boolean;
  readonly okShare: number;
  readonly exact: boolean;
}

export interface Sight {
  readonly ttft: Seen | null;
  readonly tpot: Seen | null;
  readonly arrivalPerS: number | null;
  /** Where the SLO has classes. */
  readonly classes?: readonly ObservedClass[];
}

export const BLIND: Sight = { ttft: null, tpot: null, arrivalPerS: null };

/** Null where there is no sample. The signal must have passed signalFault. */
export function see(signal: Signal, slo: SloTarget): Sight {
  return {
    ttft: seeOne(signal.ttft, slo.ttft),
    tpot: seeOne(signal.tpot, slo.tpot),
    arrivalPerS: signal.durationMs > 0 ? (signal.arrivals * 1000) / signal.durationMs : null,
    ...observedClasses(signal, slo),
  };
}

export function observedOf(sight: Sight, lambdaShare: number | null): Observed {
  return {
    ttftMs: sight.ttft?.ms ?? null,
    tpotMs: sight.tpot?.ms ?? null,
    ttftOkShare: sight.ttft?.okShare ?? null,
    tpotOkShare: sight.tpot?.okShare ?? null,
    exact: (sight.ttft?.exact ?? true) && (sight.tpot?.exact ?? true),
    arrivalPerS: sight.arrivalPerS,
    lambdaShare,
    ...(sight.classes === undefined ? {} : { classes: sight.classes }),
  };
}

function seeOne(histogram: Histogram | null, target: LatencyTarget): Seen | null {
  if (histogram === null) return null;
  const value = percentile(histogram, target.percentile);
  const ok = okShare(histogram, target.boundMs);
  if (value === null || ok === null) return null;
  return { ms: value.ms, overflow: value.overflow, okShare: ok.share, exact: ok.exact };
}
