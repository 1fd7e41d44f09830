/** What a prospect means in milliseconds, for the decision's row and the operator's eyes. */
import { withinBound } from "../model/attainment.js";
import { upperQuantile } from "../model/normal.js";
import type { SloPromise } from "../nouns.js";
import type { Ground, Prospect } from "./search-prospect.js";

/** At the SLO's percentiles; TTFT is null where prefill does not settle. */
export interface Latencies {
  readonly ttftMs: number | null;
  readonly tpotMs: number;
}

export function latenciesAt({ state }: Prospect, ground: Ground, slo: SloPromise): Latencies {
  const { demand, memory } = ground;
  const spread = Math.hypot(memory.tpotSpread, state.stepFluctuation);
  const deviate = upperQuantile(1 - slo.tpot.percentile);
  const settledMs = (state.tpotMs[0] ?? state.stepMs) * Math.exp(memory.tpotBias);
  const within = withinBound(state, demand, Math.exp(memory.waitBias));
  const reaches = (boundMs: number) => within(boundMs) >= slo.ttft.percentile;
  return {
    ttftMs: state.utilisation >= 1 ? null : bisect(reaches),
    tpotMs: settledMs * Math.exp(deviate * spread),
  };
}

/** Ten minutes; beyond, a queue is as good as endless. */
const LONGEST_MS = 600_000;

/** The least value for which `reaches` holds, to 3 %; null if it is beyond LONGEST_MS. */
function bisect(reaches: (ms: number) => boolean): number | null {
  if (!reaches(LONGEST_MS)) return null;
  let low = 0;
  let high = Math.log(LONGEST_MS);
  while (high - low > 0.03) {
    const middle = (low + high) / 2;
    if (reaches(Math.exp(middle))) high = middle;
    else low = middle;
  }
  return Math.exp(high);
}
