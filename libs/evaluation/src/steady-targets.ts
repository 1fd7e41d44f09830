/** Targets under loads that stay what they are. */
import type { Place, Results } from "./results.js";
import { scenarioOf } from "./scenarios.js";
import { mean, median } from "./statistics.js";
import {
  OPEN,
  ORACLE,
  SEARCH,
  allOf,
  difference,
  grid,
  least,
  lessBestFixed,
  line,
  notRun,
  points,
  type At,
  type TargetLine,
} from "./target-line.js";

/** 0.895 - 0.9 is not -0.005 in binary. */
const ROUNDING = 1e-9;

const MOST_HARM = 0.005;

export function doNoHarm(results: Results): TargetLine {
  const measure = "do no harm: search less (100,100), every workload, rate and seed";
  const wanted = "never below -0.5 points";
  const all = allOf(results.places("grid"), (at) => difference(results, at, SEARCH, OPEN));
  const worst = least(all);
  if (worst === undefined) return notRun(measure, wanted);
  const below = all.filter(({ value }) => value < -MOST_HARM - ROUNDING).length;
  const measured = `worst ${points(worst.value)} (${placeWords(worst.at)}); below in ${below} of ${all.length} runs`;
  return line(measure, wanted, measured, below === 0);
}

const NEAR_ORACLE = 0.98;

export function nearOracle(results: Results): TargetLine {
  const measure = "mean attainment over the rates, search / oracle, every steady workload";
  const ratios = steadyScenarios(results).flatMap((scenario) => {
    const value = overOracle(results, scenario, (at) => results.lane(at, SEARCH)?.bothOk ?? null);
    return value === null ? [] : [{ at: grid(scenario, 0, 0), value }];
  });
  const worst = least(ratios);
  if (worst === undefined) return notRun(measure, `at least ${NEAR_ORACLE}`);
  const short = ratios.filter(({ value }) => value < NEAR_ORACLE);
  const behind = short
    .map(({ at, value }) => `${at.scenario} ${value.toFixed(3)}${knownBound(results, at.scenario)}`)
    .join(", ");
  const measured =
    short.length === 0
      ? `lowest ${worst.value.toFixed(3)} (${worst.at.scenario})`
      : `${ratios.length - short.length} of ${ratios.length} workloads; behind: ${behind}`;
  return line(measure, `at least ${NEAR_ORACLE}`, measured, short.length === 0);
}

/** Mean attainment over the rates of what `attained` gives, over the oracle's; median over seeds. */
function overOracle(
  results: Results,
  scenario: string,
  attained: (at: Place) => number | null,
): number | null {
  const perSeed = results.seeds("grid", scenario).flatMap((seed) => {
    const places = results.fractions("grid", scenario).map((fraction) => grid(scenario, fraction, seed));
    const bounded = places.filter((at) => results.bounds(at) !== null);
    const share = mean(bounded.flatMap((at) => attained(at) ?? []));
    const oracle = mean(bounded.flatMap((at) => results.bounds(at)?.oracle.bothOk ?? []));
    return share === null || oracle === null ? [] : [share / oracle];
  });
  return median(perSeed);
}

/** How near to the oracle the best fixed split comes when it is known from the first decision only. */
function knownBound(results: Results, scenario: string): string {
  const known = (at: Place) => results.bounds(at)?.firstDecision?.bothOk ?? null;
  const value = overOracle(results, scenario, known);
  return value === null ? "" : ` (known from the first decision: ${value.toFixed(3)})`;
}

