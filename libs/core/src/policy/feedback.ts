/**
 * The feedback policy: Algorithm 1 of semi-PD (arXiv 2504.19867, §5), with the ten faults of the printed
 * listing (paper.md §4.1) mended:
 *
 *  1. `step` is never incremented: the loop here counts, and ends after `maxSteps`.
 *  2. x' is tested before it is assigned: a candidate is made first, then estimated, then tested.
 *  3. Both targets missed has no rule of its own: see both-missed.ts.
 *  4. "Increase" beyond 100 hides a decrease of the other side without a floor: see grow.ts.
 *  5. The other phase is never consulted: a step that is predicted to break it is not taken.
 *  6. With max_step exhausted the last candidate is returned as if it met the target: here it is a move only
 *     if its predicted relief is worth `minBenefitShare`, and the decision says that it still misses.
 *  7. Estimates use x/(x+y): they use effective shares, see model/effective-share.ts.
 *  8. The listing's line references and its SLO table are wrong in the text; nothing here depends on them.
 *  9. window size, max_step, step_size and the percentile are not given: they are parameters with defaults
 *     and reasons in defaults.ts, the percentile is the SLO's.
 * 10. Thin samples, samples from before the last change, an open change, dwell and hysteresis are not covered:
 *     signal/summarise.ts and guard/ do that, before and after this file.
 */
import type { Candidate, FeedbackParams, HoldReason, MoveReason, Snapshot } from "../decision.js";
import { sameSplit, tidy } from "../allocation.js";
import type { Allocation, LatencyTarget, Phase, Split } from "../nouns.js";
import type { Estimate, Predictor } from "../model/predictor.js";
import type { Seen, Sight } from "../signal/observe.js";
import { bothMissed } from "./both-missed.js";
import { candidateOf, markChosen } from "./candidate.js";
import { grow } from "./grow.js";
import { kvQuota } from "./kv-quota.js";
import type { PolicyOutcome, SplitOutcome } from "./outcome.js";

export const FEEDBACK_VERSION = 1;

/** Wants a split and a quota, or to hold. The snapshot must have been checked and its signal be fresh. */
export function feedbackPolicy(
  snapshot: Snapshot,
  params: FeedbackParams,
  sight: Sight,
  predictor: Predictor,
  answerTokens: number | null,
): PolicyOutcome {
  const forSplit = splitOutcome(snapshot, params, sight, predictor);
  const moved = !sameSplit(forSplit.split, snapshot.current.split);
  const quota = params.moveKvQuota ? kvQuota(snapshot, answerTokens) : null;
  const wanted: Allocation = {
    split: forSplit.split,
    kvQuotaPct: quota?.quotaPct ?? snapshot.current.kvQuotaPct,
  };
  if (quota === null || quota.reason === null) {
    return { reason: forSplit.reason, wanted, candidates: forSplit.candidates, why: forSplit.why };
  }
  return {
    reason: moved ? forSplit.reason : quota.reason,
    wanted,
    candidates: forSplit.candidates,
    why: moved ? `${forSplit.why}, and ${quota.why}` : quota.why,
  };
}

function splitOutcome(
  snapshot: Snapshot,
  params: FeedbackParams,
  sight: Sight,
  predictor: Predictor,
): SplitOutcome {
  const { slo, current } = snapshot;
  const hold = (reason: HoldReason, why: string): SplitOutcome => {
    return { reason, split: current.split, candidates: [], why };
  };
  const ttft = verdictOf(sight.ttft, slo.ttft);
  const tpot = verdictOf(sight.tpot, slo.tpot);
  const seen = `${say("TTFT", sight.ttft, slo.ttft)} and ${say("TPOT", sight.tpot, slo.tpot)}`;
  if (ttft === "unknown" || tpot === "unknown") {
    return hold("CANNOT_TELL", `The latency histograms end below an SLO bound: ${seen}`);
  }
  if (ttft === "met" && tpot === "met") return hold("BOTH_MET", `Both targets are met: ${seen}`);
  if (ttft === "missed" && tpot === "missed") {
    return bothMissed(snapshot, params, sight, predictor, `Both targets are missed: ${seen}`);
  }
  const side: Phase = ttft === "missed" ? "prefill" : "decode";
  const why = side === "prefill" ? say("TTFT", sight.ttft, slo.ttft) : say("TPOT", sight.tpot, slo.tpot);
  return relieve(side, snapshot, params, predictor, why);
}

