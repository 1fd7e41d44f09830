/** From what a policy wants to a decision: the parts that are the same for every policy. */
import { sameAllocation } from "./allocation.js";
import type { Decision, GuardNote, ReasonCode, Snapshot } from "./decision.js";
import { holdSentence, moveSentence } from "./message.js";
import type { Allocation } from "./nouns.js";
import type { PolicyOutcome } from "./policy/outcome.js";

/** The parts of a decision that are settled before the policy is asked. */
export type Basis = Pick<Decision, "basedOnGeneration" | "observed" | "policy" | "state"> & {
  readonly current: Allocation;
};

/** A policy was asked and its wish is bounded: move, or hold because nothing is left of it. */
export function conclude(
  basis: Basis,
  outcome: PolicyOutcome,
  allocation: Allocation,
  notes: readonly GuardNote[],
  predicted: Decision["predicted"],
  snapshot?: Snapshot,
): Decision {
  const asked = { wanted: outcome.wanted, candidates: outcome.candidates, guards: notes };
  if (sameAllocation(allocation, basis.current)) {
    const cut = !sameAllocation(outcome.wanted, basis.current);
    const reason = cut ? "GUARDED_AWAY" : outcome.reason;
    return { ...hold(basis, reason, holdSentence(outcome, cut ? notes : [])), ...asked };
  }
  const { current, ...rest } = basis;
  const message = moveSentence({
    outcome,
    from: current,
    to: allocation,
    notes,
    predicted,
    slo: snapshot?.slo ?? null,
  });
  return { kind: "move", reason: outcome.reason, message, allocation, predicted, ...asked, ...rest };
}

export function hold(basis: Basis, reason: ReasonCode, message: string): Decision {
  const { current, ...rest } = basis;
  return {
    kind: "hold",
    reason,
    message,
    allocation: current,
    wanted: null,
    predicted: null,
    candidates: [],
    guards: [],
    ...rest,
  };
}

/** The allocation without its generation. */
export function plain(allocation: Allocation): Allocation {
  const { prefillSmPct, decodeSmPct } = allocation.split;
  return { split: { prefillSmPct, decodeSmPct }, kvQuotaPct: allocation.kvQuotaPct };
}
