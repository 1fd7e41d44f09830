/** Which splits are weighed: a coarse net over both caps, then the neighbours of the best. */
import { splitWithin } from "../allocation.js";
import { nearestSplit } from "../guard/grid.js";
import type { Limits, Split } from "../nouns.js";

/** Percent; finer where a cap is small, since what counts is the ratio. */
const NET: readonly number[] = [10, 15, 20, 30, 40, 55, 70, 85, 100];

/** Caps that leave more of the GPU idle than this gain nothing over larger ones. */
const LEAST_SUM_PCT = 95;

export function candidateSplits(limits: Limits): readonly Split[] {
  const wanted: Split[] = [];
  for (const prefillSmPct of NET) {
    for (const decodeSmPct of NET) {
      const sum = prefillSmPct + decodeSmPct;
      if (sum >= Math.min(LEAST_SUM_PCT, limits.maxSumPct - 5)) wanted.push({ prefillSmPct, decodeSmPct });
    }
  }
  // Where caps may not overlap only the diagonal is left: it is walked finely.
  if (limits.maxSumPct <= 120) {
    for (let pct = 10; pct <= 90; pct += 2.5) {
      wanted.push({ prefillSmPct: pct, decodeSmPct: limits.maxSumPct - pct });
    }
  }
  return deliverable(wanted, limits);
}

/** Both caps open; where they may not overlap, a half for each. */
export function openSplit(limits: Limits): Split {
  const cap = Math.min(limits.maxSmPct, limits.maxSumPct / 2);
  return nearestSplit({ prefillSmPct: cap, decodeSmPct: cap }, limits);
}

export function neighbours(split: Split, limits: Limits): readonly Split[] {
  const wanted: Split[] = [];
  for (const dx of [-10, -5, 0, 5, 10]) {
    for (const dy of [-10, -5, 0, 5, 10]) {
      if (dx === 0 && dy === 0) continue;
      wanted.push({ prefillSmPct: split.prefillSmPct + dx, decodeSmPct: split.decodeSmPct + dy });
    }
  }
  return deliverable(wanted, limits);
}

/** Quantised to what the hardware delivers, each once. */
function deliverable(wanted: readonly Split[], limits: Limits): readonly Split[] {
  const found = new Map<number, Split>();
  for (const split of wanted) {
    const near = nearestSplit(split, limits);
    if (splitWithin(near, limits)) found.set(near.prefillSmPct * 1000 + near.decodeSmPct, near);
  }
  return [...found.values()];
}
