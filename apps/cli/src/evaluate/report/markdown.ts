import { median, spreadOf } from "@fulcrum/evaluation/statistics.js";

/** A table; the first column is text, the others are numbers and so aligned to the right. */
export function mdTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(escaped).join(" | ")} |`;
  const rule = head.map((_, i) => (i === 0 ? "---" : "---:"));
  return [line(head), `| ${rule.join(" | ")} |`, ...rows.map(line)].join("\n");
}

/** A table whose columns are all text. */
export function mdTextTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(escaped).join(" | ")} |`;
  return [line(head), `| ${head.map(() => "---").join(" | ")} |`, ...rows.map(line)].join("\n");
}

function escaped(text: string): string {
  return text.replaceAll("|", "\\|");
}

/** "93.1" of a share; "-" without one. */
export function percent(share: number | null): string {
  return share === null ? "-" : (100 * share).toFixed(1);
}

/** "93.1 (92.0-93.8)": median and range over seeds, in percent; "-" without values. */
export function percentSpread(shares: readonly number[]): string {
  const spread = spreadOf(shares);
  if (spread === null) return "-";
  if (spread.count === 1) return percent(spread.median);
  return `${percent(spread.median)} (${percent(spread.least)}-${percent(spread.greatest)})`;
}

/** Median to so many digits after the point; "-" without values. */
export function middle(values: readonly number[], digits: number): string {
  const value = median(values);
  return value === null ? "-" : value.toFixed(digits);
}

/** Median of milliseconds, whole; "-" without values. */
export function middleMs(values: readonly (number | null)[]): string {
  return middle(
    values.filter((value) => value !== null),
    0,
  );
}
