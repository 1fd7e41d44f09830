/** A seeded source of randomness; the same seed and stream give the same sequence on every machine. */
export interface Random {
  /** Uniform in [0, 1). */
  uniform(): number;
  /** Exponential with this mean, in the unit of the mean. */
  exponential(mean: number): number;
}

/**
 * xoshiro128** (Blackman and Vigna), seeded through splitmix32. `stream` gives independent sequences of
 * one seed, so that arrival times do not depend on how many lengths were drawn. `seed`: 0..2^32-1.
 */
export function createRandom(seed: number, stream: number): Random {
  let mixed = (seed ^ Math.imul(stream + 1, 0x9e3779b9)) >>> 0;
  const splitmix = (): number => {
    mixed = (mixed + 0x9e3779b9) >>> 0;
    let z = mixed;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
  let a = splitmix();
  let b = splitmix();
  let c = splitmix();
  let d = splitmix();
  const uniform = (): number => {
    const result = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = rotateLeft(d, 11);
    return result / 2 ** 32;
  };
  return { uniform, exponential: (mean) => -mean * Math.log(1 - uniform()) };
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** Points [probability, value] of a distribution function; between them it is linear. */
export type QuantileTable = readonly (readonly [probability: number, value: number])[];

/** The value at probability `u` in [0, 1). The table starts at 0 and ends at 1 (parseWorkload checks it). */
export function valueAtQuantile(table: QuantileTable, u: number): number {
  let low: readonly [number, number] = table[0] ?? [0, 0];
  for (const high of table) {
    if (u < high[0]) return low[1] + ((u - low[0]) / (high[0] - low[0])) * (high[1] - low[1]);
    low = high;
  }
  return low[1];
}