export function highestRates(results: Results): readonly TargetLine[] {
  const against = (name: string, wanted: readonly (readonly [scenario: string, factor: number])[]) =>
    wanted.map(([scenario, factor]): TargetLine => {
      const measure = `highest rate with 90 % attainment, search / ${name}: ${scenario}`;
      const ratios = results.highestRatios(scenario, SEARCH, name);
      const middle = median(ratios);
      if (middle === null) return notRun(measure, `at least ${factor}`);
      const range = `${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)}`;
      const bound = name === OPEN ? highestBound(results, scenario) : "";
      const measured = `${middle.toFixed(3)} (${range})${bound}`;
      return line(measure, `at least ${factor}`, measured, middle >= factor);
    });
  return [
    ...against(OPEN, [
      ["chat-tight", 1.04],
      ["documents-tight", 1.42],
    ]),
    ...against("feedback", [
      ["chat-tight", 1],
      ["documents-tight", 1.2],
    ]),
  ];
}

/** What the clairvoyant has over (100,100), over the seeds that it ran. */
function highestBound(results: Results, scenario: string): string {
  const ratios = results.highestRatios(scenario, ORACLE, OPEN);
  const middle = median(ratios);
  if (middle === null) return "";
  return `; the oracle ${middle.toFixed(3)} (${ratios.length} ${ratios.length === 1 ? "seed" : "seeds"})`;
}

/** Below saturation: the oracle keeps what an operator promises. */
const PROMISED = 0.9;
const MOST_BEHIND = 0.01;

export function nearBestFixed(results: Results): TargetLine {
  const measure = "search less the best fixed split, steady loads that the oracle serves to 90 %";
  const wanted = "never below -1 point";
  const cells = steadyScenarios(results).flatMap((scenario) =>
    results.fractions("grid", scenario).flatMap((fraction): At<number>[] => {
      const places = results.seeds("grid", scenario).map((seed) => grid(scenario, fraction, seed));
      const oracle = median(places.flatMap((at) => results.bounds(at)?.oracle.bothOk ?? []));
      const gaps = allOf(places, (at) => lessBestFixed(results, at)).map(({ value }) => value);
      const value = median(gaps);
      if (oracle === null || oracle < PROMISED || value === null) return [];
      return [{ at: grid(scenario, fraction, 0), value }];
    }),
  );
  const worst = least(cells);
  if (worst === undefined) return notRun(measure, wanted);
  const behind = cells.filter(({ value }) => value < -MOST_BEHIND - ROUNDING);
  const where = `${worst.at.scenario} at ${worst.at.fraction}`;
  const measured = `worst ${points(worst.value)} (${where}); behind in ${behind.length} of ${cells.length} cells`;
  return line(measure, wanted, measured, behind.length === 0);
}

/** Of a long lane: the first five minutes find the split, the rest should keep it. */
const SETTLING_MS = 300_000;

/** Switches of a contender per ten minutes after the first five, of each long lane. */
export function steadySwitchRates(results: Results, contender: string): readonly At<number>[] {
  return allOf(results.places("long"), (at) => {
    const lane = results.lane(at, contender);
    if (lane === null) return null;
    const lengthMs = lane.bins.requests.length * 10_000 - SETTLING_MS;
    return (600_000 * lane.switches.filter(({ atMs }) => atMs >= SETTLING_MS).length) / lengthMs;
  });
}

export function steadySwitches(results: Results): TargetLine {
  const measure = "switches at steady load, per 10 minutes after the first five";
  const rates = steadySwitchRates(results, SEARCH);
  const medians = [...new Set(rates.map(({ at }) => at.scenario))].map((scenario) => ({
    scenario,
    value: median(rates.filter(({ at }) => at.scenario === scenario).map(({ value }) => value)) ?? 0,
  }));
  const most = medians.sort((a, b) => b.value - a.value)[0];
  if (most === undefined) return notRun(measure, "at most 1");
  const greatest = Math.max(...rates.map(({ value }) => value));
  const measured = `${most.value.toFixed(1)} (${most.scenario}); greatest of all runs ${greatest.toFixed(1)}`;
  return line(measure, "at most 1", measured, most.value <= 1);
}

function steadyScenarios(results: Results): readonly string[] {
  return results.scenarios("grid").filter((scenario) => scenarioOf(scenario).steady);
}

function placeWords({ scenario, fraction, seed }: Place): string {
  return `${scenario} at ${fraction}, seed ${seed}`;
}
