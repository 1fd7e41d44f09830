/** What every workload came to, contender by contender. */
import type { Place, Results } from "@fulcrum/evaluation/results.js";
import { scenarioOf } from "@fulcrum/evaluation/scenarios.js";
import { median } from "@fulcrum/evaluation/statistics.js";
import type { LaneSummary } from "@fulcrum/evaluation/summary.js";
import type { World } from "@fulcrum/evaluation/world.js";
import { mdTable, middle, middleMs, percent, percentSpread } from "./markdown.js";

export function steadySection(results: Results, world: World): string {
  const scenarios = results.scenarios("grid").filter((name) => scenarioOf(name).steady);
  return scenarios.map((name) => scenarioTables(results, world, name)).join("\n\n");
}

function scenarioTables(results: Results, world: World, scenario: string): string {
  const { title } = scenarioOf(scenario);
  const fractions = results.fractions("grid", scenario);
  const names = contendersOf(results, scenario);
  const rows = fractions.map((fraction) => {
    const places = placesOf(results, scenario, fraction);
    const bounds = boundsOf(results, places);
    const split = bounds[0]?.best.split;
    return [
      `${fraction} (${world.meanPerS(scenarioOf(scenario), fraction).toFixed(1)}/s)`,
      ...names.map((name) => attainedText(results, places, name)),
      `${percent(median(bounds.map((each) => each.best.bothOk)))} at ${split === undefined ? "-" : `${split.prefillSmPct}/${split.decodeSmPct}`}`,
      percent(median(bounds.map((each) => each.oracle.bothOk))),
    ];
  });
  const seeds = results.seeds("grid", scenario).length;
  const head = ["rate, of r_max", ...names, "best fixed", "oracle"];
  const parts = [
    `#### ${title} (\`${scenario}\`)`,
    `Percent of requests within both bounds, median of ${seeds} seeds (range for search).`,
    mdTable(head, rows),
  ];
  const detail = detailFraction(results, scenario);
  if (detail !== null) {
    const at = `At ${detail} of r_max, medians over the seeds:`;
    parts.push(at, detailTable(results, scenario, detail, names));
  }
  return parts.join("\n\n");
}

function attainedText(results: Results, places: readonly Place[], name: string): string {
  const shares = lanesOf(results, places, name).map((lane) => lane.bothOk);
  return name === "search" ? percentSpread(shares) : percent(median(shares));
}

/** Where contenders differ most: the greatest rate that the oracle serves to 90 %, else the least rate. */
function detailFraction(results: Results, scenario: string): number | null {
  const fractions = results.fractions("grid", scenario);
  const served = fractions.filter((fraction) => {
    const bounds = boundsOf(results, placesOf(results, scenario, fraction));
    return (median(bounds.map((each) => each.oracle.bothOk)) ?? 0) >= 0.9;
  });
  return served.at(-1) ?? fractions[0] ?? null;
}

export function detailTable(
  results: Results,
  scenario: string,
  fraction: number,
  names: readonly string[],
): string {
  const places = placesOf(results, scenario, fraction);
  const head = [
    "contender",
    "both %",
    "TTFT %",
    "TPOT %",
    "goodput /s",
    "TTFT p50/p90/p99 ms",
    "TPOT p50/p90/p99 ms",
    "preemptions",
    "switches",
  ];
  const bounds = boundsOf(results, places);
  const rows = [
    ...names.map((name) => detailRow(name, lanesOf(results, places, name))),
    detailRow(
      "best fixed",
      bounds.map((each) => each.best),
    ),
    detailRow(
      "oracle",
      bounds.map((each) => each.oracle),
    ),
  ];
  return mdTable(head, rows);
}

function detailRow(name: string, lanes: readonly LaneSummary[]): readonly string[] {
  const shares = (of: (lane: LaneSummary) => number) => percent(median(lanes.map(of)));
  const times = (of: (lane: LaneSummary) => LaneSummary["ttftMs"]) =>
    [
      middleMs(lanes.map((lane) => of(lane).p50)),
      middleMs(lanes.map((lane) => of(lane).p90)),
      middleMs(lanes.map((lane) => of(lane).p99)),
    ].join(" / ");
  return [
    name,
    shares((lane) => lane.bothOk),
    shares((lane) => lane.ttftOk),
    shares((lane) => lane.tpotOk),
    middle(
      lanes.map((lane) => lane.goodputPerS),
      2,
    ),
    times((lane) => lane.ttftMs),
    times((lane) => lane.tpotMs),
    middle(
      lanes.map((lane) => lane.preemptions),
      0,
    ),
    middle(
      lanes.map((lane) => lane.switches.length),
      0,
    ),
  ];
}

/** Those that ran this scenario. */
export function contendersOf(results: Results, scenario: string): readonly string[] {
  const places = results.places("grid").filter((at) => at.scenario === scenario);
  return results.contenders("grid").filter((name) => places.some((at) => results.lane(at, name) !== null));
}

export function placesOf(results: Results, scenario: string, fraction: number): readonly Place[] {
  return results.seeds("grid", scenario).map((seed) => ({ section: "grid", scenario, fraction, seed }));
}

export function lanesOf(results: Results, places: readonly Place[], name: string): readonly LaneSummary[] {
  return places.flatMap((at) => results.lane(at, name) ?? []);
}

export function boundsOf(results: Results, places: readonly Place[]) {
  return places.flatMap((at) => results.bounds(at) ?? []);
}
