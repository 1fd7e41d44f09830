/** Shares of requests within a bound, from an operating state. */
import type { SloTarget } from "../nouns.js";
import { PROMPT_WEIGHTS } from "./demand.js";
import { normalTail } from "./normal.js";
import type { Demand } from "./demand.js";
import { INSTANTS_MS } from "./operating-point.js";
import type { OperatingState } from "./operating-point.js";

/** Below this utilisation a queue is called settled. */
const SETTLED = 0.97;

/**
 * Share of arrivals whose first token comes within the bound: own iteration, plus a wait that is exponential
 * given that there is one, plus what a backlog (ms of prefill work, beyond what is usual) adds while it drains or,
 * past saturation, grows. `waitFactor` multiplies the mean wait: what was learnt of the model's error. One share if all of that is settled, else one for each of INSTANTS_MS.
 */
export function ttftShares(
  state: OperatingState,
  demand: Demand,
  slo: SloTarget,
  backlogMs: number,
  waitFactor: number,
): readonly number[] {
  const { boundMs } = slo.ttft;
  if (backlogMs <= 0 && state.utilisation < SETTLED) return [promptShare(state, demand, boundMs, waitFactor)];
  return INSTANTS_MS.map((atMs) => {
    const extraMs = Math.max(0, backlogMs + (state.utilisation - 1) * atMs);
    return promptShare(state, demand, boundMs - extraMs, waitFactor);
  });
}

function promptShare(state: OperatingState, demand: Demand, boundMs: number, waitFactor: number): number {
  if (boundMs <= 0) return 0;
  const { prefill, batch, queueing } = state;
  const othersMs =
    (batch - 1) * (prefill.firstMs * demand.promptMean + prefill.secondMs * demand.promptMeanSq);
  const iterationsMs = demand.prompts.map(
    (prompt) => prefill.constMs + othersMs + prompt * (prefill.firstMs + prefill.secondMs * prompt),
  );
  let meanMs = 0;
  for (let i = 0; i < iterationsMs.length; i++) meanMs += weightOf(i) * (iterationsMs[i] ?? 0);
  const waitMs = Math.max(0.01, state.waitMs);
  let share = 0;
  for (let i = 0; i < iterationsMs.length; i++) {
    const leftMs = (boundMs - (iterationsMs[i] ?? 0)) / waitFactor;
    // Prompts ascend: those after this one are late too.
    if (leftMs <= 0) break;
    const queue = queueing > 0 ? Math.exp(-leftMs / waitMs) : 0;
    const late = (1 - queueing) * (restMs(iterationsMs, leftMs) / meanMs) + queueing * queue;
    share += weightOf(i) * (1 - state.prefillBusy * Math.min(1, late));
  }
  return share;
}

/** What is left of the iteration under way beyond `ms`, weighed: E(S - t)+, so that over E(S) it is P(rest > t). */
function restMs(iterationsMs: readonly number[], ms: number): number {
  let rest = 0;
  for (let i = iterationsMs.length - 1; i >= 0; i--) {
    const beyond = (iterationsMs[i] ?? 0) - ms;
    if (beyond <= 0) break;
    rest += weightOf(i) * beyond;
  }
  return rest;
}

function weightOf(i: number): number {
  return PROMPT_WEIGHTS[i] ?? 0;
}

/**
 * Share of answers within the TPOT bound: TPOT is lognormal around the mean iteration, `spread` the standard
 * deviation of its logarithm, the belief's own uncertainty included.
 */
export function tpotShare(meanMs: number, boundMs: number, spread: number): number {
  if (!(meanMs > 0)) return 1;
  return 1 - normalTail(Math.log(boundMs / meanMs) / Math.max(0.02, spread));
}
