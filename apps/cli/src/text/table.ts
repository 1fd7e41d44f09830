import { oneLine } from "./visible.js";

export interface Column {
  readonly title: string;
  readonly right?: boolean;
  /** May be cut when the table is wider than the terminal. */
  readonly cut?: boolean;
}

const GAP = "  ";
const LEAST_CUT_WIDTH = 8;

/**
 * Rows under titles, aligned. `width` is the terminal's; null leaves everything whole. Only columns that
 * may be cut are, the widest first, down to 8 characters.
 */
export function tableText(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number | null,
): string {
  const cells = rows.map((row) => columns.map((_, i) => oneLine(row[i] ?? "")));
  const natural = columns.map((column, i) =>
    cells.reduce((widest, row) => Math.max(widest, length(row[i] ?? "")), length(column.title)),
  );
  const widths = width === null ? natural : fitted(columns, natural, width);
  const line = (texts: readonly string[]) =>
    texts
      .map((text, i) => padded(text, widths[i] ?? 0, columns[i]?.right ?? false))
      .join(GAP)
      .trimEnd();
  return [line(columns.map((column) => column.title.toUpperCase())), ...cells.map(line)].join("\n");
}

/** Names and values, one pair a line, aligned: for a single resource. */
export function pairsText(pairs: readonly (readonly [string, string])[]): string {
  const widest = pairs.reduce((most, [name]) => Math.max(most, length(name)), 0);
  return pairs.map(([name, value]) => `${name.padEnd(widest)}${GAP}${oneLine(value)}`.trimEnd()).join("\n");
}

/** At most `width` characters; a cut text ends in an ellipsis. */
export function cutText(text: string, width: number): string {
  const characters = Array.from(text);
  if (characters.length <= width) return text;
  return width < 1 ? "" : `${characters.slice(0, width - 1).join("")}…`;
}

function fitted(columns: readonly Column[], natural: readonly number[], width: number): number[] {
  const widths = [...natural];
  const gaps = GAP.length * (columns.length - 1);
  let excess = widths.reduce((sum, each) => sum + each, gaps) - width;
  while (excess > 0) {
    let widest = -1;
    for (const [i, column] of columns.entries()) {
      if (column.cut !== true || (widths[i] ?? 0) <= LEAST_CUT_WIDTH) continue;
      if (widest < 0 || (widths[i] ?? 0) > (widths[widest] ?? 0)) widest = i;
    }
    if (widest < 0) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess -= 1;
  }
  return widths;
}

function padded(text: string, width: number, right: boolean): string {
  const cut = cutText(text, width);
  const space = " ".repeat(Math.max(0, width - length(cut)));
  return right ? space + cut : cut + space;
}

function length(text: string): number {
  return Array.from(text).length;
}
