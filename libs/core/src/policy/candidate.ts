/** A split that was weighed, as the decision's row shows it. */
import { sameSplit } from "../allocation.js";
import type { Candidate } from "../decision.js";
import type { Predictor } from "../model/predictor.js";
import type { Allocation, Split } from "../nouns.js";
import { finiteOrNull } from "../signal/fault.js";

export function candidateOf(
  split: Split,
  current: Allocation,
  predictor: Predictor,
  verdict: Candidate["verdict"],
): Candidate {
  return {
    allocation: { split, kvQuotaPct: current.kvQuotaPct },
    ttftMs: finiteOrNull(predictor.ttftMs(split)),
    tpotMs: finiteOrNull(predictor.tpotMs(split)),
    verdict,
  };
}

/** The same candidates with `split` marked as the one that was chosen. */
export function markChosen(candidates: readonly Candidate[], split: Split): Candidate[] {
  return candidates.map((c) => (sameSplit(c.allocation.split, split) ? { ...c, verdict: "chosen" } : c));
}
