/** One decision of the semi-PD policy: what the authors' branch does, behind the same gates and bounds as the others. */
import type { Basis } from "./basis.js";
import { conclude, hold, plain } from "./basis.js";
import type { Decision, GuardConfig, SemiPdParams, Snapshot } from "./decision.js";
import { withinBounds } from "./guard/bounds.js";
import { dwellGate, operatorGate } from "./guard/gates.js";
import { latestFault, signalFault } from "./guard/input-fault.js";
import { stateFor } from "./policy/policy-state.js";
import { SEMI_PD_VERSION, collectSample, writeSample } from "./policy/semi-pd-sample.js";
import { semiPdPolicy } from "./policy/semi-pd.js";
import { describeFault } from "./signal/fault.js";
import { BLIND, observedOf, see } from "./signal/observe.js";

export function decideSemiPd(
  snapshot: Snapshot,
  params: SemiPdParams,
  guards: GuardConfig,
  nowMs: number,
): Decision {
  const basisOf = (observed: Decision["observed"], state: Basis["state"]): Basis => ({
    basedOnGeneration: snapshot.current.generation,
    observed,
    policy: { name: "semi-pd", version: SEMI_PD_VERSION },
    state,
    current: plain(snapshot.current),
  });
  const mad = signalFault(snapshot.signal, nowMs) ?? latestFault(snapshot, nowMs);
  if (mad !== null) {
    const message = `${describeFault(mad)}: the signal is not believed.`;
    return hold(basisOf(observedOf(BLIND, null), stateFor(snapshot.state, "semi-pd")), "MAD_SIGNAL", message);
  }
  const observed = observedOf(see(snapshot.signal, snapshot.slo), null);
  const gate = operatorGate(snapshot, nowMs) ?? dwellGate(snapshot, guards, nowMs);
  if (gate !== null) {
    // Requests are counted also while the split is held: the original's do not stop for an operator.
    const counted = writeSample(collectSample(snapshot, params));
    return hold(basisOf(observed, counted), gate.reason, gate.message);
  }
  const { outcome, state, predict } = semiPdPolicy(snapshot, params);
  const { limits } = snapshot;
  const bounded = withinBounds(outcome.wanted, {
    current: plain(snapshot.current),
    limits,
    guards,
    // It knows no arrival rate, and so no stability floor; limits, grid and step hold for it.
    model: { lambdaShare: null, prefillShare: () => 1 },
  });
  const predicted = predict(bounded.allocation.split);
  return conclude(basisOf(observed, state), outcome, bounded.allocation, bounded.notes, predicted, snapshot);
}
