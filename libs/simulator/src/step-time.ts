import type { Split } from "@fulcrum/core/nouns.js";
import type { PhaseCost, Profile, SmShareCurves } from "./profile.js";

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
  const [p0, p1, p2] = profile.prefill.kernelMs;
  const kernelMs = p0 + p1 * batch.tokens + p2 * batch.sumSq;
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
  const [d0, d1, d2] = profile.decode.kernelMs;
  const kernelMs = d0 + d1 * batch.sequences + d2 * batch.contextTokens;
  const contention = contended ? 1 + profile.contention.decodeByPrefill : 1;
  return stepMs(profile.decode, kernelMs, batch.sequences, share, contention);
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
 * The share of the SMs that a phase's iteration gets. MPS percentages are caps that may overlap, and
 * where they do nobody documents how the hardware divides. The rule here: while the other phase is
 * idle, the full cap; while both run, the overlapping points (x + y - 100) are divided between them,
 * `overlapToPrefill` of them to prefill; caps that do not overlap are kept. With 0.7, (100, 100) runs as
 * 70/30 and (80, 100) as 56/44. More cap is never less share, for either phase.
 */
export function shareInForce(
  profile: Profile,
  delivered: Split,
  phase: "prefill" | "decode",
  otherRuns: boolean,
): number {
  const { prefillSmPct, decodeSmPct } = delivered;
  const overlap = otherRuns ? Math.max(0, prefillSmPct + decodeSmPct - 100) : 0;
  const toPrefill = profile.contention.overlapToPrefill;
  if (phase === "prefill") return (prefillSmPct - overlap * (1 - toPrefill)) / 100;
  return (decodeSmPct - overlap * toPrefill) / 100;
}