/** Algorithm 1's loop for the one phase that misses its target. */
function relieve(
  side: Phase,
  snapshot: Snapshot,
  params: FeedbackParams,
  predictor: Predictor,
  why: string,
): SplitOutcome {
  const start = snapshot.current;
  const phases = phasesOf(side, snapshot, predictor);
  const candidates: Candidate[] = [];
  let split: Split = start.split;
  let stop: HoldReason = "NOT_WORTH_IT";
  for (let step = 1; step <= params.maxSteps; step++) {
    const next = grow(split, side, params, snapshot.limits);
    if (sameSplit(next, split)) {
      stop = "NO_ROOM";
      break;
    }
    const own = phases.own(next);
    const other = phases.other(next);
    if (own === null || other === null) {
      stop = "CANNOT_TELL";
      break;
    }
    if (other > phases.otherGoalMs) {
      candidates.push(candidateOf(next, start, predictor, "breaks-other"));
      stop = "WOULD_BREAK_OTHER";
      break;
    }
    split = next;
    const reached = own <= phases.ownGoalMs;
    candidates.push(
      candidateOf(next, start, predictor, reached ? "meets" : own === Infinity ? "unstable" : "misses"),
    );
    if (reached) break;
  }
  if (sameSplit(split, start.split)) {
    return { reason: stop, split, candidates, why: `${why}, but ${because(stop, side)}` };
  }
  const relief = reliefShare(phases.own(start.split), phases.own(split));
  if (relief < params.minBenefitShare) {
    const gain = `the best step is predicted to relieve it by only ${tidy(relief * 100)} %`;
    return { reason: "NOT_WORTH_IT", split: start.split, candidates, why: `${why}, but ${gain}` };
  }
  const reason: MoveReason = side === "prefill" ? "TTFT_MISSED" : "TPOT_MISSED";
  return { reason, split, candidates: markChosen(candidates, split), why };
}

interface Phases {
  readonly own: (split: Split) => Estimate;
  readonly other: (split: Split) => Estimate;
  readonly ownGoalMs: number;
  readonly otherGoalMs: number;
}

function phasesOf(side: Phase, snapshot: Snapshot, predictor: Predictor): Phases {
  const { ttft, tpot } = snapshot.slo;
  return side === "prefill"
    ? { own: predictor.ttftMs, other: predictor.tpotMs, ownGoalMs: ttft.boundMs, otherGoalMs: tpot.boundMs }
    : { own: predictor.tpotMs, other: predictor.ttftMs, ownGoalMs: tpot.boundMs, otherGoalMs: ttft.boundMs };
}

/** Predicted relief as a share of the latency now; 1 when an unstable phase becomes stable or is still not. */
export function reliefShare(before: Estimate, after: Estimate): number {
  if (before === null || after === null) return 0;
  if (before === Infinity) return 1;
  return before > 0 ? 1 - after / before : 0;
}

function verdictOf(seen: Seen | null, target: LatencyTarget): "met" | "missed" | "unknown" {
  if (seen === null) return "unknown";
  if (seen.ms > target.boundMs) return "missed";
  // Above the highest bucket, and the bound is higher still: on which side of it, nobody knows.
  if (seen.overflow && seen.ms < target.boundMs) return "unknown";
  return seen.overflow ? "missed" : "met";
}

function say(name: string, seen: Seen | null, target: LatencyTarget): string {
  const label = `${name} p${tidy(target.percentile * 100)}`;
  if (seen === null) return `${label} is unknown`;
  const bound = `${tidy(target.boundMs)} ms`;
  if (!seen.overflow) {
    return `${label} ${tidy(seen.ms)} ms is ${seen.ms > target.boundMs ? "over" : "within"} ${bound}`;
  }
  const above = `${label} lies above the highest bucket bound, ${tidy(seen.ms)} ms`;
  return seen.ms < target.boundMs ? `${above}, and its target is ${bound}` : `${above}, and so over ${bound}`;
}

function because(stop: HoldReason, side: Phase): string {
  if (stop === "NO_ROOM") return `the ${side} cap has no room left within the limits`;
  if (stop === "WOULD_BREAK_OTHER") {
    return `the next step is predicted to break the ${side === "prefill" ? "TPOT" : "TTFT"} target`;
  }
  return `the model cannot tell what a step would do`;
}
