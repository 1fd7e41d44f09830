/** One decision of the search policy: learn from the latest windows, weigh, bound. */
import { sameAllocation } from "./allocation.js";
import type { Basis } from "./basis.js";
import { conclude, hold, plain } from "./basis.js";
import type { Decision, GuardConfig, HoldReason, SearchParams, Snapshot } from "./decision.js";
import { withinBounds } from "./guard/bounds.js";
import { flapGate } from "./guard/flap.js";
import { dwellGate, operatorGate } from "./guard/gates.js";
import { latestFault, signalFault } from "./guard/input-fault.js";
import { priorBelief } from "./model/plant-params.js";
import type { PolicyOutcome } from "./policy/outcome.js";
import { SEARCH_VERSION, readMemory, writeMemory } from "./policy/search-memory.js";
import type { SearchMemory } from "./policy/search-memory.js";
import { searchModel } from "./policy/search-model.js";
import type { SearchModel } from "./policy/search-model.js";
import { searchPolicy } from "./policy/search.js";
import { describeFault, finiteOrNull } from "./signal/fault.js";
import { BLIND, observedOf, see } from "./signal/observe.js";

/**
 * Unlike a policy that reads a percentile, this one acts on thin signals too: it knows how little it knows. Only
 * a signal that is missing, stale or not to be believed holds it.
 */
export function decideSearch(
  snapshot: Snapshot,
  params: SearchParams,
  guards: GuardConfig,
  nowMs: number,
): Decision {
  const widest = priorBelief(params.prior);
  const remembered = readMemory(snapshot.state, widest);
  const mad = signalFault(snapshot.signal, nowMs) ?? latestFault(snapshot, nowMs);
  if (mad !== null) {
    const basis = basisOf(snapshot, remembered, observedOf(BLIND, null));
    return hold(basis, "MAD_SIGNAL", `${describeFault(mad)}: the signal is not believed.`);
  }
  const sight = see(snapshot.signal, snapshot.slo);
  if (snapshot.signal.freshness === "missing") {
    const basis = basisOf(snapshot, remembered, observedOf(sight, null));
    return hold(basis, "NO_SIGNAL", "No window has come in from this instance.");
  }
  const { memory, model } = searchModel(snapshot, remembered, widest, params);
  const observed = observedOf(sight, finiteOrNull(model?.loadShare));
  const held = (reason: HoldReason, message: string) =>
    hold(basisOf(snapshot, memory, observed), reason, message);
  if (snapshot.signal.freshness === "stale" && (snapshot.latest ?? null) === null) {
    return held("STALE_SIGNAL", "The newest usable window ended too long ago.");
  }
  const gate = operatorGate(snapshot, nowMs) ?? dwellGate(snapshot, guards, nowMs);
  if (gate !== null) return held(gate.reason, gate.message);
  if (model === null) {
    return held("CANNOT_TELL", "Nothing has arrived yet: there is no load to decide for.");
  }
  const { outcome, memory: after } = searchPolicy(snapshot, params, model, nowMs);
  return bounded(snapshot, guards, nowMs, model, outcome, basisOf(snapshot, after, observed));
}

/** What the policy wants, brought within the bounds and the flap budget. */
function bounded(
  snapshot: Snapshot,
  guards: GuardConfig,
  nowMs: number,
  model: SearchModel,
  outcome: PolicyOutcome,
  basis: Basis,
): Decision {
  const { allocation, notes } = withinBounds(outcome.wanted, {
    current: basis.current,
    limits: snapshot.limits,
    guards,
    // The score knows what an unstable prefill costs; a margin beside it would forbid the least bad split.
    model: { lambdaShare: null, prefillShare: () => 1 },
  });
  const flapping = flapGate(snapshot.current.split, allocation.split, snapshot.recentMoves, guards, nowMs);
  if (flapping !== null && !sameAllocation(allocation, basis.current)) {
    const asked = { wanted: outcome.wanted, candidates: outcome.candidates, guards: notes };
    return { ...hold(basis, flapping.reason, flapping.message), ...asked };
  }
  const there = model.latenciesOf(model.prospectOf(allocation.split));
  const predicted = { ttftMs: finiteOrNull(there.ttftMs), tpotMs: finiteOrNull(there.tpotMs) };
  return conclude(basis, outcome, allocation, notes, predicted, snapshot);
}

function basisOf(snapshot: Snapshot, memory: SearchMemory, observed: Decision["observed"]): Basis {
  return {
    basedOnGeneration: snapshot.current.generation,
    observed,
    policy: { name: "search", version: SEARCH_VERSION },
    state: memory.learntToMs === null ? null : writeMemory(memory),
    current: plain(snapshot.current),
  };
}
