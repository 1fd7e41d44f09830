import type { KvDemand } from "@fulcrum/core/policy/kv-lending.js";
import type { InstanceState } from "@fulcrum/simulator/instance.js";
import type { MeteredWindow } from "./window-meter.js";

/** Memory of the arrival rate: at 8 requests a second 120 of them, so a rate is known to a tenth. */
const RATE_MEMORY_MS = 15_000;
/** Memory of lengths and step times: they move more slowly than the rate, and are noisier. */
const LENGTH_MEMORY_MS = 120_000;

type Sum = "promptTokens" | "arrivals" | "outputTokens" | "finished" | "prefillTokens" | "prefillMs";

/**
 * Measures what one instance will ask of the KV memory, from nothing but its windows and gauges: what an agent can see.
 * Answers are taken to spread as exponential ones do (E[o^2] = 2 E[o]^2), for windows carry no second moment of them.
 */
export class KvDemandMeter {
  readonly #sums: Record<Sum, number> = {
    promptTokens: 0,
    arrivals: 0,
    outputTokens: 0,
    finished: 0,
    prefillTokens: 0,
    prefillMs: 0,
  };
  #promptTokensSq = 0;
  #rateArrivals = 0;
  #rateMs = 0;
  #decodeStepMs = 0;

  /** Takes in the window that has just closed, and tells the demand at its end. */
  measure(window: MeteredWindow, state: InstanceState): KvDemand {
    this.#learn(window);
    const sums = this.#sums;
    const mean = (total: number, count: number) => (count > 0 ? total / count : 0);
    const promptTokens = mean(sums.promptTokens, sums.arrivals);
    const promptTokensSq = mean(this.#promptTokensSq, sums.arrivals);
    const outputTokens = mean(sums.outputTokens, sums.finished);
    const recomputeMsPerToken = mean(sums.prefillMs, sums.prefillTokens);
    const arrivalPerS = 1000 * mean(this.#rateArrivals, this.#rateMs);
    const lifeMs = promptTokens * recomputeMsPerToken + outputTokens * this.#decodeStepMs;
    const inside = (arrivalPerS * lifeMs) / 1000;
    // X = prompt + U x answer with U even over (0, 1); the number inside is taken as Poisson.
    const heldTokensSq = promptTokensSq + promptTokens * outputTokens + (2 * outputTokens ** 2) / 3;
    return {
      growthTokens: growthOf(state, { promptTokens, outputTokens, lifeMs, recomputeMsPerToken }),
      arrivalPerS,
      lifeS: lifeMs / 1000,
      promptTokens,
      outputTokens,
      varianceTokensSq: inside * heldTokensSq,
      recomputeMsPerToken,
    };
  }

  #learn(window: MeteredWindow): void {
    const { durationMs, work, busy } = window;
    const kept = Math.exp(-durationMs / LENGTH_MEMORY_MS);
    const keep = (sum: Sum, more: number) => {
      this.#sums[sum] = kept * this.#sums[sum] + more;
    };
    keep("promptTokens", window.promptTokens);
    keep("arrivals", window.arrivals);
    keep("finished", window.finished);
    keep("outputTokens", work?.finishedOutputTokens ?? 0);
    keep("prefillTokens", work?.prefillTokens ?? 0);
    keep("prefillMs", (busy?.prefillShare ?? 0) * durationMs);
    this.#promptTokensSq = kept * this.#promptTokensSq + (work?.promptTokensSq ?? 0);
    this.#decodeStepMs = work?.decodeStepMeanMs ?? this.#decodeStepMs;
    const rateKept = Math.exp(-durationMs / RATE_MEMORY_MS);
    this.#rateArrivals = rateKept * this.#rateArrivals + window.arrivals;
    this.#rateMs = rateKept * this.#rateMs + durationMs;
  }
}

interface Learnt {
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly lifeMs: number;
  readonly recomputeMsPerToken: number;
}

/**
 * What runs, and what prefill can admit in one life. Half a mean answer each: a whole one is to go on average where
 * answers spread as exponential ones do, but not at once, and what finishes first frees blocks for the rest.
 */
function growthOf(state: InstanceState, learnt: Learnt): number {
  const { promptTokens, outputTokens, lifeMs, recomputeMsPerToken } = learnt;
  const inside = state.decodeRunning + state.decodeWaiting + state.prefillRunning;
  const admissible = recomputeMsPerToken > 0 ? lifeMs / recomputeMsPerToken : 0;
  const waitingTokens = Math.min(state.prefillWaitingTokens, admissible);
  const waiting = promptTokens > 0 ? waitingTokens / promptTokens : 0;
  return (inside * outputTokens) / 2 + waitingTokens + (waiting * outputTokens) / 2;
}
