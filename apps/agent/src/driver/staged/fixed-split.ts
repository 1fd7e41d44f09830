import { type Limits, WIDEST_LIMITS } from "@fulcrum/core/nouns.js";

/** Limits that leave one split, the same share for both phases: only the KV quota can move. */
export function fixedSplitLimits(
  smPct: number,
  kv: { readonly minKvQuotaPct: number; readonly maxKvQuotaPct: number },
): Limits {
  // Its second multiple is smPct, and 50, the coarsest there is, stays within bounds.
  const granularityPct = smPct / 2;
  return { ...WIDEST_LIMITS, ...kv, minSmPct: smPct, maxSmPct: smPct, maxSumPct: 2 * smPct, granularityPct };
}
