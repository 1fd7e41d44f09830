import type { SloTarget, Split } from "@fulcrum/core/nouns.js";
import { OPEN_SPLIT, runFixed, type FixedCase } from "@fulcrum/evaluation/best-fixed.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { DRAIN_MS, type Load } from "./serve.js";

/**
 * Splits that are tried: (100,100), one cap lowered, exclusive ones. Fewer than an evaluation tries, because each
 * is tried under every assumption. (100,100) comes first: of equals the first is taken.
 */
export const STUDY_SPLITS: readonly Split[] = [
  OPEN_SPLIT,
  ...[93, 85, 70, 55, 40, 30, 20].map((decodeSmPct) => ({ prefillSmPct: 100, decodeSmPct })),
  ...[93, 85, 70].map((prefillSmPct) => ({ prefillSmPct, decodeSmPct: 100 })),
  ...[80, 70, 60, 50].map((prefillSmPct) => ({ prefillSmPct, decodeSmPct: 100 - prefillSmPct })),
];

/** What fixed splits are worth on one profile and load. Rates in requests per second. */
export interface SplitStudy {
  /** The highest rate at which (100,100) keeps the SLO's share of requests within both bounds. */
  readonly openPerS: number;
  /** The split with the highest such rate; (100,100) when none is higher. */
  readonly best: Split;
  readonly bestPerS: number;
  /** The split that keeps most requests, at parts of openPerS; with equals, (100,100) first. */
  readonly byLoad: readonly LoadChoice[];
}

export interface LoadChoice {
  /** Rate over openPerS. */
  readonly load: number;
  readonly split: Split;
  /** Shares of requests within both bounds. */
  readonly attained: number;
  readonly openAttained: number;
}

export interface StudyOptions {
  readonly profile: Profile;
  readonly load: Load;
  readonly slo: SloTarget;
  /** Where the search for openPerS begins. */
  readonly startPerS: number;
  /** Rates over openPerS at which the best split is looked for. */
  readonly loads: readonly number[];
}

/** Of STUDY_SPLITS the one that misses least over all cases; one that is certain to be behind is given up. */
export function leastMisses(cases: readonly FixedCase[]): {
  readonly split: Split;
  readonly misses: number;
} {
  let best = { split: OPEN_SPLIT, misses: Infinity };
  for (const split of STUDY_SPLITS) {
    let misses = 0;
    for (const given of cases) {
      const left = best.misses - misses;
      misses += runFixed(given, split, left === Infinity ? undefined : left)?.misses ?? Infinity;
      if (misses >= best.misses) break;
    }
    if (misses < best.misses) best = { split, misses };
  }
  return best;
}

/** First step of a search for a rate; each further step is the square of the one before: 6, 12, 26, 59 %. */
const STEP = 1.06;
const TOLERANCE = 1.005;
/** Eight steps reach over a factor of a million. */
const MAX_STEPS = 8;

/** Tries all of STUDY_SPLITS. Rates are found to half a percent on these requests; other requests move them more. */
export function studySplits(options: StudyOptions): SplitStudy {
  const { profile, load, slo, loads } = options;
  const fixed = (ratePerS: number) => ({ profile, requests: load.at(ratePerS), slo, drainMs: DRAIN_MS });
  const holds = (split: Split, ratePerS: number): boolean => {
    const given = fixed(ratePerS);
    const most = (1 - slo.attainmentShare) * given.requests.length;
    const run = runFixed(given, split, most);
    return run !== null && run.misses <= most;
  };
  const openPerS = highestRate(OPEN_SPLIT, startOf(options, holds), holds);
  let best = OPEN_SPLIT;
  let bestPerS = openPerS;
  for (const split of STUDY_SPLITS) {
    // Most splits fail here, and a run that is certain to fail is given up early.
    if (split === OPEN_SPLIT || !holds(split, bestPerS * TOLERANCE)) continue;
    best = split;
    bestPerS = highestRate(split, bestPerS * TOLERANCE, holds);
  }
  const byLoad = loads.map((part): LoadChoice => {
    const given = fixed(part * openPerS);
    const least = leastMisses([given]);
    const open = runFixed(given, OPEN_SPLIT);
    const attainedBy = (misses: number) => 1 - misses / given.requests.length;
    return {
      load: part,
      split: least.split,
      attained: attainedBy(least.misses),
      openAttained: attainedBy(open?.misses ?? given.requests.length),
    };
  });
  return { openPerS, best, bestPerS, byLoad };
}

type Holds = (split: Split, ratePerS: number) => boolean;

/** A rate that (100,100) sustains. */
function startOf({ startPerS }: StudyOptions, holds: Holds): number {
  let ratePerS = startPerS;
  let step = STEP;
  for (let i = 0; i < MAX_STEPS && !holds(OPEN_SPLIT, ratePerS); i += 1) {
    ratePerS /= step;
    step **= 2;
  }
  return ratePerS;
}

/** The highest rate that a split sustains, from one that it does. */
function highestRate(split: Split, fromPerS: number, holds: Holds): number {
  let low = fromPerS;
  let high = Infinity;
  for (let i = 0, step = STEP; high === Infinity && i < MAX_STEPS; i += 1, step **= 2) {
    if (holds(split, low * step)) low *= step;
    else high = low * step;
  }
  while (high < Infinity && high / low > TOLERANCE) {
    const middle = Math.sqrt(low * high);
    if (holds(split, middle)) low = middle;
    else high = middle;
  }
  return low;
}
