/**
 * What the search policy believes of one GPU and engine: eleven numbers with their covariance. They scale a prior
 * (a profile, or one that fits none in particular) and say how caps turn into time.
 */
import type { PhasePrior, SearchPrior, SensitivityGrowth } from "../decision.js";
import type { Split } from "../nouns.js";
import { gaussianOf } from "./kalman.js";
import type { Gaussian } from "./kalman.js";

/** Places in the vector. Scales are natural logarithms of a factor on the prior's milliseconds. */
export const PREFILL_CONST = 0;
export const PREFILL_TOKEN = 1;
export const PREFILL_SENSITIVITY = 2;
export const DECODE_CONST = 3;
export const DECODE_SEQUENCE = 4;
export const DECODE_SENSITIVITY = 5;
/** Logarithm of prefill's weight against decode's where caps overlap, and the power of the cap in that weight. */
export const OVERLAP_WEIGHT = 6;
export const OVERLAP_POWER = 7;
/** Slow-down of decode while prefill runs, and of prefill while decode runs, as a share (actuation.md §6). */
export const DECODE_CONTENTION = 8;
export const PREFILL_CONTENTION = 9;
/** Part of an overlap that both phases get: 0 where it is divided, 1 where each runs as if alone, < 0 where they thrash. */
export const OVERLAP_SHARED = 10;

/** What each phase's times depend on. */
export const OF_PREFILL: readonly number[] = [
  PREFILL_CONST,
  PREFILL_TOKEN,
  PREFILL_SENSITIVITY,
  OVERLAP_WEIGHT,
  OVERLAP_POWER,
  OVERLAP_SHARED,
  PREFILL_CONTENTION,
];
export const OF_DECODE: readonly number[] = [
  DECODE_CONST,
  DECODE_SEQUENCE,
  DECODE_SENSITIVITY,
  OVERLAP_WEIGHT,
  OVERLAP_POWER,
  OVERLAP_SHARED,
  DECODE_CONTENTION,
];

/** A generic mid-size model on a large GPU: only its shape matters, the first windows give the scale. */
export const GENERIC_PRIOR: SearchPrior = {
  prefill: { kernelMs: [8, 0.06, 0], engineMs: 8, sensitivity: 0.65 },
  decode: { kernelMs: [10, 0.05, 1e-4], engineMs: 6, sensitivity: 0.35 },
};

/** Medians of LLaMA-7B under MPS at 30..100 % of an A100 (MuxServe, data.md §4): 0.38 to 0.73, and 0.19 to 0.37. */
const GENERIC_GROWTH: { readonly [K in keyof SearchPrior]: SensitivityGrowth } = {
  prefill: { small: 256, large: 4096, gain: 0.35 },
  decode: { small: 16, large: 64, gain: 0.18 },
};

/** Standard deviations of the scales: a profile may be off by 1.5x (0.4), no profile by far more. */
const KNOWN_SCALE_SD = 0.4;
const UNKNOWN_SCALE_SD = 1.5;

export function priorBelief(prior: SearchPrior | null): Gaussian {
  const known = prior ?? GENERIC_PRIOR;
  const scale = prior === null ? UNKNOWN_SCALE_SD : KNOWN_SCALE_SD;
  const constant = prior === null ? 0.7 : KNOWN_SCALE_SD;
  return gaussianOf(
    // Contention: the middle of the ranges that MuxWise, Nexus and DuetServe report (0.1..0.36 and 0.05..0.3).
    [0, 0, known.prefill.sensitivity, 0, 0, known.decode.sensitivity, 0, -0.4, 0.15, 0.08, 0],
    // Sensitivities: across batch sizes and models those of MuxServe's curves spread by 0.2 (data.md §4).
    // A shared overlap: 0.2 won 0.4 points on plants that share or thrash, and lost 0.3 where caps only divide the GPU.
    [constant, scale, 0.15, constant, scale, 0.12, 0.5, 0.7, 0.08, 0.05, 0.1],
  );
}

/** Variance that each number gains in a second: engines warm up, batches change, kinds of load change. */
export const DRIFT_PER_S: readonly number[] = [
  2e-4, 2e-4, 2e-5, 2e-4, 2e-4, 2e-5, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5,
];

/** Where the numbers must stay to mean anything. */
export const LEAST: readonly number[] = [-5, -5, 0.02, -5, -5, 0.02, -2.5, -1.5, 0, 0, -0.6];
export const GREATEST: readonly number[] = [5, 5, 1.2, 5, 5, 1.2, 2.5, 1.5, 1, 1, 1];

/** Shares (0..1] of the GPU's SMs: while the other phase is idle, and beside it. */
export interface PhaseShares {
  readonly prefillAlone: number;
  readonly prefillBeside: number;
  readonly decodeAlone: number;
  readonly decodeBeside: number;
}

