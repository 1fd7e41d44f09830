/** Targets under loads that change. */
import { changesOf, recoveryMs, settledLevel } from "./recovery.js";
import type { Results } from "./results.js";
import { scenarioOf } from "./scenarios.js";
import { mean, median } from "./statistics.js";
import {
  OPEN,
  SEARCH,
  allOf,
  difference,
  grid,
  lessBestFixed,
  line,
  notRun,
  points,
  type TargetLine,
} from "./target-line.js";

const CHANGING = "changing-kinds";

export function changingLoad(results: Results): readonly TargetLine[] {
  const places = results.seeds("grid", CHANGING).map((seed) => grid(CHANGING, 1, seed));
  const ofOracle = places.flatMap((at) => {
    const [search, bounds] = [results.lane(at, SEARCH), results.bounds(at)];
    return search === null || bounds === null ? [] : [search.bothOk / bounds.oracle.bothOk];
  });
  const gains = allOf(places, (at) => lessBestFixed(results, at)).map(({ value }) => value);
  const recovery = recoveryRatio(results, CHANGING, SEARCH);
  const [share, gain] = [median(ofOracle), median(gains)];
  const names = [
    "changing load: attainment, search / oracle",
    "changing load: search less the best fixed split in hindsight",
    "changing load: time to recover, search / oracle",
  ] as const;
  if (share === null || gain === null || recovery === null) {
    return [
      notRun(names[0], "at least 0.97"),
      notRun(names[1], "at least +3 points"),
      notRun(names[2], "at most 1.3"),
    ];
  }
  const seconds = `${Math.round(recovery.ms / 1000)} s against ${Math.round(recovery.oracleMs / 1000)} s`;
  const ratio = recovery.ms / recovery.oracleMs;
  return [
    line(names[0], "at least 0.97", share.toFixed(3), share >= 0.97),
    line(names[1], "at least +3 points", points(gain), gain >= 0.03),
    line(names[2], "at most 1.3", `${ratio.toFixed(2)} (${seconds})`, ratio <= 1.3),
  ];
}

/** Mean time to recover over changes and seeds, of a contender and of the oracle; null when it was not run. */
export function recoveryRatio(
  results: Results,
  scenario: string,
  contender: string,
): { readonly ms: number; readonly oracleMs: number } | null {
  const times: number[] = [];
  const oracleTimes: number[] = [];
  for (const seed of results.seeds("grid", scenario)) {
    const at = grid(scenario, 1, seed);
    const [lane, bounds] = [results.lane(at, contender), results.bounds(at)];
    if (lane === null || bounds === null) continue;
    for (const change of changesOf(scenarioOf(scenario))) {
      const level = settledLevel(bounds.oracle.bins, change);
      if (level === null) continue;
      times.push(recoveryMs(lane.bins, change, level));
      oracleTimes.push(recoveryMs(bounds.oracle.bins, change, level));
    }
  }
  const [ms, oracleMs] = [mean(times), mean(oracleTimes)];
  return ms === null || oracleMs === null ? null : { ms, oracleMs };
}

/** A tenth of a point is as fine as attainment is told. */
const SAME = 0.0005;

export function burstsAndSilences(results: Results): TargetLine {
  const measure = "bursts and silences: search less (100,100)";
  const found = ["bursts", "silences"].flatMap((scenario) => {
    const places = results.seeds("grid", scenario).map((seed) => grid(scenario, 1, seed));
    const all = allOf(places, (at) => difference(results, at, SEARCH, OPEN)).map(({ value }) => value);
    const middle = median(all);
    return middle === null ? [] : [{ scenario, middle, worst: Math.min(...all) }];
  });
  if (found.length === 0) return notRun(measure, "nothing worse");
  const measured = found
    .map(({ scenario, middle, worst }) => `${scenario} ${points(middle)} (worst seed ${points(worst)})`)
    .join(", ");
  return line(
    measure,
    "nothing worse",
    measured,
    found.every(({ middle }) => middle >= -SAME),
  );
}
