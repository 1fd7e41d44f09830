/**
 * The one entry point: what should be in force on an instance, and why.
 *
 * Total: any snapshot gives a decision, never an exception; what cannot be believed holds the split. Pure: no
 * clock, no randomness, and the answer to a snapshot read back from its JSON is the same. A decision is plain
 * JSON without undefined, NaN or Infinity.
 *
 * Order: broken input, mad signal, missing/stale/thin signal, pin, freeze, open rollout, cool-down, dwell, the policy, the
 * bounds (limits, sum, granularity, step, stability, KV floor), flap budget, nothing left to change. The static
 * policy needs no signal, no dwell and no flap budget: its target is the operator's own word.
 */
import type {
  Decision,
  FeedbackParams,
  GuardConfig,
  PolicyConfig,
  PolicyState,
  Snapshot,
  StaticParams,
} from "./decision.js";
import { sameAllocation } from "./allocation.js";
import { withinBounds } from "./guard/bounds.js";
import { decideSearch } from "./decide-search.js";
import { decideSemiPd } from "./decide-semi-pd.js";
import { flapGate } from "./guard/flap.js";
import { dwellGate, operatorGate, signalGate } from "./guard/gates.js";
import { contextFault, policyFault, signalFault } from "./guard/input-fault.js";
import { jsonView } from "./guard/json-view.js";
import type { Basis } from "./basis.js";
import { conclude, hold, plain } from "./basis.js";
import { readLearned, writeLearned } from "./model/learned.js";
import type { Learned } from "./model/learned.js";
import { learn, loadOf } from "./model/learn.js";
import { predictorOf } from "./model/predictor.js";
import type { PolicyName } from "./nouns.js";
import { FEEDBACK_VERSION, feedbackPolicy } from "./policy/feedback.js";
import { POLICY_VERSIONS } from "./defaults.js";
import { stateFor } from "./policy/policy-state.js";
import { STATIC_VERSION, staticPolicy } from "./policy/static.js";
import { describeFault, finiteOrNull, isFinite, isRecord } from "./signal/fault.js";
import { BLIND, observedOf, see } from "./signal/observe.js";

/** Decides for one instance at `nowMs` (epoch ms). Never throws. */
export function decide(given: Snapshot, policy: PolicyConfig, guards: GuardConfig, nowMs: number): Decision {
  const snapshot = jsonView(given);
  const fault = policyFault(policy) ?? contextFault(snapshot, guards, nowMs);
  if (fault !== null) {
    return brokenInput(snapshot, policy, `${describeFault(fault)}: the split is held.`);
  }
  switch (policy.name) {
    case "static":
      return decideStatic(snapshot, policy.params, guards, nowMs);
    case "feedback":
      return decideFeedback(snapshot, policy.params, guards, nowMs);
    case "search":
      return decideSearch(snapshot, policy.params, guards, nowMs);
    case "semi-pd":
      return decideSemiPd(snapshot, policy.params, guards, nowMs);
  }
}

function decideStatic(
  snapshot: Snapshot,
  params: StaticParams,
  guards: GuardConfig,
  nowMs: number,
): Decision {
  const readable = signalFault(snapshot.signal, nowMs) === null;
  const basis: Basis = {
    basedOnGeneration: snapshot.current.generation,
    observed: observedOf(readable ? see(snapshot.signal, snapshot.slo) : BLIND, null),
    policy: { name: "static", version: STATIC_VERSION },
    state: null,
    current: plain(snapshot.current),
  };
  const gate = operatorGate(snapshot, nowMs);
  if (gate !== null) return hold(basis, gate.reason, gate.message);
  const outcome = staticPolicy(snapshot, params);
  const bounded = withinBounds(outcome.wanted, {
    current: basis.current,
    limits: snapshot.limits,
    guards,
    model: null,
  });
  return conclude(basis, outcome, bounded.allocation, bounded.notes, null);
}

