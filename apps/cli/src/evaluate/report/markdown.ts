import { median, spreadOf } from "@fulcrum/evaluation/statistics.js";

/** A table; the first column is text, the others are numbers and so aligned to the right. */
export function mdTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return table(head, rows, (column) => column > 0);
}

/** A table whose columns are all text. */
export function mdTextTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return table(head, rows, () => false);
}

/** Columns are padded to one width, as the formatter of this repository has it. */
function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  toTheRight: (column: number) => boolean,
): string {
  const cells = [head, ...rows].map((row) => head.map((_, i) => escaped(row[i] ?? "")));
  const widths = head.map((_, i) => Math.max(3, ...cells.map((row) => (row[i] ?? "").length)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, i) => (toTheRight(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0))).join(" | ")} |`;
  const rule = widths.map((width, i) => (toTheRight(i) ? `${"-".repeat(width - 1)}:` : "-".repeat(width)));
  const [first = [], ...others] = cells;
  return [line(first), line(rule), ...others.map(line)].join("\n");
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
