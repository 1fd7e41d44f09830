import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { deviationOf, gaussianOf, gradientOf, update, widen } from "./kalman.js";
import type { Gaussian, Measurement } from "./kalman.js";

const within = (most: number) => fc.double({ min: -most, max: most, noNaN: true });
const three = <T>(one: fc.Arbitrary<T>) => fc.tuple(one, one, one);
const WIDE = [Infinity, Infinity, Infinity];
const NARROW = WIDE.map((value) => -value);

/** Solves A x = b by elimination with pivots. */
function solve(a: readonly (readonly number[])[], b: readonly number[]): number[] {
  const rows = a.map((row, i) => [...row, b[i] ?? 0]);
  const n = rows.length;
  for (let i = 0; i < n; i++) {
    const pivot = rows.slice(i).sort((p, q) => Math.abs(q[i]!) - Math.abs(p[i]!))[0]!;
    rows.splice(rows.indexOf(pivot), 1);
    rows.splice(i, 0, pivot);
    for (let j = 0; j < n; j++) {
      if (j === i) continue;
      const factor = rows[j]![i]! / pivot[i]!;
      rows[j] = rows[j]!.map((value, k) => value - factor * pivot[k]!);
    }
  }
  return rows.map((row, i) => row[n]! / row[i]!);
}

interface Reading {
  readonly gradient: readonly number[];
  readonly sd: number;
  readonly value: number;
}

/** Mean and covariance of theta after all readings at once: the normal equations, with the prior as readings too. */
function regression(prior: Gaussian, readings: readonly Reading[]) {
  const places = prior.mean.map((_, i) => i);
  const information = places.map((i) =>
    places.map((j) => {
      const fromPrior = i === j ? 1 / prior.covariance[i]![i]! : 0;
      return readings.reduce((sum, r) => sum + (r.gradient[i]! * r.gradient[j]!) / r.sd ** 2, fromPrior);
    }),
  );
  const target = places.map((i) =>
    readings.reduce(
      (sum, r) => sum + (r.gradient[i]! * r.value) / r.sd ** 2,
      prior.mean[i]! / prior.covariance[i]![i]!,
    ),
  );
  const unit = (i: number) => places.map((j) => (i === j ? 1 : 0));
  return { mean: solve(information, target), covariance: places.map((i) => solve(information, unit(i))) };
}

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

function absorb(belief: Gaussian, { gradient, sd, value }: Reading): Gaussian {
  return update(belief, { gradient, sd, innovation: value - dot(gradient, belief.mean) });
}

test("linear readings give what the normal equations give, in any order", () => {
  // Truth within a prior deviation, errors within half of theirs: no reading comes near the gate.
  const reading = fc.record({
    gradient: three(within(3)),
    sd: fc.double({ min: 0.05, max: 2, noNaN: true }),
    error: within(0.5),
  });
  const sds = three(fc.double({ min: 0.1, max: 3, noNaN: true }));
  fc.assert(
    fc.property(
      three(within(5)),
      sds,
      three(within(0.5)),
      fc.array(reading, { minLength: 1, maxLength: 10 }),
      (mean, sd, off, drawn) => {
        const prior = gaussianOf(mean, sd);
        const truth = mean.map((value, i) => value + off[i]! * sd[i]!);
        const readings = drawn.map(({ error, ...r }) => ({
          ...r,
          value: dot(r.gradient, truth) + error * r.sd,
        }));
        const want = regression(prior, readings);
        for (const order of [readings, [...readings].reverse()]) {
          const got = order.reduce(absorb, prior);
          got.mean.forEach((value, i) => expect(value).toBeCloseTo(want.mean[i]!, 6));
          got.covariance
            .flat()
            .forEach((value, i) => expect(value).toBeCloseTo(want.covariance.flat()[i]!, 6));
        }
      },
    ),
  );
});

/** Least pivot of an elimination without exchanges: negative where the matrix is not positive. */
function leastPivot(matrix: readonly (readonly number[])[]): number {
  const rows = matrix.map((row) => [...row]);
  let least = Infinity;
  for (let i = 0; i < rows.length; i++) {
    const pivot = rows[i]![i]!;
    least = Math.min(least, pivot);
    for (let j = i + 1; j < rows.length; j++) {
      const factor = pivot > 0 ? rows[j]![i]! / pivot : 0;
      rows[j] = rows[j]!.map((value, k) => value - factor * rows[i]![k]!);
    }
  }
  return least;
}

const wildMeasurement: fc.Arbitrary<Measurement> = fc.record({
  innovation: fc.oneof(within(10), fc.constantFrom(1e12, -1e12, Infinity)),
  sd: fc.constantFrom(1e-6, 0.01, 1, 100),
  gradient: three(fc.oneof(within(10), fc.constant(0))),
});

