import type { Histogram, Window, WindowClass } from "@fulcrum/core/nouns.js";
import { emptyHistogram, sameBounds, subtractHistograms } from "@fulcrum/core/signal/histogram.js";
import type { ClassCounters, Snapshot } from "../reader/engine-reader.js";

/**
 * The classes of a window, of snapshots in which nothing fell; `own` are the window's histograms, whose bounds a class
 * that has observed nothing gets. One with bounds of its own is left out: it could not be held against the others.
 */
export function windowClasses(
  before: Snapshot,
  after: Snapshot,
  own: { readonly ttft: Histogram; readonly tpot: Histogram },
): Pick<Window, "classes"> {
  if (after.classes === undefined) return {};
  const classes = [...after.classes].flatMap(([name, is]): WindowClass[] => {
    const was = before.classes?.get(name) ?? NEVER;
    const ttft = growth(was.ttft, is.ttft, own.ttft);
    const tpot = growth(was.tpot, is.tpot, own.tpot);
    if (ttft === null || tpot === null) return [];
    return [
      {
        name,
        arrivals: is.arrivals - was.arrivals,
        promptTokens: is.promptTokens - was.promptTokens,
        promptTokensSq: Math.max(0, is.promptTokensSq - was.promptTokensSq),
        ttft,
        tpot,
      },
    ];
  });
  return { classes };
}

const NEVER: ClassCounters = { arrivals: 0, promptTokens: 0, promptTokensSq: 0, ttft: null, tpot: null };

function growth(was: Histogram | null, is: Histogram | null, own: Histogram): Histogram | null {
  if (is === null) return emptyHistogram(own.boundsMs);
  if (!sameBounds(is, own) || (was !== null && !sameBounds(was, is))) return null;
  return was === null ? is : subtractHistograms(is, was);
}