/**
 * Nobody documents how a GPU divides the points where caps overlap. They are divided here in proportion
 * w * x^p : y^p, w and p learnt. With p = 0 a fixed part goes to each; with p = -1 and w = 1 both run at x/(x+y)
 * and y/(x+y) of the whole; with p = 1 the larger cap wins the overlap too.
 * Of each point of overlap a part s is had by both: memory-bound kernels leave SMs idle, and others thrash a cache.
 */
export function phaseShares(split: Split, theta: readonly number[]): PhaseShares {
  // A cap of 0 runs nothing; it is reckoned as the least that a cap can be.
  const x = Math.max(1, split.prefillSmPct) / 100;
  const y = Math.max(1, split.decodeSmPct) / 100;
  const overlap = Math.max(0, x + y - 1);
  const odds = Math.exp(at(theta, OVERLAP_WEIGHT) + at(theta, OVERLAP_POWER) * Math.log(x / y));
  const toPrefill = odds / (1 + odds);
  const divided = overlap * (1 - at(theta, OVERLAP_SHARED));
  return {
    prefillAlone: Math.min(1, x),
    prefillBeside: Math.max(0.01, x - divided * (1 - toPrefill)),
    decodeAlone: Math.min(1, y),
    decodeBeside: Math.max(0.01, y - divided * toPrefill),
  };
}

/** The step costs of a phase's small and large iterations; between them it is even in the logarithm of the size. */
export interface SizedCost {
  readonly small: StepCost;
  readonly large: StepCost;
  /** ln of the size that counts as small, and what one more e-fold is of the way to a large one. */
  readonly logSmall: number;
  readonly perFold: number;
}

/** Milliseconds of one iteration: constant + first * size + second * (sum of squares, or context tokens). */
export interface StepCost {
  readonly constMs: number;
  readonly firstMs: number;
  readonly secondMs: number;
}

export function prefillCost(
  theta: readonly number[],
  prior: PhasePrior,
  share: number,
  beside: boolean,
): SizedCost {
  const contention = beside ? at(theta, PREFILL_CONTENTION) : 0;
  const scales = { constant: at(theta, PREFILL_CONST), size: at(theta, PREFILL_TOKEN) };
  const growth = prior.growth ?? GENERIC_GROWTH.prefill;
  return sizedCost(prior, growth, at(theta, PREFILL_SENSITIVITY), share, contention, scales);
}

export function decodeCost(
  theta: readonly number[],
  prior: PhasePrior,
  share: number,
  beside: boolean,
): SizedCost {
  const contention = beside ? at(theta, DECODE_CONTENTION) : 0;
  const scales = { constant: at(theta, DECODE_CONST), size: at(theta, DECODE_SEQUENCE) };
  const growth = prior.growth ?? GENERIC_GROWTH.decode;
  return sizedCost(prior, growth, at(theta, DECODE_SENSITIVITY), share, contention, scales);
}

/** Of an iteration of `size` prompt tokens or sequences. */
export function costOfSize({ small, large, logSmall, perFold }: SizedCost, size: number): StepCost {
  const weight = (Math.log(Math.max(size, 1)) - logSmall) * perFold;
  if (!(weight > 0)) return small;
  if (weight >= 1) return large;
  return {
    constMs: small.constMs + weight * (large.constMs - small.constMs),
    firstMs: small.firstMs + weight * (large.firstMs - small.firstMs),
    secondMs: small.secondMs + weight * (large.secondMs - small.secondMs),
  };
}

/** Below it nothing would ever tell one split from another. */
const LEAST_SENSITIVITY = 0.02;

function sizedCost(
  prior: PhasePrior,
  growth: SensitivityGrowth,
  sensitivity: number,
  share: number,
  contention: number,
  scales: { readonly constant: number; readonly size: number },
): SizedCost {
  const costAt = (s: number) =>
    costOf(prior, slowdown(Math.max(LEAST_SENSITIVITY, s), share, contention), scales.constant, scales.size);
  return {
    small: costAt(sensitivity - growth.gain / 2),
    large: costAt(sensitivity + growth.gain / 2),
    logSmall: Math.log(growth.small),
    perFold: 1 / Math.log(Math.max(1.001, growth.large / growth.small)),
  };
}

/** T(share)/T(1) of a kernel: the a/f + b of MuxServe's and the paper's curves (eq. 4), a + b = 1. */
function slowdown(sensitivity: number, share: number, contention: number): number {
  return (1 + sensitivity * (1 / share - 1)) * (1 + contention);
}

function costOf(prior: PhasePrior, slow: number, constScale: number, scale: number): StepCost {
  const [constMs, firstMs, secondMs] = prior.kernelMs;
  const factor = Math.exp(scale) * slow;
  return {
    constMs: Math.exp(constScale) * (constMs * slow + prior.engineMs),
    firstMs: factor * firstMs,
    secondMs: factor * secondMs,
  };
}

function at(theta: readonly number[], place: number): number {
  return theta[place] ?? 0;
}
