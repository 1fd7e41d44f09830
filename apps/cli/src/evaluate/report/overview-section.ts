/** Every workload in one line, and every run in which search falls short. */
import type { Place, Results } from "@fulcrum/evaluation/results.js";
import { mean } from "@fulcrum/evaluation/statistics.js";
import { points } from "@fulcrum/evaluation/target-line.js";
import { isEngine } from "@fulcrum/evaluation/contenders.js";
import { boundsOf, contendersOf, lanesOf } from "./grid-section.js";
import { mdTable, percent } from "./markdown.js";

/** Attainment of each contender over all rates and seeds of a workload. */
export function overviewSection(results: Results): string {
  const names = results.contenders("grid");
  const rows = results.scenarios("grid").map((scenario) => {
    const places = boundedPlaces(results, scenario);
    const ran = contendersOf(results, scenario);
    const bounds = boundsOf(results, places);
    const oracle = mean(bounds.map((each) => each.oracle.bothOk));
    const attained = (name: string) => mean(lanesOf(results, places, name).map((lane) => lane.bothOk));
    const search = attained("search");
    return [
      scenario,
      ...names.map((name) => (ran.includes(name) ? percent(attained(name)) : "")),
      percent(mean(bounds.map((each) => each.best.bothOk))),
      percent(mean(bounds.flatMap((each) => each.firstDecision?.bothOk ?? []))),
      percent(oracle),
      search === null || oracle === null ? "-" : (search / oracle).toFixed(3),
    ];
  });
  const marks = ["best fixed", "known at first decision", "oracle", "search / oracle"];
  const table = mdTable(["workload", ...names, ...marks], rows);
  const words = "Percent of requests within both bounds, mean over all rates and seeds.";
  return [words, table, aheadOfOracle(results)].filter((text) => text !== "").join("\n\n");
}

/** A greedy oracle can be beaten: then it is no bound, and the report must say so. */
function aheadOfOracle(results: Results): string {
  if (results.places("grid").every((at) => results.bounds(at) === null)) return "";
  // The engines of other kinds choose no split: no oracle of splits bounds them.
  const choosers = results.contenders("grid").filter((name) => !isEngine(name));
  const ahead = results.places("grid").flatMap((at) => {
    const bounds = results.bounds(at);
    const lanes = choosers.flatMap((name) => results.lane(at, name)?.bothOk ?? []);
    const gap = bounds === null ? 0 : Math.max(...lanes) - bounds.oracle.bothOk;
    return gap > 0.001 ? [{ at, gap }] : [];
  });
  const worst = ahead.toSorted((a, b) => b.gap - a.gap)[0];
  if (worst === undefined) return "No split or policy is ahead of the oracle in any run.";
  return `A split or policy is ahead of the oracle in ${ahead.length} runs, by ${points(worst.gap)} at most (${placeWords(worst.at)}): the oracle is greedy.`;
}

const HARM = 0.005;
const SHORT_OF_BEST = 0.01;
const KEEPS_PROMISE = 0.9;
const SHOWN = 20;

/** The runs below (100,100), and those below the best fixed split where it could be kept. */
export function shortfallSection(results: Results): string {
  const harmed = results.places("grid").flatMap((at) => {
    const [open, search] = [results.lane(at, "100/100"), results.lane(at, "search")];
    if (open === null || search === null || search.bothOk >= open.bothOk - HARM) return [];
    return [{ at, gap: search.bothOk - open.bothOk, search: search.bothOk, other: open.bothOk }];
  });
  const behind = results.places("grid").flatMap((at) => {
    const [bounds, search] = [results.bounds(at), results.lane(at, "search")];
    if (bounds === null || search === null || bounds.oracle.bothOk < KEEPS_PROMISE) return [];
    const gap = search.bothOk - bounds.best.bothOk;
    return gap < -SHORT_OF_BEST ? [{ at, gap, search: search.bothOk, other: bounds.best.bothOk }] : [];
  });
  return [
    listOf("Runs in which search is more than half a point below (100,100)", "(100,100) %", harmed),
    listOf(
      "Runs that the oracle serves to 90 % and in which search is more than a point below the best fixed split",
      "best fixed %",
      behind,
    ),
  ].join("\n\n");
}

interface Shortfall {
  readonly at: Place;
  readonly gap: number;
  readonly search: number;
  readonly other: number;
}

function listOf(title: string, other: string, found: readonly Shortfall[]): string {
  if (found.length === 0) return `${title}: none.`;
  const worst = found.toSorted((a, b) => a.gap - b.gap);
  const rows = worst
    .slice(0, SHOWN)
    .map((each) => [placeWords(each.at), percent(each.search), percent(each.other), points(each.gap)]);
  const rest = found.length > SHOWN ? ` (the worst ${SHOWN})` : "";
  return `${title}: ${found.length}${rest}.\n\n${mdTable(["run", "search %", other, "gap"], rows)}`;
}

function boundedPlaces(results: Results, scenario: string): readonly Place[] {
  return results.places("grid").filter((at) => at.scenario === scenario && results.bounds(at) !== null);
}

function placeWords({ scenario, fraction, seed }: Place): string {
  return `${scenario}${fraction === 1 ? "" : ` at ${fraction}`}, seed ${seed}`;
}
