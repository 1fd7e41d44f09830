/**
 * The static policy: one allocation, set by an operator. It needs no signal, and moves whenever something else
 * is in force (paper.md §5: static (100,100) is the baseline that a controller has to beat).
 */
import type { Snapshot, StaticParams } from "../decision.js";
import { describeAllocation, sameAllocation } from "../allocation.js";
import type { PolicyOutcome } from "./outcome.js";

export const STATIC_VERSION = 1;

export function staticPolicy(snapshot: Pick<Snapshot, "current">, params: StaticParams): PolicyOutcome {
  const { split, kvQuotaPct } = params.allocation;
  const wanted = {
    split: { prefillSmPct: split.prefillSmPct, decodeSmPct: split.decodeSmPct },
    kvQuotaPct,
  };
  if (sameAllocation(wanted, snapshot.current)) {
    return {
      reason: "AT_TARGET",
      wanted,
      candidates: [],
      why: `The target is in force: ${describeAllocation(wanted)}`,
    };
  }
  return {
    reason: "STATIC_TARGET",
    wanted,
    candidates: [{ allocation: wanted, ttftMs: null, tpotMs: null, verdict: "chosen" }],
    why: `The operator's target is ${describeAllocation(wanted)}`,
  };
}
