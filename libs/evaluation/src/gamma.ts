import type { Random } from "@fulcrum/simulator/random.js";

/**
 * A gap of mean 1 between arrivals with this coefficient of variation: exponential at 1, else Gamma of shape
 * 1 / cv^2 (Marsaglia and Tsang 2000). Above 1 arrivals come in clumps.
 */
export function gapOf(random: Random, cv: number): number {
  if (cv === 1) return random.exponential(1);
  const shape = 1 / cv ** 2;
  return gamma(random, shape) / shape;
}

function gamma(random: Random, shape: number): number {
  if (shape < 1) return gamma(random, shape + 1) * (1 - random.uniform()) ** (1 / shape);
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  // Ends: each round accepts with a probability above 0.95.
  for (;;) {
    const x = normal(random);
    const v = (1 + c * x) ** 3;
    const u = 1 - random.uniform();
    if (v > 0 && Math.log(u) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}

function normal(random: Random): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random.uniform()));
  return radius * Math.cos(2 * Math.PI * random.uniform());
}
