/** Shares of requests within a bound, from an operating state. */
import type { SloPromise } from "../nouns.js";
import { normalTail } from "./normal.js";
import type { Demand } from "./demand.js";
import { INSTANTS_MS } from "./operating-point.js";
import type { OperatingState } from "./operating-point.js";
import type { PromptClass } from "./prompts.js";

/** Below this utilisation a queue is called settled. */
const SETTLED = 0.97;

/**
 * Share of arrivals whose first token comes within the bound: own iteration, plus a wait that is exponential
 * given that there is one, plus what a backlog (ms of prefill work, beyond what is usual) adds while it drains or,
 * past saturation, grows. `waitFactor` multiplies the mean wait: what was learnt of the model's error. One share if
 * all of that is settled, else one for each of INSTANTS_MS. `own`: the prompts that are asked of, all unless told; what
 * they wait for is always everybody's.
 */
export function ttftShares(
  state: OperatingState,
  demand: Demand,
  slo: SloPromise,
  backlogMs: number,
  waitFactor: number,
  own?: readonly PromptClass[],
): readonly number[] {
  const { boundMs } = slo.ttft;
  const within = withinBound(state, demand, waitFactor, own);
  if (backlogMs <= 0 && state.utilisation < SETTLED) return [within(boundMs)];
  return INSTANTS_MS.map((atMs) => {
    const extraMs = Math.max(0, backlogMs + (state.utilisation - 1) * atMs);
    return within(boundMs - extraMs);
  });
}

/** The share of prompts whose first token comes within a bound, as a function of the bound; no backlog. */
export function withinBound(
  state: OperatingState,
  demand: Demand,
  waitFactor: number,
  own: readonly PromptClass[] = demand.prompts,
): (boundMs: number) => number {
  const { prefill, queueing } = state;
  const eachMs = prefill.firstMs * demand.promptMean + prefill.secondMs * demand.promptMeanSq;
  // Who arrives in a long iteration shares the next one with all others that arrived in it.
  const joining = 1 + (demand.ratePerS / 1000) * eachMs;
  const iterationOf = ({ tokens, share }: PromptClass): Iteration => ({
    ms: prefill.constMs + tokens * (prefill.firstMs + prefill.secondMs * tokens),
    share,
  });
  const iterations = demand.prompts.map(iterationOf);
  const asked = own === demand.prompts ? iterations : own.map(iterationOf);
  const meanMs = iterations.reduce((sum, { ms, share }) => sum + share * ms, 0);
  const waitMs = Math.max(0.01, state.waitMs);
  return (boundMs) => {
    let within = 0;
    for (const { ms, share } of asked) {
      const leftMs = (boundMs - ms) / waitFactor;
      // Prompts ascend: those after this one are late too.
      if (leftMs <= 0) break;
      const queue = queueing > 0 ? Math.exp(-leftMs / waitMs) : 0;
      const rest = queueing < 1 ? restMs(iterations, leftMs, joining) / meanMs : 0;
      const late = (1 - queueing) * rest + queueing * queue;
      within += share * (1 - state.prefillBusy * Math.min(1, late));
    }
    return within;
  };
}

/** One that a prompt of a class is in: its time, and the class's share of all prompts. */
interface Iteration {
  readonly ms: number;
  readonly share: number;
}

/**
 * What is left of the iteration under way beyond `ms`, weighed: E(S - t)+, so that over E(S) it is P(rest > t).
 * `joining`: times S, rest and the work of those that arrived in it as well.
 */
function restMs(iterations: readonly Iteration[], ms: number, joining: number): number {
  let rest = 0;
  for (const iteration of iterations) {
    const beyond = joining * iteration.ms - ms;
    if (beyond > 0) rest += iteration.share * Math.min(iteration.ms, beyond);
  }
  return rest;
}

/**
 * Share of answers within the TPOT bound: TPOT is lognormal around the mean iteration, `spread` the standard
 * deviation of its logarithm, the belief's own uncertainty included.
 */
export function tpotShare(meanMs: number, boundMs: number, spread: number): number {
  if (!(meanMs > 0)) return 1;
  return 1 - normalTail(Math.log(boundMs / meanMs) / Math.max(0.02, spread));
}
