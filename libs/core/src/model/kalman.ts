/** A Gaussian belief over a few numbers, and how one measurement changes it (extended Kalman filter, scalar form). */

export interface Gaussian {
  readonly mean: readonly number[];
  /** Row by row, symmetric. */
  readonly covariance: readonly (readonly number[])[];
}

/** Independent numbers with these means and standard deviations. */
export function gaussianOf(mean: readonly number[], sd: readonly number[]): Gaussian {
  const covariance = mean.map((_, i) => mean.map((__, j) => (i === j ? (sd[i] ?? 0) ** 2 : 0)));
  return { mean, covariance };
}

export interface Measurement {
  /** Measured less predicted, and the standard deviation of the measurement. */
  readonly innovation: number;
  readonly sd: number;
  /** Derivative of the prediction by each number. */
  readonly gradient: readonly number[];
}

/** Innovations beyond this many standard deviations are cut: one mad window must not throw the belief about. */
const GATE_SD = 4;

export function update(belief: Gaussian, measured: Measurement): Gaussian {
  const { gradient, sd } = measured;
  const carried = belief.covariance.map((row) => dot(row, gradient));
  const variance = dot(carried, gradient) + sd ** 2;
  if (!(variance > 0)) return belief;
  const most = GATE_SD * Math.sqrt(variance);
  const innovation = Math.min(most, Math.max(-most, measured.innovation));
  return {
    mean: belief.mean.map((value, i) => value + ((carried[i] ?? 0) * innovation) / variance),
    covariance: belief.covariance.map((row, i) =>
      row.map((value, j) => value - ((carried[i] ?? 0) * (carried[j] ?? 0)) / variance),
    ),
  };
}

/** Adds variance to each number, never beyond that of `widest`; the means stay within their bounds. */
export function widen(
  belief: Gaussian,
  added: readonly number[],
  widest: Gaussian,
  least: readonly number[],
  greatest: readonly number[],
): Gaussian {
  const mean = belief.mean.map((value, i) =>
    Math.min(greatest[i] ?? value, Math.max(least[i] ?? value, value)),
  );
  const covariance = belief.covariance.map((row, i) =>
    row.map((value, j) => {
      if (i !== j) return value;
      const most = widest.covariance[i]?.[i] ?? value;
      return Math.min(Math.max(most, 1e-9), Math.max(1e-9, value + (added[i] ?? 0)));
    }),
  );
  return { mean, covariance };
}

/** Standard deviation of a function of the numbers with this gradient. */
export function deviationOf(belief: Gaussian, gradient: readonly number[]): number {
  let variance = 0;
  for (let i = 0; i < gradient.length; i++) {
    const g = gradient[i] ?? 0;
    if (g !== 0) variance += g * dot(belief.covariance[i] ?? [], gradient);
  }
  return Math.sqrt(Math.max(0, variance));
}

/** By forward differences; `places`: the numbers that `f` depends on, all unless told. */
export function gradientOf(
  f: (theta: readonly number[]) => number,
  theta: readonly number[],
  places: readonly number[] = theta.map((_, i) => i),
): number[] {
  const here = f(theta);
  const moved = [...theta];
  const gradient = theta.map(() => 0);
  for (const i of places) {
    const value = theta[i] ?? 0;
    moved[i] = value + STEP;
    const slope = (f(moved) - here) / STEP;
    moved[i] = value;
    gradient[i] = Number.isFinite(slope) ? slope : 0;
  }
  return gradient;
}

const STEP = 1e-4;

function dot(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < b.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}
