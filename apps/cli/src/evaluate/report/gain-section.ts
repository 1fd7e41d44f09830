/** Where splitting pays and where it does not, read from the numbers. */
import { isEngine } from "@fulcrum/evaluation/contenders.js";
import type { Results } from "@fulcrum/evaluation/results.js";
import { scenarioOf } from "@fulcrum/evaluation/scenarios.js";
import { median } from "@fulcrum/evaluation/statistics.js";
import type { World } from "@fulcrum/evaluation/world.js";
import { boundsOf, lanesOf, placesOf } from "./grid-section.js";
import { mdTable, percent } from "./markdown.js";

/** A point of attainment: less than what seeds differ by. */
const NOTHING = 0.01;

interface Cell {
  readonly scenario: string;
  readonly fraction: number;
  /** Attainment that the oracle, the best fixed split and search have over (100,100). */
  readonly oracle: number;
  readonly best: number;
  readonly search: number | null;
  readonly open: number;
}

export function gainSection(results: Results, world: World): string {
  const cells = cellsOf(results);
  if (cells.length === 0) return "Not run.";
  const nothing = cells.filter((cell) => cell.oracle < NOTHING);
  const words = [
    nothing.length === 0
      ? `In each of the ${cells.length} combinations of workload and rate the oracle is at least a point better than leaving both caps at 100.`
      : `In ${nothing.length} of ${cells.length} combinations of workload and rate even the oracle is less than a point better than leaving both caps at 100: there, no controller of the split is worth running.`,
    priceOfSearch(nothing),
    oversubscription(results),
    otherEngines(results),
  ];
  const rows = cells.map((cell) => [
    `${cell.scenario} at ${cell.fraction} (${world.meanPerS(scenarioOf(cell.scenario), cell.fraction).toFixed(1)}/s)`,
    percent(cell.open),
    signed(cell.best),
    signed(cell.oracle),
    cell.search === null ? "-" : signed(cell.search),
    cell.oracle < NOTHING ? "nothing to gain" : "",
  ]);
  const head = ["workload and rate", "(100,100) %", "best fixed gains", "oracle gains", "search gains", ""];
  return `${words.filter((text) => text !== "").join(" ")}\n\n${mdTable(head, rows)}`;
}

/** What search does where there is nothing to gain. */
function priceOfSearch(nothing: readonly Cell[]): string {
  const run = nothing.flatMap(({ search }) => search ?? []);
  if (run.length === 0) return "";
  const lost = run.filter((gain) => gain < -NOTHING / 2).length;
  return lost === 0
    ? "Search costs no more than half a point there."
    : `Search costs more than half a point in ${lost} of these.`;
}

function cellsOf(results: Results): readonly Cell[] {
  return results.scenarios("grid").flatMap((scenario) =>
    results.fractions("grid", scenario).flatMap((fraction): Cell[] => {
      const places = placesOf(results, scenario, fraction);
      const bounds = boundsOf(results, places);
      const open = median(lanesOf(results, places, "100/100").map((lane) => lane.bothOk));
      const oracle = median(bounds.map((each) => each.oracle.bothOk));
      const best = median(bounds.map((each) => each.best.bothOk));
      const search = median(lanesOf(results, places, "search").map((lane) => lane.bothOk));
      if (open === null || oracle === null || best === null) return [];
      const over = {
        oracle: oracle - open,
        best: best - open,
        search: search === null ? null : search - open,
      };
      return [{ scenario, fraction, open, ...over }];
    }),
  );
}

/** Where an engine that splits nothing serves more than search does. */
function otherEngines(results: Results): string {
  const ahead = cellsOf(results).flatMap(({ scenario, fraction, open, search }) => {
    const places = placesOf(results, scenario, fraction);
    return results.contenders("grid").flatMap((name) => {
      const share = isEngine(name) ? median(lanesOf(results, places, name).map((lane) => lane.bothOk)) : null;
      const gap = share === null || search === null ? 0 : share - open - search;
      return gap >= NOTHING ? [`${name} on ${scenario} at ${fraction} (${signed(gap)} points)`] : [];
    });
  });
  return ahead.length === 0
    ? ""
    : `Engines that split nothing serve a point or more above search here: ${ahead.join(", ")}.`;
}

/** How the best fixed splits that gain something divide into exclusive and overlapping caps. */
function oversubscription(results: Results): string {
  const gaining = results.places("grid").flatMap((at) => {
    const [open, bounds] = [results.lane(at, "100/100"), results.bounds(at)];
    if (open === null || bounds === null || bounds.best.bothOk - open.bothOk < NOTHING) return [];
    return [bounds.best.split];
  });
  if (gaining.length === 0) return "";
  const over = gaining.filter((split) => split.prefillSmPct + split.decodeSmPct > 100).length;
  return `Where the best fixed split gains a point or more, its caps sum to more than 100 in ${over} of ${gaining.length} runs.`;
}

function signed(share: number): string {
  const text = (100 * share).toFixed(1);
  return Number(text) > 0 ? `+${text}` : text.replace("-0.0", "0.0");
}
