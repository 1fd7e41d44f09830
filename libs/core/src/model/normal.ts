/** The normal distribution, as far as KV forecasts need it. Arguments and results are plain numbers, never NaN. */

/** Beyond this many deviations nothing is expected any more. */
export const MOST_DEVIATIONS = 6;

/** P(Z > z): complementary error function by Chebyshev fit (Numerical Recipes 6.2, relative error below 1.2e-7). */
export function normalTail(z: number): number {
  const x = Math.abs(z) / Math.SQRT2;
  const t = 1 / (1 + x / 2);
  let series = 0;
  for (const factor of ERFC_FIT) series = series * t + factor;
  const tail = (t * Math.exp(-x * x + series)) / 2;
  return z >= 0 ? tail : 1 - tail;
}

/** Highest power of t first. */
const ERFC_FIT = [
  0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196,
  1.00002368, -1.26551223,
];

/** z with P(Z > z) = share, kept within MOST_DEVIATIONS on either side. */
export function upperQuantile(share: number): number {
  let low = -MOST_DEVIATIONS;
  let high = MOST_DEVIATIONS;
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if (normalTail(middle) > share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** E[max(0, X - room)] for X normal with this mean and deviation: what is expected not to fit. */
export function expectedExcess(mean: number, deviation: number, room: number): number {
  if (!(deviation > 0)) return Math.max(0, mean - room);
  const z = (room - mean) / deviation;
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  return Math.max(0, deviation * (density - z * normalTail(z)));
}