test("whatever is measured, the covariance stays symmetric and positive and never beyond the prior's", () => {
  const prior = gaussianOf([0, 1, -1], [1.5, 0.2, 0.05]);
  const steps = fc.array(fc.tuple(wildMeasurement, three(fc.constantFrom(0, 1e-5, 0.1))), { maxLength: 30 });
  fc.assert(
    fc.property(steps, (given) => {
      let belief: Gaussian = prior;
      for (const [measured, added] of given) {
        const learnt = update(belief, measured);
        // What was measured never makes anything less certain.
        for (const direction of [
          [1, 0, 0],
          [0, 1, 0],
          [0, 0, 1],
          [1, -1, 2],
        ]) {
          const before = deviationOf(belief, direction);
          expect(deviationOf(learnt, direction)).toBeLessThanOrEqual(before * (1 + 1e-9) + 1e-9);
        }
        belief = widen(learnt, added, prior, NARROW, WIDE);
        belief.covariance.forEach((row, i) => {
          row.forEach((value, j) => expect(value).toBe(belief.covariance[j]![i]!));
          expect(row[i]).toBeLessThanOrEqual(prior.covariance[i]![i]!);
        });
        expect(leastPivot(belief.covariance)).toBeGreaterThan(-1e-9);
        expect(belief.mean.every(Number.isFinite)).toBe(true);
      }
    }),
    { numRuns: 300 },
  );
});

describe("the gate", () => {
  const prior = gaussianOf([2, 0], [0.5, 1]);
  const at = (innovation: number) => update(prior, { innovation, sd: 0.1, gradient: [1, 0.3] });

  test("mad readings move the belief no further than a merely unlikely one, each to its side", () => {
    expect(at(1e9)).toEqual(at(100));
    expect(at(Infinity)).toEqual(at(100));
    expect(at(-1e9)).toEqual(at(-100));
    expect(at(1e9).mean[0]).toBeGreaterThan(2);
    expect(at(-1e9).mean[0]).toBeLessThan(2);
    expect(Math.abs(at(1e9).mean[0]! - 2)).toBeLessThan(6 * 0.5);
  });

  test("a likely reading is taken as it is", () => {
    const [one, two] = [at(0.4).mean[0]! - 2, at(0.8).mean[0]! - 2];
    expect(two).toBeCloseTo(2 * one, 9);
  });

  test("a reading of nothing, by nothing, changes nothing", () => {
    const known = gaussianOf([2, 0], [0, 0]);
    expect(update(known, { innovation: 1, sd: 0, gradient: [1, 1] })).toEqual(known);
  });
});

describe("widen", () => {
  const prior = gaussianOf([0, 0, 0], [1, 2, 0.1]);
  const learnt = update(prior, { innovation: 0.1, sd: 0.01, gradient: [1, 1, 1] });
  const sdOf = (belief: Gaussian) => belief.covariance.map((row, i) => Math.sqrt(row[i]!));

  test("adds variance up to the prior's, and forgets nothing of how numbers hang together", () => {
    const little = widen(learnt, [0.01, 0.01, 0], prior, NARROW, WIDE);
    expect(little.covariance[0]![0]).toBeCloseTo(learnt.covariance[0]![0]! + 0.01, 12);
    expect(little.covariance[0]![1]).toBe(learnt.covariance[0]![1]);
    expect(sdOf(widen(learnt, [1e9, 1e9, 1e9], prior, NARROW, WIDE))).toEqual([1, 2, 0.1]);
  });

  test("means are brought back within their bounds", () => {
    const wandered = { ...learnt, mean: [-9, 9, 0.5] };
    expect(widen(wandered, [], prior, [-1, -1, -1], [1, 1, 1]).mean).toEqual([-1, 1, 0.5]);
  });
});

describe("derivatives", () => {
  test("a linear function's are its coefficients, and its deviation is the quadratic form", () => {
    fc.assert(
      fc.property(three(within(5)), three(within(3)), (coefficients, theta) => {
        const gradient = gradientOf((x) => dot(x, coefficients), theta);
        gradient.forEach((value, i) => expect(value).toBeCloseTo(coefficients[i]!, 6));
        const deviation = deviationOf(gaussianOf(theta, [1, 0.5, 2]), coefficients);
        const [a, b, c] = coefficients;
        expect(deviation).toBeCloseTo(Math.sqrt(a ** 2 + (0.5 * b) ** 2 + (2 * c) ** 2), 9);
      }),
    );
  });

  test("where a function cannot be followed its slope is 0", () => {
    expect(gradientOf(([x]) => (x! > 0 ? Infinity : 1), [0])).toEqual([0]);
  });
});
