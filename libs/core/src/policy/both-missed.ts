/**
 * Both targets missed: the listing has no rule (paper.md §4.1 fault 3, §4.3), so the choice is a parameter.
 * - `hold`: keep the split; more replicas are needed, not another split.
 * - `open`: raise both caps as far as the limits allow and let the phases compete; what the authors' code does.
 * - `worst-first`: grow the phase that misses by the greater factor, as long as the greater of both predicted
 *   factors falls.
 */
import type { Candidate, FeedbackParams, Snapshot } from "../decision.js";
import { sameSplit } from "../allocation.js";
import type { Estimate, Predictor } from "../model/predictor.js";
import type { Limits, Phase, Split } from "../nouns.js";
import type { Sight } from "../signal/observe.js";
import { candidateOf, markChosen } from "./candidate.js";
import { grow } from "./grow.js";
import type { SplitOutcome } from "./outcome.js";

export function bothMissed(
  snapshot: Snapshot,
  params: FeedbackParams,
  sight: Sight,
  predictor: Predictor,
  why: string,
): SplitOutcome {
  if (params.bothMissed === "open") return open(snapshot, predictor, why);
  if (params.bothMissed === "worst-first") return worstFirst(snapshot, params, sight, predictor, why);
  return holdBoth(snapshot, [], `${why}; the policy is to hold`);
}

function holdBoth(snapshot: Snapshot, candidates: readonly Candidate[], why: string): SplitOutcome {
  return { reason: "BOTH_MISSED_HOLD", split: snapshot.current.split, candidates, why };
}

function open(snapshot: Snapshot, predictor: Predictor, why: string): SplitOutcome {
  const split = openSplit(snapshot.current.split, snapshot.limits);
  if (sameSplit(split, snapshot.current.split)) {
    return holdBoth(snapshot, [], `${why}; the caps are as open as the limits allow`);
  }
  const candidates = [candidateOf(split, snapshot.current, predictor, "chosen")];
  return { reason: "BOTH_MISSED", split, candidates, why };
}

/** Both caps raised, never lowered, as far as their own and their sum's bound allow. */
function openSplit(split: Split, limits: Limits): Split {
  const room = Math.max(0, limits.maxSumPct - split.prefillSmPct - split.decodeSmPct);
  const raise = (cap: number, by: number) => Math.max(cap, Math.min(limits.maxSmPct, cap + by));
  const half = Math.floor(room / 2 / limits.granularityPct) * limits.granularityPct;
  if (2 * limits.maxSmPct <= limits.maxSumPct) {
    return { prefillSmPct: raise(split.prefillSmPct, room), decodeSmPct: raise(split.decodeSmPct, room) };
  }
  return { prefillSmPct: raise(split.prefillSmPct, half), decodeSmPct: raise(split.decodeSmPct, half) };
}

function worstFirst(
  snapshot: Snapshot,
  params: FeedbackParams,
  sight: Sight,
  predictor: Predictor,
  why: string,
): SplitOutcome {
  const { slo, current } = snapshot;
  const ttftExcess = (sight.ttft?.ms ?? 0) / slo.ttft.boundMs;
  const tpotExcess = (sight.tpot?.ms ?? 0) / slo.tpot.boundMs;
  const side: Phase = ttftExcess >= tpotExcess ? "prefill" : "decode";
  const worst = (split: Split): number | null => {
    const ttft = excess(predictor.ttftMs(split), slo.ttft.boundMs);
    const tpot = excess(predictor.tpotMs(split), slo.tpot.boundMs);
    if (ttft === null || tpot === null) return null;
    // Two unstable splits still differ: the one with the larger prefill share builds its backlog more slowly.
    return ttft === Infinity ? 1e9 - predictor.prefillShare(split) : Math.max(ttft, tpot);
  };
  const before = worst(current.split);
  if (before === null) return { ...holdBoth(snapshot, [], why), reason: "CANNOT_TELL" };

  const candidates: Candidate[] = [];
  let split = current.split;
  let least = before;
  for (let step = 1; step <= params.maxSteps; step++) {
    const next = grow(split, side, params, snapshot.limits);
    const score = sameSplit(next, split) ? null : worst(next);
    if (score === null) break;
    const better = score < least;
    candidates.push(candidateOf(next, current, predictor, better ? "misses" : "breaks-other"));
    if (!better) break;
    split = next;
    least = score;
  }
  const stillUnstable = least > 1e6;
  if (sameSplit(split, current.split) || (!stillUnstable && 1 - least / before < params.minBenefitShare)) {
    return holdBoth(snapshot, candidates, `${why}; no step is predicted to relieve the worse one enough`);
  }
  return { reason: "BOTH_MISSED", split, candidates: markChosen(candidates, split), why };
}

function excess(estimate: Estimate, boundMs: number): number | null {
  return estimate === null ? null : estimate / boundMs;
}
