/** One step of Algorithm 1 in favour of one phase. */
import type { FeedbackParams } from "../decision.js";
import type { Limits, Phase, Split } from "../nouns.js";

/**
 * Raises the cap of `side` by one step, up to the greatest cap; when it is there already, lowers the other cap
 * instead, down to the floor (listing fault 4). Where the sum of caps is bounded, the other cap gives what the
 * growing one takes. Returns an equal split when there is no room.
 */
export function grow(
  split: Split,
  side: Phase,
  params: Pick<FeedbackParams, "stepPct" | "floorPct">,
  limits: Limits,
): Split {
  const step = stepOnGrid(params.stepPct, limits.granularityPct);
  const floor = Math.max(params.floorPct, limits.minSmPct);
  const own = side === "prefill" ? split.prefillSmPct : split.decodeSmPct;
  const other = side === "prefill" ? split.decodeSmPct : split.prefillSmPct;

  let nextOwn = Math.min(limits.maxSmPct, own + step);
  let nextOther = other;
  if (nextOwn <= own) {
    nextOwn = own;
    nextOther = Math.min(other, Math.max(floor, other - step));
  }
  if (nextOwn + nextOther > limits.maxSumPct) {
    nextOther = Math.min(other, Math.max(floor, limits.maxSumPct - nextOwn));
    nextOwn = Math.max(own, Math.min(nextOwn, limits.maxSumPct - nextOther));
  }
  return side === "prefill"
    ? { prefillSmPct: nextOwn, decodeSmPct: nextOther }
    : { prefillSmPct: nextOther, decodeSmPct: nextOwn };
}

/** The step as a whole number of granules, at least one: a smaller one would never be delivered. */
function stepOnGrid(stepPct: number, granularityPct: number): number {
  return Math.max(1, Math.round(stepPct / granularityPct)) * granularityPct;
}
