import type { Split } from "@fulcrum/core/nouns.js";
import { gridKernelMs, leansOnFit } from "./step-grid.js";
import type { Contention, PhaseCost, Profile, SmShareCurves } from "./profile.js";

/** The prompt tokens of a prefill iteration and the sum over its chunks of (end^2 - start^2). */
export interface PrefillBatch {
  readonly tokens: number;
  readonly sumSq: number;
}

/** The sequences of a decode iteration and their total context in tokens. */
export interface DecodeBatch {
  readonly sequences: number;
  readonly contextTokens: number;
}

/**
 * Milliseconds of one prefill iteration at `share` (0..1] of the SMs. `contended`: decode runs beside it.
 * Cost and contention terms: see Profile.
 */
export function prefillStepMs(
  profile: Profile,
  batch: PrefillBatch,
  share: number,
  contended: boolean,
): number {
  const kernelMs = kernelMsOf(profile.prefill, batch.tokens, batch.sumSq);
  const contention = contended ? 1 + profile.contention.prefillByDecode : 1;
  return stepMs(profile.prefill, kernelMs, batch.tokens, share, contention);
}

/** Milliseconds of one decode iteration at `share` (0..1] of the SMs. `contended`: prefill runs beside it. */
export function decodeStepMs(
  profile: Profile,
  batch: DecodeBatch,
  share: number,
  contended: boolean,
): number {
  const kernelMs = kernelMsOf(profile.decode, batch.sequences, batch.contextTokens);
  const contention = contended ? 1 + profile.contention.decodeByPrefill : 1;
  return stepMs(profile.decode, kernelMs, batch.sequences, share, contention);
}

/** Kernel milliseconds at all SMs; `weight` is sumSq or contextTokens, that is size times mean length. */
export function kernelMsOf(cost: PhaseCost, size: number, weight: number): number {
  if (cost.grid !== undefined) return gridKernelMs(cost.grid, cost.kernelMs, size, weight / size);
  const [constant, perSize, perWeight] = cost.kernelMs;
  return constant + perSize * size + perWeight * weight;
}

/**
 * Whether a batch's kernel time goes beyond what was measured: beyond the grid, or beside a gap in it. A
 * phase without a grid does not say over what range its coefficients were fitted: false.
 */
export function extrapolates(cost: PhaseCost, size: number, weight: number): boolean {
  return cost.grid !== undefined && leansOnFit(cost.grid, size, weight / size);
}

function stepMs(cost: PhaseCost, kernelMs: number, size: number, share: number, contention: number): number {
  return kernelMs * slowdown(cost.smShare, size, share) * contention + cost.engineMs;
}

/** T(share)/T(1) of a kernel with a batch of this size; 1 at a share of 1, never below it. */
export function slowdown(curves: SmShareCurves, size: number, share: number): number {
  const { small, large } = curves;
  const position = Math.log(Math.max(size, 1) / small.size) / Math.log(large.size / small.size);
  const weight = Math.min(1, Math.max(0, position));
  const a = small.a + weight * (large.a - small.a);
  const b = small.b + weight * (large.b - small.b);
  return (a / share + b) / (a + b);
}

/**
 * The share (0..1] of the SMs that a phase's iteration gets. While the other phase is idle: its full cap.
 * While both run, caps x and y that do not overlap (x + y <= 100) are kept. For caps that do:
 *   constant      the x + y - 100 points are divided, c = `overlapToPrefill` of them to prefill
 *   by-cap        they are divided as c * x : (1 - c) * y, so a larger cap also wins more of the overlap
 *   proportional  all SMs are divided as x : y (c plays no part)
 * Under each rule the shares add up to the GPU and more cap is never less share. With c = 0.7, (100, 100)
 * runs as 70/30, 70/30, 50/50, and (80, 100) as 56/44, 52/48, 44/56.
 *
 * What is known: an MPS percentage is a cap on SMs, not a reservation; clients may overlap and which SMs
 * they get varies (NVIDIA MPS documentation, "Volta MPS Execution Resource Provisioning"). How the
 * hardware divides an overlap is documented and measured nowhere public. semi-PD's own estimates use
 * x / (x + y) (Algorithm 1), which is "proportional", and treat (100, 100) like (50, 50); its Fig 15 finds
 * (100, 100) worse than a tuned split. A result that holds under one rule only is a result about the rule.
 */
export function shareInForce(
  profile: Profile,
  delivered: Split,
  phase: "prefill" | "decode",
  otherRuns: boolean,
): number {
  const { prefillSmPct: x, decodeSmPct: y } = delivered;
  const overlap = otherRuns ? Math.max(0, x + y - 100) : 0;
  const toPrefill = overlap === 0 ? 0 : overlap * prefillPart(profile.contention, x, y);
  if (phase === "prefill") return (x - (overlap - toPrefill)) / 100;
  return (y - toPrefill) / 100;
}

/** The part 0..1 of the overlapping points that prefill keeps. */
function prefillPart(contention: Contention, x: number, y: number): number {
  const { overlapRule = "constant", overlapToPrefill: c } = contention;
  if (overlapRule === "constant") return c;
  if (overlapRule === "by-cap") return (c * x) / (c * x + (1 - c) * y);
  // Prefill must come down to 100 * x / (x + y): it loses x / (x + y) of the overlap x + y - 100.
  return y / (x + y);
}
