import { refuse, type Fields } from "./input-check.js";

/**
 * A measured kernel time: prompt tokens or sequences of the batch; tokens of each sequence (the prompt's
 * length, or the context); milliseconds at all SMs, alone on the GPU.
 */
export type GridPoint = readonly [size: number, length: number, ms: number];

/** Coefficients of `k0 + k1 * size + k2 * size * length` (Profile): the shape of a grid's surroundings. */
export type KernelFit = readonly [number, number, number];

/** Points made ready for look-up; from buildGrid. Monotone: no larger size or length is faster. */
export interface StepGrid {
  /**
   * "table": sizes by lengths. "line": one length per size, as when prompts were measured one at a time;
   * other lengths are then charged in the proportion of the kernel fit.
   */
  readonly kind: "table" | "line";
  /** Ascending. */
  readonly sizes: readonly number[];
  /** Ascending; of a line, the length that belongs to each size. */
  readonly lengths: readonly number[];
  /** Natural logarithm of milliseconds, [size][length]; of a line, rows of one. */
  readonly logMs: readonly (readonly number[])[];
  /** Which of them were measured; the others are the row's nearest in the proportion of the kernel fit. */
  readonly measured: readonly (readonly boolean[])[];
}

/**
 * Prepares points for interpolation. Kernel selection makes single measurements fall with a larger batch
 * (Llama-3-70B TP4 decodes 8..16 sequences slower than 32), which no scheduler should exploit: along size
 * the logarithms are replaced by their least-squares rising fit (pooling adjacent violators), then along
 * length by their running greatest. Throws RangeError without points, on values not above 0 and on two
 * points at one place.
 */
export function buildGrid(points: readonly GridPoint[], fit: KernelFit): StepGrid {
  checkPoints(points);
  const sizes = ascending(points.map(([size]) => size));
  const rows = sizes.map((size) =>
    points.filter((point) => point[0] === size).toSorted((a, b) => a[1] - b[1]),
  );
  if (rows.every((row) => row.length === 1)) {
    const logs = rising(
      rows.map((row) => Math.log(row[0]?.[2] ?? 1)),
      rows.map(() => 1),
    );
    return {
      kind: "line",
      sizes,
      lengths: rows.map((row) => row[0]?.[1] ?? 1),
      logMs: logs.map((log) => [log]),
      measured: rows.map(() => [true]),
    };
  }
  const lengths = ascending(points.map(([, length]) => length));
  const measured = rows.map((row) => lengths.map((length) => row.some((point) => point[1] === length)));
  const columns = lengths.map((length, j) =>
    rising(
      rows.map((row) => Math.log(nearestInRow(row, length, fit))),
      measured.map((row) => (row[j] === true ? 1 : GAP_WEIGHT)),
    ),
  );
  return {
    kind: "table",
    sizes,
    lengths,
    logMs: sizes.map((_, i) => runningMax(columns.map((column) => column[i] ?? 0))),
    measured,
  };
}

/** Next to a measurement the estimate in a gap counts for nothing. */
const GAP_WEIGHT = 1e-12;

/**
 * Kernel milliseconds: bilinear between logarithms of size, length and time. Above the grid the value of its
 * edge, in the proportion in which the kernel fit grows from there, so that there is no jump; below it the
 * value of its edge as it is.
 */
export function gridKernelMs(grid: StepGrid, fit: KernelFit, size: number, length: number): number {
  const row = place(grid.sizes, size);
  const sizeAt = at(grid.sizes, row);
  const beyondSize = Math.max(size, sizeAt);
  if (grid.kind === "line") {
    const logMs = mix(grid.logMs[row.low]?.[0], grid.logMs[row.high]?.[0], row.weight);
    return Math.exp(logMs) * ratio(fit, [beyondSize, length], [sizeAt, at(grid.lengths, row)]);
  }
  const column = place(grid.lengths, length);
  const lengthAt = at(grid.lengths, column);
  const alongRow = (index: number): number =>
    mix(grid.logMs[index]?.[column.low], grid.logMs[index]?.[column.high], column.weight);
  const logMs = mix(alongRow(row.low), alongRow(row.high), row.weight);
  return Math.exp(logMs) * ratio(fit, [beyondSize, Math.max(length, lengthAt)], [sizeAt, lengthAt]);
}

/** Whether a value leans on the kernel fit: outside the grid, or beside a point that was not measured. */
export function leansOnFit(grid: StepGrid, size: number, length: number): boolean {
  const row = place(grid.sizes, size);
  if (row.outside) return true;
  if (grid.kind === "line") return false;
  const column = place(grid.lengths, length);
  if (column.outside) return true;
  return [row.low, row.high].some((i) =>
    [column.low, column.high].some((j) => grid.measured[i]?.[j] !== true),
  );
}

