import { refuse } from "./input-check.js";
import type { PhaseCost, Profile } from "./profile.js";
import { buildGrid, type GridPoint } from "./step-grid.js";
import { columnOf, splitCsv } from "./trace-formats.js";

/** Measured kernel times of one model, by phase. */
export interface StepTimes {
  readonly prefill: readonly GridPoint[];
  readonly decode: readonly GridPoint[];
}

/**
 * Reads CSV with the columns `model`, `phase` (prefill or decode), `batch_size`, `len_or_ctx_per_seq` and
 * `ms`; others are not read. Only the rows of `model`. A prefill's size is its batch times its length: all
 * prompt tokens. Throws SimulatorInputError with the line.
 */
export function parseStepTimesCsv(text: string, file: string, model: string): StepTimes {
  const { columns, rows } = splitCsv(text, file);
  const [modelAt, phaseAt, batchAt, lengthAt, msAt] = [
    "model",
    "phase",
    "batch_size",
    "len_or_ctx_per_seq",
    "ms",
  ].map((name) => columnOf(columns, [name], file)) as [number, number, number, number, number];
  const prefill: GridPoint[] = [];
  const decode: GridPoint[] = [];
  for (const { cells, where } of rows) {
    if (cells[modelAt] !== model) continue;
    const batch = Number(cells[batchAt]);
    const length = Number(cells[lengthAt]);
    const ms = Number(cells[msAt]);
    if (!(batch > 0 && length > 0 && ms > 0)) refuse(where, "", "must hold numbers above 0");
    if (cells[phaseAt] === "prefill") prefill.push([batch * length, length, ms]);
    else if (cells[phaseAt] === "decode") decode.push([batch, length, ms]);
    else refuse(where, "phase", `must be prefill or decode, got ${JSON.stringify(cells[phaseAt])}`);
  }
  if (prefill.length === 0 || decode.length === 0)
    refuse(file, "", `has no prefill or no decode of ${model}`);
  return { prefill, decode };
}

/** The same profile with measured kernel times in place of the fits, which still hold beyond them. Throws RangeError. */
export function withStepTimes(profile: Profile, times: StepTimes): Profile {
  const withGrid = (cost: PhaseCost, points: readonly GridPoint[]): PhaseCost => ({
    ...cost,
    grid: buildGrid(points, cost.kernelMs),
  });
  return {
    ...profile,
    prefill: withGrid(profile.prefill, times.prefill),
    decode: withGrid(profile.decode, times.decode),
  };
}
