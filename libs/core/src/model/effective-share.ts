/**
 * The share of a GPU that a phase really gets from a pair of caps.
 *
 * The listing of Algorithm 1 normalises, x' = x/(x+y), so that (100,100) and (50,50) look alike although MPS
 * treats them differently (paper.md §4.1, fault 7). Here a cap is a cap:
 * - caps that do not overlap (x + y <= 100) are shares;
 * - the overlap is shared in halves while the other phase runs, and is all the phase's own while it does not.
 *
 *   share = cap - overlap / 2 * P(other phase busy),   overlap = max(0, x + y - 100)
 *
 * So (100,100) gives 0.5 each with both always busy, and 1 with the other idle. Competition for memory
 * bandwidth is not in here: it is in the coefficients, which are fitted under load.
 */
import type { Phase, Split } from "../nouns.js";

/** Share (0..1) of the GPU that `phase` gets under `split` while the other phase is busy `otherBusyShare` of the time. */
export function effectiveShare(split: Split, phase: Phase, otherBusyShare: number): number {
  const cap = (phase === "prefill" ? split.prefillSmPct : split.decodeSmPct) / 100;
  const overlap = Math.max(0, (split.prefillSmPct + split.decodeSmPct) / 100 - 1);
  const busy = Math.min(1, Math.max(0, otherBusyShare));
  return Math.min(1, Math.max(0, cap - (overlap / 2) * busy));
}
