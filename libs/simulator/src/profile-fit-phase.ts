import type { Phase } from "@fulcrum/core/nouns.js";
import { SimulatorInputError } from "./input-check.js";
import { fitNonNegative, goodnessOf, type Goodness } from "./profile-fit-linear.js";
import type { StepPoint } from "./profile-fit-points.js";
import type { KernelFit } from "./step-grid.js";

export type Range = readonly [least: number, greatest: number];

/** The kernel coefficients of one phase, and what they rest on. */
export interface PhaseFit {
  readonly phase: Phase;
  readonly points: number;
  /** [p0, p1, p2] or [d0, d1, d2] of Profile, milliseconds. */
  readonly kernelMs: KernelFit;
  /** Names of coefficients that a free fit would put below 0; they are held at 0 (the constant at 0.001). */
  readonly heldAtZero: readonly string[];
  readonly goodness: Goodness;
  /** Over what was measured. `size`: prompt tokens of the batch, or sequences; `length`: of each sequence. */
  readonly ranges: { readonly batchSize: Range; readonly length: Range; readonly size: Range };
}

/** Fewer cannot show how far the form is off. */
const LEAST_POINTS = 5;
/** An iteration that takes no time would never let a simulated clock advance. */
const LEAST_CONSTANT_MS = 0.001;

/**
 * Fits p0 + p1 T + p2 L2 or d0 + d1 bs + d2 ctx (Profile) with coefficients of at least 0, weighted by 1/ms^2: every
 * point counts by its relative error, so that a step of 10 ms matters as much as one of 1,000. Throws
 * SimulatorInputError naming what is missing when the points are too few or do not tell the terms apart.
 */
export function fitPhase(phase: Phase, points: readonly StepPoint[]): PhaseFit {
  checkEnough(phase, points);
  const rows = points.map((point) => [1, sizeOf(phase, point), sizeOf(phase, point) * point.length]);
  const measured = points.map((point) => point.ms);
  const found = fitNonNegative(
    rows,
    measured,
    measured.map((ms) => ms ** -2),
  );
  if (found === null) {
    const missing =
      phase === "prefill"
        ? "prompts of several lengths at a like number of tokens"
        : "several contexts at one batch size and several batch sizes at one context";
    throw new SimulatorInputError(`${phase}: the points do not tell the terms apart; measure ${missing}`);
  }
  const [constant = 0, linear = 0, product = 0] = found;
  const kernelMs: KernelFit = [Math.max(constant, LEAST_CONSTANT_MS), linear, product];
  const predicted = rows.map(
    ([, size = 0, weight = 0]) => kernelMs[0] + kernelMs[1] * size + kernelMs[2] * weight,
  );
  return {
    phase,
    points: points.length,
    kernelMs,
    heldAtZero: found.flatMap((value, i) => (value > 0 ? [] : [`${phase === "prefill" ? "p" : "d"}${i}`])),
    goodness: goodnessOf(predicted, measured),
    ranges: {
      batchSize: rangeOf(points.map((point) => point.batchSize)),
      length: rangeOf(points.map((point) => point.length)),
      size: rangeOf(points.map((point) => sizeOf(phase, point))),
    },
  };
}

/** What a step grows with: prompt tokens of the batch, or sequences. */
export function sizeOf(phase: Phase, point: Pick<StepPoint, "batchSize" | "length">): number {
  return phase === "prefill" ? point.batchSize * point.length : point.batchSize;
}

export function rangeOf(values: readonly number[]): Range {
  return [
    values.reduce((least, value) => Math.min(least, value), Infinity),
    values.reduce((greatest, value) => Math.max(greatest, value), -Infinity),
  ];
}

function checkEnough(phase: Phase, points: readonly StepPoint[]): void {
  const distinct = (of: (point: StepPoint) => number) => new Set(points.map(of)).size;
  const wanted: readonly (readonly [what: string, least: number, has: number])[] =
    phase === "prefill"
      ? [
          ["step times", LEAST_POINTS, points.length],
          ["different numbers of prompt tokens", 3, distinct((point) => sizeOf(phase, point))],
        ]
      : [
          ["step times", LEAST_POINTS, points.length],
          ["different batch sizes", 2, distinct((point) => point.batchSize)],
          ["different contexts per sequence", 2, distinct((point) => point.length)],
        ];
  const missing = wanted.filter(([, least, has]) => has < least);
  if (missing.length === 0) return;
  const text = missing.map(([what, least, has]) => `at least ${least} ${what}, has ${has}`).join("; ");
  throw new SimulatorInputError(`${phase}: too few measurements to fit: needs ${text}`);
}
