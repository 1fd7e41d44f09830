/** What could have been reached on one lane: marks to measure policies against. */
import { sameSplit } from "@fulcrum/core/allocation.js";
import type { Allocation, Split } from "@fulcrum/core/nouns.js";
import { OPEN_SPLIT, bestFixed, type FixedCase } from "./best-fixed.js";
import { runOracle } from "./oracle.js";
import { changesOf } from "./recovery.js";
import { runLane, type Controller } from "./run-lane.js";
import type { Scenario } from "./scenarios.js";
import { summarise, type LaneSummary, type Served } from "./summary.js";

export interface Bounds {
  readonly best: FixedSummary;
  /** The best fixed split, taken at the first decision of a controller that starts at (100,100); null where the oracle was not wanted. */
  readonly firstDecision: LaneSummary | null;
  /** The best fixed split again where the oracle was not wanted; else the better of the greedy oracle and the best fixed split, which a clairvoyant may also choose. */
  readonly oracle: LaneSummary;
}

type FixedSummary = LaneSummary & { readonly split: Split };

export interface BoundsCase {
  readonly scenario: Scenario;
  readonly fixed: FixedCase;
}

export interface ControlTimes {
  readonly intervalMs: number;
  readonly prepareMs: number;
}

/** Fixed splits that the oracle also tries; more add little where the load is steady. */
const ORACLE_CANDIDATES = 4;
const ORACLE_WINDOW_MS = 10_000;
const ORACLE_LOOK_AHEAD_MS = 20_000;
/** Where the load changes its kind, what a batch leaves behind shows later: the better of both looks counts. */
const ORACLE_FAR_LOOK_MS = 40_000;

/** For loads that change their kind: a thin net over all ratios. */
const ORACLE_NET: readonly Split[] = [
  OPEN_SPLIT,
  { prefillSmPct: 100, decodeSmPct: 30 },
  { prefillSmPct: 100, decodeSmPct: 55 },
  { prefillSmPct: 90, decodeSmPct: 20 },
  { prefillSmPct: 90, decodeSmPct: 100 },
  { prefillSmPct: 80, decodeSmPct: 85 },
  { prefillSmPct: 70, decodeSmPct: 100 },
  { prefillSmPct: 50, decodeSmPct: 100 },
];

/** The best fixed split in hindsight and, unless the oracle is not wanted, the bounds that are made from it. */
export function boundsOf(given: BoundsCase, times: ControlTimes, withoutOracle = false): Bounds {
  const ranked = rankedFixed(given);
  const [best] = ranked;
  if (withoutOracle) return { best, firstDecision: null, oracle: best };
  return { best, firstDecision: firstDecision(given, best, times), oracle: oracle(given, ranked) };
}

/** Share of requests within both bounds under `Bounds.oracle`. */
export function oracleShare(given: BoundsCase): number {
  return oracle(given, rankedFixed(given)).bothOk;
}

type Ranked = readonly [FixedSummary, ...FixedSummary[]];

/** Ranked by all requests; by those that count the second may be first. */
function rankedFixed(given: BoundsCase): Ranked {
  const [first, ...others] = bestFixed(given.fixed, ORACLE_CANDIDATES).map((each) => ({
    ...summaryOf(given, { ...each, switches: [] }),
    split: each.split,
  }));
  if (first === undefined) throw new Error("no fixed split was tried");
  return [first, ...others].sort((a, b) => b.bothOk - a.bothOk) as [FixedSummary, ...FixedSummary[]];
}

/** The cost of not knowing the load before the first window, and of nothing else. */
function firstDecision(given: BoundsCase, best: FixedSummary, times: ControlTimes): LaneSummary {
  // Whoever starts there has nothing to change.
  if (sameSplit(best.split, OPEN_SPLIT)) return best;
  const lane = runLane({
    ...given.fixed,
    initial: allocationOf(OPEN_SPLIT),
    controller: onceTo(allocationOf(best.split)),
    controlIntervalMs: times.intervalMs,
    prepareMs: times.prepareMs,
  });
  return summaryOf(given, lane);
}

function onceTo(allocation: Allocation): Controller {
  return ({ switchPending, lastSwitchMs }) => (switchPending || lastSwitchMs !== null ? null : allocation);
}

function oracle(given: BoundsCase, ranked: Ranked): LaneSummary {
  const [best] = ranked;
  if (best.bothOk === 1) return best;
  const candidates = candidatesOf(
    given.scenario,
    ranked.map((each) => each.split),
  );
  const far = changesOf(given.scenario).length > 0 ? [ORACLE_FAR_LOOK_MS] : [];
  const looks = [ORACLE_LOOK_AHEAD_MS, ...far].map((lookAheadMs) =>
    summaryOf(given, runOracle({ ...given.fixed, candidates, windowMs: ORACLE_WINDOW_MS, lookAheadMs })),
  );
  return looks.reduce<LaneSummary>((top, look) => (look.bothOk > top.bothOk ? look : top), best);
}

function candidatesOf(scenario: Scenario, best: readonly Split[]): readonly Split[] {
  if (scenario.steady) return best;
  const others = ORACLE_NET.filter((split) => !best.some((known) => sameSplit(known, split)));
  return [...best, ...others];
}

function summaryOf({ scenario }: BoundsCase, served: Served): LaneSummary {
  return summarise(served, scenario.slo, scenario.durationMs);
}

function allocationOf(split: Split): Allocation {
  return { split, kvQuotaPct: 100 };
}
