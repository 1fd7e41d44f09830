/** What the search policy learns from the latest windows, and how its predictions turned out. */
import type { LatestSignal, SearchPart, SearchPrior, Snapshot } from "../decision.js";
import { ttftShares } from "../model/attainment.js";
import { demandOf, noteDemand } from "../model/demand.js";
import type { Demand } from "../model/demand.js";
import type { Gaussian } from "../model/kalman.js";
import { operatingState } from "../model/operating-point.js";
import { learnPlant } from "../model/plant-learning.js";
import type { Histogram } from "../nouns.js";
import { meanMs, okShare, percentile, sampleCount } from "../signal/histogram.js";
import { MOST_WAIT_BIAS } from "./search-memory.js";
import type { SearchMemory } from "./search-memory.js";
import { backlogs, viewOf } from "./search-prospect.js";

export interface Teaching {
  /** The prior that the belief is about, and how wide it is at most. */
  readonly prior: SearchPrior;
  readonly widest: Gaussian;
  readonly without: readonly SearchPart[];
}

/** The memory after the latest windows. */
export function learnFrom(
  snapshot: Snapshot,
  latest: LatestSignal,
  memory: SearchMemory,
  teaching: Teaching,
): SearchMemory {
  const { prior, widest, without } = teaching;
  const demandMemory = noteDemand(memory.demand, latest, !without.includes("load-change"));
  const demand = demandOf(demandMemory);
  const told = memory.told || (latest.work?.decodeStepMeanMs ?? null) !== null;
  const base = { ...memory, told, learntToMs: latest.toAtMs, demand: demandMemory };
  const settled = latest.generation === snapshot.current.generation && snapshot.rolloutGeneration === null;
  if (demand === null || !settled) return base;
  const belief = learnPlant(memory.belief, widest, prior, snapshot.current.split, latest, demand);
  const learntS = memory.learntS + latest.durationMs / 1000;
  const learnt = { ...base, belief, learntS, ...tpotShape(memory, snapshot, latest) };
  if (without.includes("wait-bias")) return learnt;
  return { ...learnt, waitBias: memory.waitBias + waitStep(snapshot, latest, learnt, demand, prior) };
}

/** Samples of TPOT whose p90 over p50 is worth something. */
const ENOUGH_FOR_SPREAD = 12;

function tpotShape(
  memory: SearchMemory,
  snapshot: Snapshot,
  latest: LatestSignal,
): Pick<SearchMemory, "tpotSpread" | "tpotBias"> {
  const { tpotSpread, tpotBias } = memory;
  const { tpot, work } = latest;
  const samples = tpot === null ? 0 : sampleCount(tpot);
  // Answers that waited for a place in a full batch tell of the queue, which is followed on its own.
  const waiting = (work?.decodeWaiting ?? 0) > 0.02 * (latest.queue.decodeRunning ?? Infinity);
  if (tpot === null || samples < 1 || waiting) return { tpotSpread, tpotBias };
  const weight = 1 - Math.exp(-samples / 100);
  // Where few requests finish in a window, those of the whole lookback at this allocation tell.
  const enough = [tpot, snapshot.signal.tpot].find((h) => h !== null && sampleCount(h) >= ENOUGH_FOR_SPREAD);
  const spread = enough ? spreadOf(enough) : null;
  return {
    tpotSpread: spread === null ? tpotSpread : tpotSpread + weight * (spread - tpotSpread),
    tpotBias: tpotBias + weight * (biasOf(tpot, work?.decodeStepMeanMs ?? null) - tpotBias),
  };
}

/** ln of mean TPOT over the mean iteration: what it holds beyond iterations, the wait for a place in the batch. */
function biasOf(tpot: Histogram, stepMs: number | null): number {
  const mean = meanMs(tpot);
  if (mean === null || !(mean > 0) || stepMs === null || !(stepMs > 0)) return 0;
  return Math.min(1, Math.max(-0.5, Math.log(mean / stepMs)));
}

/** Standard deviation of ln TPOT by its median and its p90; null where the histogram cannot tell. */
function spreadOf(tpot: Histogram): number | null {
  const p90 = percentile(tpot, 0.9);
  const p50 = percentile(tpot, 0.5);
  if (p90 === null || p50 === null || p90.overflow || !(p50.ms > 0)) return null;
  return Math.min(1, Math.max(0.03, Math.log(p90.ms / p50.ms) / 1.2816));
}

/** How long what a change has left behind is given to drain. */
const SETTLING_S = 40;

/**
 * Requests after which half of an error of the waits is taken up, on an idle prefill; more the busier it is, since a
 * queue near saturation has good minutes and bad ones.
 */
const WAIT_DOUBT = 150;
/** No window moves it further: a factor of 1.35. Good and bad news weigh alike, or it would lean. */
const MOST_WAIT_STEP = 0.3;
/** Slopes below it tell nothing: share per unit of waitBias. */
const TELLING_SLOPE = 0.03;
const WAIT_PROBE = 0.2;

/**
 * How far to move waitBias so that the predicted share of first tokens within the bound nears the measured one; 0
 * while the queue does not settle, or is still what an older split or load has left behind.
 */
function waitStep(
  snapshot: Snapshot,
  latest: LatestSignal,
  memory: SearchMemory,
  demand: Demand,
  prior: SearchPrior,
): number {
  const { slo, current } = snapshot;
  const measured = latest.ttft === null ? null : okShare(latest.ttft, slo.ttft.boundMs);
  if (latest.ttft === null || measured === null) return 0;
  const view = viewOf(snapshot, memory, demand, prior);
  const state = operatingState(current.split, demand, view, { prefill: 1, decode: 1 });
  if (state.utilisation >= 1 || state.tpotMs.length > 1) return 0;
  const lastChangeMs = snapshot.lastChangeAtMs ?? -Infinity;
  const young = memory.demand.steadyS < SETTLING_S || (latest.toAtMs ?? 0) - lastChangeMs < SETTLING_S * 1000;
  if (young && backlogs(snapshot, demand)(state) > 0) return 0;

  const shareAt = (bias: number) => ttftShares(state, demand, slo, 0, Math.exp(bias))[0] ?? 0;
  const here = shareAt(memory.waitBias);
  const slope = (shareAt(memory.waitBias + WAIT_PROBE) - here) / WAIT_PROBE;
  // Where waits do not matter to the share, the share says nothing of them.
  const step = ((here - measured.share) * -slope) / (slope ** 2 + TELLING_SLOPE ** 2);
  const n = sampleCount(latest.ttft);
  const doubt = WAIT_DOUBT / Math.max(0.05, 1 - state.prefillBusy);
  const weighed = Math.max(-MOST_WAIT_STEP, Math.min(MOST_WAIT_STEP, (step * n) / (n + doubt)));
  const wanted = Math.max(-MOST_WAIT_BIAS, Math.min(MOST_WAIT_BIAS, memory.waitBias + weighed));
  return wanted - memory.waitBias;
}