function decideFeedback(
  snapshot: Snapshot,
  params: FeedbackParams,
  guards: GuardConfig,
  nowMs: number,
): Decision {
  const remembered = readLearned(snapshot.state, "feedback", FEEDBACK_VERSION);
  const basisOf = (observed: Decision["observed"], learned: Learned): Basis => ({
    basedOnGeneration: snapshot.current.generation,
    observed,
    policy: { name: "feedback", version: FEEDBACK_VERSION },
    state: stateOf(learned),
    current: plain(snapshot.current),
  });

  const mad = signalFault(snapshot.signal, nowMs);
  if (mad !== null) {
    const message = `${describeFault(mad)}: the signal is not believed.`;
    return hold(basisOf(observedOf(BLIND, null), remembered), "MAD_SIGNAL", message);
  }
  const sight = see(snapshot.signal, snapshot.slo);
  const unfit = signalGate(snapshot, guards, nowMs);
  if (unfit !== null) {
    return hold(basisOf(observedOf(sight, null), remembered), unfit.reason, unfit.message);
  }

  // Learnt also while the split is pinned, frozen or dwelling: the windows are good, only the answer is given. Not
  // during a rollout: which of two splits was measured is then not certain.
  const learned =
    snapshot.rolloutGeneration === null
      ? learn(remembered, snapshot.current.split, snapshot.signal, sight, snapshot.slo, nowMs)
      : remembered;
  const load = loadOf(snapshot.signal, learned);
  const basis = basisOf(observedOf(sight, load.lambdaShare), learned);
  const gate = operatorGate(snapshot, nowMs) ?? dwellGate(snapshot, guards, nowMs);
  if (gate !== null) return hold(basis, gate.reason, gate.message);

  const predictor = predictorOf(snapshot, learned, load, sight, nowMs);
  const outcome = feedbackPolicy(snapshot, params, sight, predictor, learned.answerTokens);
  const model = { lambdaShare: load.lambdaShare, prefillShare: predictor.prefillShare };
  const bounded = withinBounds(outcome.wanted, {
    current: basis.current,
    limits: snapshot.limits,
    guards,
    model,
  });
  const { split } = bounded.allocation;
  const predicted = {
    ttftMs: finiteOrNull(predictor.ttftMs(split)),
    tpotMs: finiteOrNull(predictor.tpotMs(split)),
  };
  const flapping = flapGate(snapshot.current.split, split, snapshot.recentMoves, guards, nowMs);
  if (flapping !== null && !sameAllocation(bounded.allocation, basis.current)) {
    const asked = { wanted: outcome.wanted, candidates: outcome.candidates, guards: bounded.notes };
    return { ...hold(basis, flapping.reason, flapping.message), ...asked };
  }
  return conclude(basis, outcome, bounded.allocation, bounded.notes, predicted, snapshot);
}

/** Input that cannot be decided on. What of the current allocation is readable is given back. */
function brokenInput(snapshot: unknown, policy: unknown, message: string): Decision {
  const given = isRecord(snapshot) ? snapshot : {};
  const current = isRecord(given.current) ? given.current : {};
  const split = isRecord(current.split) ? current.split : {};
  const name = isRecord(policy) && typeof policy.name === "string" ? policy.name : "unknown";
  const basis: Basis = {
    basedOnGeneration: isFinite(current.generation) ? current.generation : 0,
    observed: observedOf(BLIND, null),
    policy: { name, version: isKnown(name) ? POLICY_VERSIONS[name] : 0 },
    state: stateFor(given.state, name),
    current: {
      split: { prefillSmPct: readablePct(split.prefillSmPct), decodeSmPct: readablePct(split.decodeSmPct) },
      kvQuotaPct: readablePct(current.kvQuotaPct),
    },
  };
  return hold(basis, "MAD_SIGNAL", message);
}

function isKnown(name: string): name is PolicyName {
  return Object.hasOwn(POLICY_VERSIONS, name);
}

/** A cap as it stands; an unreadable one is called open. Nobody acts on it: the decision holds. */
function readablePct(value: unknown): number {
  return isFinite(value) ? value : 100;
}

function stateOf(learned: Learned): PolicyState | null {
  return learned.learntToMs === null ? null : writeLearned(learned, "feedback", FEEDBACK_VERSION);
}
