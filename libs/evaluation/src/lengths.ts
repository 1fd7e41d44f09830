import type { Lengths } from "@fulcrum/simulator/arrivals.js";
import { createRandom, type Random } from "@fulcrum/simulator/random.js";
import { drawLengths, type LengthTable } from "@fulcrum/simulator/workload.js";

/** Where prompt and answer lengths come from: measured rows, drawn whole, or a joint quantile table. */
export type LengthSource =
  | { readonly kind: "rows"; readonly rows: readonly Lengths[] }
  | { readonly kind: "table"; readonly table: LengthTable };

export interface LengthSet {
  readonly source: LengthSource;
  /** What it is, and how many rows were dropped or cut, in words. */
  readonly about: string;
}

export function drawFrom(source: LengthSource, random: Random): Lengths {
  if (source.kind === "table") return drawLengths(source.table, random);
  const row = source.rows[Math.floor(random.uniform() * source.rows.length)];
  if (row === undefined) throw new RangeError("a length set has no rows");
  return row;
}

/** Draws that stand for a set when its costs are averaged. */
const SAMPLE = 4_000;

/** A fixed sample of a set: its first rows are no fair sample where a file is sorted, so rows are drawn. */
export function sampleOf(source: LengthSource): readonly Lengths[] {
  const random = createRandom(1, 0);
  return Array.from({ length: SAMPLE }, () => drawFrom(source, random));
}