/** Reads a list of [size, length, ms] of a profile. Throws SimulatorInputError. */
export function parseGrid(fields: Fields, name: string, fit: KernelFit): StepGrid {
  const points = fields.list(name, 2, 10_000).map((value, index): GridPoint => {
    const [size, length, ms] = Array.isArray(value) ? (value as unknown[]) : [];
    if (typeof size === "number" && typeof length === "number" && typeof ms === "number") {
      return [size, length, ms];
    }
    return refuse(fields.where, `${fields.path}.${name}[${index}]`, "must be [size, length, ms]");
  });
  try {
    return buildGrid(points, fit);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return refuse(fields.where, `${fields.path}.${name}`, error.message);
  }
}

function checkPoints(points: readonly GridPoint[]): void {
  if (points.length === 0) throw new RangeError("must have points");
  const seen = new Set<string>();
  for (const point of points) {
    const [size, length] = point;
    if (!point.every((value) => value > 0 && Number.isFinite(value))) {
      throw new RangeError(`must hold numbers above 0, got ${point.join(", ")}`);
    }
    if (seen.has(`${size},${length}`)) throw new RangeError(`has size ${size}, length ${length} twice`);
    seen.add(`${size},${length}`);
  }
}

/** Milliseconds of a row at a length: interpolated, or its end in the proportion of the fit. */
function nearestInRow(row: readonly GridPoint[], length: number, fit: KernelFit): number {
  const lengths = row.map((point) => point[1]);
  const spot = place(lengths, length);
  const [size, , lowMs] = row[spot.low] ?? [1, 1, 1];
  const highMs = row[spot.high]?.[2] ?? lowMs;
  const ms = Math.exp(mix(Math.log(lowMs), Math.log(highMs), spot.weight));
  return ms * ratio(fit, [size, length], [size, at(lengths, spot)]);
}

/** Where a value lies on an ascending axis: between two of its ticks, or held at an end. */
interface Place {
  readonly low: number;
  readonly high: number;
  /** Of `high`, on the logarithmic axis. */
  readonly weight: number;
  readonly outside: boolean;
}

function place(axis: readonly number[], value: number): Place {
  const last = axis.length - 1;
  if (value <= (axis[0] ?? 0)) return { low: 0, high: 0, weight: 0, outside: value < (axis[0] ?? 0) };
  if (value >= (axis[last] ?? 0)) {
    return { low: last, high: last, weight: 0, outside: value > (axis[last] ?? 0) };
  }
  const high = axis.findIndex((tick) => tick >= value);
  const low = axis[high] === value ? high : high - 1;
  const [a, b] = [axis[low] ?? 1, axis[high] ?? 1];
  return { low, high, weight: low === high ? 0 : Math.log(value / a) / Math.log(b / a), outside: false };
}

/** The value of an axis at a place: what was asked for, or the end that it is held at. */
function at(axis: readonly number[], spot: Place): number {
  const [low, high] = [axis[spot.low] ?? 1, axis[spot.high] ?? 1];
  return Math.exp(mix(Math.log(low), Math.log(high), spot.weight));
}

function mix(low = 0, high = 0, weight = 0): number {
  return low + weight * (high - low);
}

function ratio(fit: KernelFit, to: readonly [number, number], from: readonly [number, number]): number {
  return valueOf(fit, to) / valueOf(fit, from);
}

function valueOf([k0, k1, k2]: KernelFit, [size, length]: readonly [number, number]): number {
  return k0 + k1 * size + k2 * size * length;
}

/** The rising sequence nearest to `values` in weighted least squares: neighbours out of order are pooled to their mean. */
function rising(values: readonly number[], weights: readonly number[]): number[] {
  const pools: { mean: number; weight: number; count: number }[] = [];
  for (const [i, value] of values.entries()) {
    let pool = { mean: value, weight: weights[i] ?? 1, count: 1 };
    for (let before = pools.at(-1); before !== undefined && before.mean > pool.mean; before = pools.at(-1)) {
      pools.pop();
      const weight = before.weight + pool.weight;
      const mean = before.mean + (pool.weight / weight) * (pool.mean - before.mean);
      pool = { mean, weight, count: before.count + pool.count };
    }
    pools.push(pool);
  }
  return pools.flatMap(({ mean, count }) => Array.from({ length: count }, () => mean));
}

function runningMax(values: readonly number[]): number[] {
  let greatest = -Infinity;
  return values.map((value) => (greatest = Math.max(greatest, value)));
}

function ascending(values: readonly number[]): number[] {
  return [...new Set(values)].toSorted((a, b) => a - b);
}
