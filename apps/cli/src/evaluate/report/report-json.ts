/** The report's numbers, rounded and one entry for each workload, rate and contender. */
import type { Results } from "@fulcrum/evaluation/results.js";
import { scenarioOf } from "@fulcrum/evaluation/scenarios.js";
import { spreadOf } from "@fulcrum/evaluation/statistics.js";
import type { LaneSummary } from "@fulcrum/evaluation/summary.js";
import type { TargetLine } from "@fulcrum/evaluation/target-line.js";
import type { World } from "@fulcrum/evaluation/world.js";

/** Lists with one entry a line, so that two reports can be compared by their lines. */
export function reportJson(results: Results, world: World, targets: readonly TargetLine[]): string {
  const highest = results.scenarios("highest").flatMap((scenario) =>
    results.contenders("highest").map((contender) => {
      const fractions = [...results.highest(scenario, contender).values()];
      const rates = fractions.map((fraction) => world.meanPerS(scenarioOf(scenario), fraction));
      return { workload: scenario, contender, ratePerS: spread(rates) };
    }),
  );
  const lengths = results
    .scenarios("grid")
    .map((name) => ({ workload: name, lengths: world.about(scenarioOf(name)) }));
  return [
    "{",
    `"profile": ${JSON.stringify(world.profile.name)},`,
    `"spreads": "median, least and greatest over the seeds",`,
    `"workloads": ${linesOf(lengths)},`,
    `"targets": ${linesOf(targets)},`,
    `"highest": ${linesOf(highest)},`,
    `"cells": ${linesOf(cellsOf(results, world))}`,
    "}\n",
  ].join("\n");
}

function linesOf(values: readonly object[]): string {
  return `[\n${values.map((value) => JSON.stringify(value)).join(",\n")}\n]`;
}

/** Null without values; four digits are more than the simulation means. */
function spread(values: readonly number[]): readonly number[] | null {
  const found = spreadOf(values);
  if (found === null) return null;
  return [found.median, found.least, found.greatest].map((value) => Number(value.toPrecision(4)));
}

function cellsOf(results: Results, world: World): readonly object[] {
  const groups = new Map<string, { readonly head: object; readonly lanes: LaneSummary[] }>();
  const put = (head: object, lane: LaneSummary) => {
    const key = JSON.stringify(head);
    const group = groups.get(key) ?? { head, lanes: [] };
    group.lanes.push(lane);
    groups.set(key, group);
  };
  for (const { section, variant, contender, setting, result } of results.rows) {
    const ratePerS = Number(world.meanPerS(scenarioOf(setting.scenario), setting.fraction).toPrecision(4));
    const head = { section, variant, workload: setting.scenario, fraction: setting.fraction, ratePerS };
    if (result.type === "lane") put({ ...head, contender }, result.lane);
    if (result.type === "bounds") {
      const { best, firstDecision, oracle } = result.bounds;
      put({ ...head, contender: "best fixed" }, best);
      if (firstDecision !== null) put({ ...head, contender: "known at first decision" }, firstDecision);
      put({ ...head, contender: "oracle" }, oracle);
    }
  }
  return [...groups.values()].map(({ head, lanes }) => ({ ...head, ...summaryOf(lanes) }));
}

function summaryOf(lanes: readonly LaneSummary[]): object {
  const over = (of: (lane: LaneSummary) => number | null) => spread(lanes.flatMap((lane) => of(lane) ?? []));
  return {
    attained: over((lane) => lane.bothOk),
    goodputPerS: over((lane) => lane.goodputPerS),
    ttftP90Ms: over((lane) => lane.ttftMs.p90),
    tpotP90Ms: over((lane) => lane.tpotMs.p90),
    preemptions: over((lane) => lane.preemptions),
    switches: over((lane) => lane.switches.length),
  };
}
