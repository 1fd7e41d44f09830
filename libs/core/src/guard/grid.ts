/**
 * The caps that a driver can deliver: multiples of the granularity within [min, max], and 100, the whole GPU,
 * where max allows it (8 SMs of 132 are 6.06 points: 16 granules are 97 %, the 17th is "no cap").
 */
import { SUM_SLACK_PCT, splitWithin } from "../allocation.js";
import type { Limits, Split } from "../nouns.js";

const DIGITS = 1e6;
const SLACK = 1e-9;

function multiple(k: number, granularityPct: number): number {
  return Math.round(k * granularityPct * DIGITS) / DIGITS;
}

/** Lowest cap that can be delivered; null when there is none within the limits. */
export function lowestCap(limits: Limits): number | null {
  const k = Math.max(1, Math.ceil(limits.minSmPct / limits.granularityPct - SLACK));
  const low = multiple(k, limits.granularityPct);
  if (low <= limits.maxSmPct && low <= 100) return low;
  return limits.maxSmPct >= 100 ? 100 : null;
}

/** Greatest deliverable cap at or below `value`; the lowest one when there is none. */
export function floorCap(value: number, limits: Limits): number {
  const low = lowestCap(limits) ?? limits.maxSmPct;
  const bound = Math.min(value, limits.maxSmPct);
  if (bound >= 100) return 100;
  const k = Math.floor(bound / limits.granularityPct + SLACK);
  return Math.max(low, multiple(k, limits.granularityPct));
}

/** Least deliverable cap at or above `value`; the greatest one when there is none. */
export function ceilCap(value: number, limits: Limits): number {
  const low = lowestCap(limits) ?? limits.maxSmPct;
  if (value <= low) return low;
  const k = Math.ceil(value / limits.granularityPct - SLACK);
  const up = multiple(k, limits.granularityPct);
  return up <= limits.maxSmPct && up <= 100 ? up : floorCap(limits.maxSmPct, limits);
}

export function nearestCap(value: number, limits: Limits): number {
  const down = floorCap(value, limits);
  const up = ceilCap(value, limits);
  return up - value < value - down ? up : down;
}

/** The deliverable split nearest to one that keeps the limits, and that keeps them too. */
export function nearestSplit(split: Split, limits: Limits): Split {
  const prefillSmPct = nearestCap(split.prefillSmPct, limits);
  const decodeSmPct = nearestCap(split.decodeSmPct, limits);
  const sumOk = prefillSmPct + decodeSmPct <= limits.maxSumPct + SUM_SLACK_PCT;
  if (sumOk) return { prefillSmPct, decodeSmPct };
  const prefillDown = floorCap(split.prefillSmPct, limits);
  const decodeDown = floorCap(Math.min(split.decodeSmPct, limits.maxSumPct - prefillDown + SLACK), limits);
  return {
    prefillSmPct: floorCap(Math.min(prefillDown, limits.maxSumPct - decodeDown + SLACK), limits),
    decodeSmPct: decodeDown,
  };
}

/**
 * A deliverable split on the way from `from` to `to`: `fraction` (0..1) of each cap's change and never more,
 * rounded towards `from`. A cap that cannot change by a whole granule stays as it is. `from` itself when
 * rounding would break the sum and the growing cap cannot give way.
 */
export function towards(from: Split, to: Split, fraction: number, limits: Limits): Split {
  let prefillSmPct = capTowards(from.prefillSmPct, to.prefillSmPct, fraction, limits);
  let decodeSmPct = capTowards(from.decodeSmPct, to.decodeSmPct, fraction, limits);
  if (prefillSmPct + decodeSmPct > limits.maxSumPct + SUM_SLACK_PCT) {
    if (prefillSmPct > from.prefillSmPct) {
      prefillSmPct = Math.max(from.prefillSmPct, floorCap(limits.maxSumPct - decodeSmPct + SLACK, limits));
    } else if (decodeSmPct > from.decodeSmPct) {
      decodeSmPct = Math.max(from.decodeSmPct, floorCap(limits.maxSumPct - prefillSmPct + SLACK, limits));
    }
  }
  const split = { prefillSmPct, decodeSmPct };
  return splitWithin(split, limits) ? split : from;
}

function capTowards(from: number, to: number, fraction: number, limits: Limits): number {
  const exact = from + (to - from) * fraction;
  // At the ends of the grid the nearest cap may lie beyond `exact`: then there is none on the way.
  const cap = to > from ? floorCap(exact, limits) : ceilCap(exact, limits);
  const onTheWay = to > from ? cap > from && cap <= exact + SLACK : cap < from && cap >= exact - SLACK;
  return onTheWay ? cap : from;
}
