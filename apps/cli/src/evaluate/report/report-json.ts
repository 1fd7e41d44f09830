/** The report's numbers, rounded and one entry for each workload, rate and contender. */
import type { Results } from "@fulcrum/evaluation/results.js";
import { scenarioOf } from "@fulcrum/evaluation/scenarios.js";
import { spreadOf } from "@fulcrum/evaluation/statistics.js";
import type { LaneSummary } from "@fulcrum/evaluation/summary.js";
import type { TargetLine } from "@fulcrum/evaluation/target-line.js";
import type { World } from "@fulcrum/evaluation/world.js";

export function reportJson(results: Results, world: World, targets: readonly TargetLine[]): string {
  const value = {
    profile: world.profile.name,
    lengths: Object.fromEntries(
      results.scenarios("grid").map((name) => [name, world.about(scenarioOf(name))]),
    ),
    targets,
    highestPerS: results.scenarios("highest").flatMap((scenario) =>
      results.contenders("highest").map((contender) => {
        const rates = results
          .highest(scenario, contender)
          .map((fraction) => world.meanPerS(scenarioOf(scenario), fraction));
        return { workload: scenario, contender, ratePerS: spreadOf(rates) };
      }),
    ),
    cells: cellsOf(results, world),
  };
  return `${JSON.stringify(value, (_, field: unknown) => (typeof field === "number" ? rounded(field) : field), 1)}\n`;
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
    const ratePerS = world.meanPerS(scenarioOf(setting.scenario), setting.fraction);
    const head = { section, variant, workload: setting.scenario, fraction: setting.fraction, ratePerS };
    if (result.type === "lane") put({ ...head, contender }, result.lane);
    if (result.type === "bounds") {
      put({ ...head, contender: "best fixed" }, result.bounds.best);
      put({ ...head, contender: "oracle" }, result.bounds.oracle);
    }
  }
  return [...groups.values()].map(({ head, lanes }) => ({ ...head, ...summaryOf(lanes) }));
}

function summaryOf(lanes: readonly LaneSummary[]): object {
  const over = (of: (lane: LaneSummary) => number | null) =>
    spreadOf(lanes.flatMap((lane) => of(lane) ?? []));
  return {
    attained: over((lane) => lane.bothOk),
    ttftOk: over((lane) => lane.ttftOk),
    tpotOk: over((lane) => lane.tpotOk),
    goodputPerS: over((lane) => lane.goodputPerS),
    ttftP90Ms: over((lane) => lane.ttftMs.p90),
    tpotP90Ms: over((lane) => lane.tpotMs.p90),
    preemptions: over((lane) => lane.preemptions),
    switches: over((lane) => lane.switches.length),
  };
}

/** Five digits are more than the simulation means. */
function rounded(value: number): number {
  return Number(value.toPrecision(5));
}
