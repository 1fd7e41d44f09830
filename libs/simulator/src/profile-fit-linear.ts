/** How well predictions meet measurements, each of at least one point. */
export interface Goodness {
  /** 1 - residual / total sum of squares, unweighted; null when all measurements are equal. */
  readonly r2: number | null;
  /** Mean of |prediction / measurement - 1|, in percent. */
  readonly mapePct: number;
  /** The point whose prediction is off the most, relatively, and by how much in percent (above 0: too slow). */
  readonly worst: { readonly index: number; readonly errorPct: number };
}

/**
 * Least squares with coefficients of at least 0: minimises the sum over rows of weight * (row . c - target)^2.
 * With the few columns here (at most 8) every set of columns that may be above 0 is tried, which finds the
 * exact optimum. Null when the columns are not told apart by these rows: two sets of coefficients would then
 * explain them equally well. Throws RangeError when rows, targets and weights differ in number.
 */
export function fitNonNegative(
  rows: readonly (readonly number[])[],
  targets: readonly number[],
  weights: readonly number[],
): readonly number[] | null {
  if (targets.length !== rows.length || weights.length !== rows.length) {
    throw new RangeError(`${rows.length} rows, ${targets.length} targets, ${weights.length} weights`);
  }
  const width = rows[0]?.length ?? 0;
  const roots = weights.map(Math.sqrt);
  const columns = Array.from({ length: width }, (_, j) =>
    rows.map((row, i) => (row[j] ?? 0) * (roots[i] ?? 0)),
  );
  const target = targets.map((value, i) => value * (roots[i] ?? 0));
  if (solve(columns, target) === null) return null;
  let best: { readonly coefficients: readonly number[]; readonly residual: number } | null = null;
  for (let set = 1; set < 2 ** width; set += 1) {
    const members = columns.flatMap((_, j) => ((set & (2 ** j)) === 0 ? [] : [j]));
    const solved = solve(
      members.map((j) => columns[j] ?? []),
      target,
    );
    if (solved === null || solved.coefficients.some((value) => value < 0)) continue;
    if (best !== null && solved.residual >= best.residual) continue;
    const coefficients = columns.map((_, j) => solved.coefficients[members.indexOf(j)] ?? 0);
    best = { coefficients, residual: solved.residual };
  }
  return best?.coefficients ?? columns.map(() => 0);
}

/** Throws RangeError without points. */
export function goodnessOf(predicted: readonly number[], measured: readonly number[]): Goodness {
  if (measured.length === 0) throw new RangeError("goodness needs points");
  const mean = measured.reduce((sum, value) => sum + value, 0) / measured.length;
  let residual = 0;
  let total = 0;
  let relative = 0;
  let worst = { index: 0, errorPct: 0 };
  for (const [index, value] of measured.entries()) {
    const difference = (predicted[index] ?? Number.NaN) - value;
    residual += difference ** 2;
    total += (value - mean) ** 2;
    const errorPct = (100 * difference) / value;
    relative += Math.abs(errorPct);
    if (Math.abs(errorPct) > Math.abs(worst.errorPct)) worst = { index, errorPct };
  }
  return { r2: total > 0 ? 1 - residual / total : null, mapePct: relative / measured.length, worst };
}

/** A column of which less than this part is left once the others are taken out of it is not told apart from them. */
const LEAST_INDEPENDENT_PART = 1e-6;

/** Ordinary least squares by Gram-Schmidt, or null where the columns depend on each other. */
function solve(
  columns: readonly (readonly number[])[],
  target: readonly number[],
): { readonly coefficients: readonly number[]; readonly residual: number } | null {
  const basis: (readonly number[])[] = [];
  const triangle: number[][] = [];
  for (const column of columns) {
    let rest = column;
    const above: number[] = Array.from({ length: basis.length }, () => 0);
    // Twice: the second pass takes out what rounding left, so that nearly parallel columns stay exact.
    for (let pass = 0; pass < 2; pass += 1) {
      for (const [i, direction] of basis.entries()) {
        const part = dot(direction, rest);
        above[i] = (above[i] ?? 0) + part;
        rest = rest.map((value, k) => value - part * (direction[k] ?? 0));
      }
    }
    const length = Math.sqrt(dot(rest, rest));
    if (!(length > LEAST_INDEPENDENT_PART * Math.sqrt(dot(column, column)))) return null;
    basis.push(rest.map((value) => value / length));
    triangle.push([...above, length]);
  }
  const projected = basis.map((direction) => dot(direction, target));
  const coefficients: number[] = columns.map(() => 0);
  for (let j = columns.length - 1; j >= 0; j -= 1) {
    let value = projected[j] ?? 0;
    for (let k = j + 1; k < columns.length; k += 1) value -= (triangle[k]?.[j] ?? 0) * (coefficients[k] ?? 0);
    coefficients[j] = value / (triangle[j]?.[j] ?? 1);
  }
  const residuals = target.map(
    (value, i) =>
      value - columns.reduce((sum, column, j) => sum + (column[i] ?? 0) * (coefficients[j] ?? 0), 0),
  );
  return { coefficients, residual: dot(residuals, residuals) };
}

function dot(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (const [i, value] of a.entries()) sum += value * (b[i] ?? 0);
  return sum;
}
