import { burstsAndSilences, changingLoad } from "./changing-targets.js";
import type { Results } from "./results.js";
import { median } from "./statistics.js";
import { doNoHarm, highestRates, nearBestFixed, nearOracle, steadySwitches } from "./steady-targets.js";
import { SEARCH, line, notRun, points, type TargetLine } from "./target-line.js";

/** p99 of the wall time of one search decision, ms; null when it was not measured. */
export type DecisionCost = {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly decisions: number;
} | null;

/** The targets that were set for the search policy, line by line. */
export function targetLines(results: Results, cost: DecisionCost): readonly TargetLine[] {
  return [
    doNoHarm(results),
    nearOracle(results),
    ...highestRates(results),
    nearBestFixed(results),
    ...changingLoad(results),
    burstsAndSilences(results),
    steadySwitches(results),
    ...pricesOfProfiles(results),
    decisionTime(cost),
  ];
}

export const WRONG_PROFILES: Readonly<Record<string, string>> = {
  "profile 1.5 times too slow": "a profile with all step times 1.5 times too long",
  "profile 1.5 times too fast": "a profile with all step times 1.5 times too short",
  "profile with other curves": "the SM curves of another model",
  "no profile": "no profile",
};

const MOST_PRICE = 0.02;

function pricesOfProfiles(results: Results): readonly TargetLine[] {
  return Object.entries(WRONG_PROFILES).map(([variant, words]) => {
    const measure = `price of ${words}, median over seeds, worst workload`;
    const cells = results.scenarios("sensitivity").flatMap((scenario) => {
      const lost = priceOf(results, scenario, variant);
      return lost === null ? [] : [{ scenario, lost }];
    });
    const worst = cells.sort((a, b) => b.lost - a.lost)[0];
    if (worst === undefined) return notRun(measure, "at most 2 points");
    const measured = `${points(worst.lost)} (${worst.scenario})`;
    return line(measure, "at most 2 points", measured, worst.lost <= MOST_PRICE);
  });
}

/** Attainment lost to a variant of the sensitivity runs against their base, median over seeds. */
function priceOf(results: Results, scenario: string, variant: string): number | null {
  const lost = results.fractions("sensitivity", scenario).flatMap((fraction) =>
    results.seeds("sensitivity", scenario).flatMap((seed) => {
      const place = { section: "sensitivity" as const, scenario, fraction, seed };
      const base = results.lane({ ...place, variant: BASE_VARIANT }, SEARCH);
      const changed = results.lane({ ...place, variant }, SEARCH);
      return base === null || changed === null ? [] : [base.bothOk - changed.bothOk];
    }),
  );
  return median(lost);
}

/** What the variants of the sensitivity and ablation runs are compared with. */
export const BASE_VARIANT = "as it is";

function decisionTime(cost: DecisionCost): TargetLine {
  const measure = "one search decision, wall time p99 on one core";
  if (cost === null) return notRun(measure, "1 ms");
  const measured = `${cost.p99Ms.toFixed(2)} ms (p50 ${cost.p50Ms.toFixed(2)} ms, ${cost.decisions} decisions)`;
  return line(measure, "1 ms", measured, cost.p99Ms <= 1);
}
