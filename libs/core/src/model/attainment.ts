/** Shares of requests within a bound, from an operating state. */
import type { SloTarget } from "../nouns.js";
import type { Demand } from "./demand.js";
import { INSTANTS_MS } from "./operating-point.js";
import type { OperatingState } from "./operating-point.js";

/** Prompt quantiles that stand for the distribution: normal deviates with their weights, the tail finer. */
const PROMPT_POINTS: readonly (readonly [deviate: number, weight: number])[] = [
  [-1.15, 0.25],
  [-0.32, 0.25],
  [0.25, 0.2],
  [0.76, 0.15],
  [1.28, 0.08],
  [1.75, 0.04],
  [2.17, 0.02],
  [2.75, 0.01],
];

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
  const mean = demand.promptMean;
  // Lognormal by its two moments; a cut at the longest prompt seen.
  const variance = Math.log(Math.max(1, demand.promptMeanSq / mean ** 2));
  const sd = Math.sqrt(variance);
  const median = Math.log(mean) - variance / 2;
  const othersMs = (batch - 1) * (prefill.firstMs * mean + prefill.secondMs * demand.promptMeanSq);
  let meanMs = 0;
  const iterations = PROMPT_POINTS.map(([deviate, weight]) => {
    const prompt = Math.min(demand.promptMax, Math.exp(median + sd * deviate));
    const ms = prefill.constMs + othersMs + prompt * (prefill.firstMs + prefill.secondMs * prompt);
    meanMs += weight * ms;
    return { ms, weight };
  });
  let share = 0;
  for (const own of iterations) {
    const leftMs = (boundMs - own.ms) / waitFactor;
    if (leftMs <= 0) continue;
    // What is left of the iteration under way: P(rest > t) = E(S - t)+ / E(S).
    let rest = 0;
    for (const other of iterations) if (other.ms > leftMs) rest += other.weight * (other.ms - leftMs);
    const queue = Math.exp(-leftMs / Math.max(0.01, state.waitMs));
    const late = (1 - queueing) * (rest / meanMs) + queueing * queue;
    share += own.weight * (1 - state.prefillBusy * Math.min(1, late));
  }
  return share;
}

/**
 * Share of answers within the TPOT bound: TPOT is lognormal around the mean iteration, `spread` the standard
 * deviation of its logarithm, the belief's own uncertainty included.
 */
export function tpotShare(meanMs: number, boundMs: number, spread: number): number {
  if (!(meanMs > 0)) return 1;
  return normalShare(Math.log(boundMs / meanMs) / Math.max(0.02, spread));
}

/** Standard normal distribution function (logistic approximation, error below 0.01). */
function normalShare(z: number): number {
  return 1 / (1 + Math.exp(-z * (1.5976 + 0.070566 * z * z)));
}
