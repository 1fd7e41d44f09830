/** Ablations of the search policy, and how conclusions move with what is assumed. */
import type { Place, Results, Section } from "@fulcrum/evaluation/results.js";
import { mean, median } from "@fulcrum/evaluation/statistics.js";
import { BASE_VARIANT, WRONG_PROFILES } from "@fulcrum/evaluation/targets.js";
import { CONTROL_VARIANTS, PLANT_VARIANTS } from "../plan.js";
import { mdTable, percent } from "./markdown.js";

/** Attainment of search under each variant, workload by workload, and the mean. */
export function ablationSection(results: Results): string {
  const variants = results.variants("ablation");
  return variants.length === 0 ? "Not run." : variantTable(results, "ablation", variants);
}

export function controlSection(results: Results): string {
  const names = [BASE_VARIANT, ...Object.keys(CONTROL_VARIANTS), ...Object.keys(WRONG_PROFILES)];
  const run = results.variants("sensitivity");
  const variants = names.filter((name) => run.includes(name));
  return variants.length === 0 ? "Not run." : variantTable(results, "sensitivity", variants);
}

function variantTable(results: Results, section: Section, variants: readonly string[]): string {
  const columns = columnsOf(results, section);
  const attained = (variant: string, column: Column) =>
    median(
      placesOf(results, section, variant, column).flatMap((at) => results.lane(at, "search")?.bothOk ?? []),
    );
  const base = mean(columns.flatMap((column) => attained(BASE_VARIANT, column) ?? []));
  const rows = variants.map((variant) => {
    const shares = columns.map((column) => attained(variant, column));
    const average = mean(shares.filter((share) => share !== null));
    const change = average === null || base === null ? "-" : ((average - base) * 100).toFixed(1);
    return [variant, ...shares.map(percent), percent(average), variant === BASE_VARIANT ? "" : change];
  });
  return mdTable(["variant", ...columns.map(columnTitle), "mean", "change"], rows);
}

/** What the plant's assumptions do to (100,100), feedback, search and the best fixed split. */
export function plantSection(results: Results): string {
  const run = results.variants("sensitivity");
  const variants = Object.keys(PLANT_VARIANTS).filter((name) => run.includes(name));
  if (variants.length === 0) return "Not run.";
  const columns = columnsOf(results, "sensitivity");
  const tables = columns.map((column) => {
    const rows = variants.map((variant) => {
      const places = placesOf(results, "sensitivity", variant, column);
      const attained = (name: string) => median(places.flatMap((at) => results.lane(at, name)?.bothOk ?? []));
      const bounds = places.flatMap((at) => results.bounds(at) ?? []);
      const [open, search] = [attained("100/100"), attained("search")];
      const split = bounds[0]?.best.split;
      return [
        variant,
        percent(open),
        percent(attained("feedback")),
        percent(search),
        `${percent(median(bounds.map((each) => each.best.bothOk)))} at ${split === undefined ? "-" : `${split.prefillSmPct}/${split.decodeSmPct}`}`,
        open === null || search === null ? "-" : ((search - open) * 100).toFixed(1),
      ];
    });
    const head = ["assumption", "100/100", "feedback", "search", "best fixed", "search less (100,100)"];
    return `#### ${columnTitle(column)}\n\n${mdTable(head, rows)}`;
  });
  return [plantWords(results, variants, columns), ...tables].join("\n\n");
}

/** Whether search stays ahead of (100,100) under every assumption. */
function plantWords(results: Results, variants: readonly string[], columns: readonly Column[]): string {
  const behind = variants.flatMap((variant) =>
    columns.flatMap((column) => {
      const gaps = placesOf(results, "sensitivity", variant, column).flatMap((at) => {
        const [open, search] = [results.lane(at, "100/100"), results.lane(at, "search")];
        return open === null || search === null ? [] : [search.bothOk - open.bothOk];
      });
      const gap = median(gaps);
      return gap !== null && gap < -0.005
        ? [`${variant}, ${columnTitle(column)} (${(100 * gap).toFixed(1)})`]
        : [];
    }),
  );
  return behind.length === 0
    ? "Search is nowhere more than half a point below (100,100), whatever is assumed of the GPU."
    : `Search is more than half a point below (100,100) under: ${behind.join("; ")}.`;
}

type Column = Pick<Place, "scenario" | "fraction">;

function columnsOf(results: Results, section: Section): readonly Column[] {
  return results
    .scenarios(section)
    .flatMap((scenario) => results.fractions(section, scenario).map((fraction) => ({ scenario, fraction })));
}

function columnTitle({ scenario, fraction }: Column): string {
  return fraction === 1 ? scenario : `${scenario} at ${fraction}`;
}

function placesOf(results: Results, section: Section, variant: string, column: Column): readonly Place[] {
  return results.seeds(section, column.scenario).map((seed) => ({ section, variant, ...column, seed }));
}
