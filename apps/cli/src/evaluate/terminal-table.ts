import { mean, median } from "@fulcrum/evaluation/statistics.js";
import type { Place, Results } from "@fulcrum/evaluation/results.js";
import { scenarioOf } from "@fulcrum/evaluation/scenarios.js";
import type { World } from "@fulcrum/evaluation/world.js";
import { tableText, type Column } from "../text/table.js";
import { trimmed } from "../text/words.js";

/** Attainment of each contender, median over the seeds, beside its bounds. */
export function gridTable(results: Results, world: World, width: number | null): string {
  const names = results.contenders("grid");
  const columns: Column[] = [
    { title: "workload", cut: true },
    { title: "req/s", right: true },
    ...names.map((title) => ({ title, right: true })),
    { title: "best fixed", right: true },
    { title: "oracle", right: true },
  ];
  const rows = results.scenarios("grid").flatMap((scenario) =>
    results.fractions("grid", scenario).map((fraction) => {
      const places = results
        .seeds("grid", scenario)
        .map((seed): Place => ({ section: "grid", scenario, fraction, seed }));
      const attained = (name: string) => places.flatMap((at) => results.lane(at, name)?.bothOk ?? []);
      const bounds = places.flatMap((at) => results.bounds(at) ?? []);
      return [
        scenario,
        trimmed(world.meanPerS(scenarioOf(scenario), fraction), 1),
        ...names.map((name) => percent(median(attained(name)))),
        percent(median(bounds.map((each) => each.best.bothOk))),
        percent(median(bounds.map((each) => each.oracle.bothOk))),
      ];
    }),
  );
  const means = [...names, "", ""].map((name) => {
    const lanes = results.places("grid").flatMap((at) => results.lane(at, name)?.bothOk ?? []);
    return percent(mean(lanes));
  });
  const table = tableText(columns, [...rows, ["mean of all runs", "", ...means]], width);
  return `Share of requests within both bounds, percent, median over seeds\n${table}`;
}

function percent(share: number | null): string {
  return share === null ? "" : (100 * share).toFixed(1);
}
