/** What a split promises: the operating state that it leads to and the share of requests within both bounds. */
import type { SearchPart, Snapshot, SearchPrior } from "../decision.js";
import { tpotShare, ttftShares } from "../model/attainment.js";
import type { Demand } from "../model/demand.js";
import { deviationOf, gradientOf } from "../model/kalman.js";
import type { Gaussian } from "../model/kalman.js";
import { operatingState } from "../model/operating-point.js";
import type { OperatingState, PlantView } from "../model/operating-point.js";
import { OF_DECODE, OF_PREFILL, decodeCost, phaseShares, prefillCost } from "../model/plant-params.js";
import type { SloTarget, Split } from "../nouns.js";
import type { SearchMemory } from "./search-memory.js";

/** Prompt tokens of an iteration and sequences of a batch where nothing tells: what vLLM and SGLang start with. */
const USUAL_BATCH_TOKENS = 4_096;
const USUAL_SEQUENCES = 512;

export interface Sketch {
  readonly split: Split;
  readonly share: number;
}

export interface Prospect {
  readonly split: Split;
  readonly state: OperatingState;
  /** Share of requests within both bounds at each point of the belief that is looked at, and their mean. */
  readonly shares: readonly number[];
  readonly share: number;
  /** Standard deviations of the logarithms of prefill's and decode's times, as the plant is believed. */
  readonly prefillDoubt: number;
  readonly decodeDoubt: number;
}

export function viewOf(
  snapshot: Snapshot,
  memory: SearchMemory,
  demand: Demand,
  prior: SearchPrior,
): PlantView {
  const kvTokens = snapshot.latest?.kv.totalTokens ?? null;
  const limit = snapshot.latest?.work?.maxSequences ?? USUAL_SEQUENCES;
  const inMemory = kvTokens === null ? limit : (0.95 * kvTokens) / demand.contextPerSequence;
  return {
    theta: memory.belief.mean,
    prior,
    maxBatchTokens: snapshot.latest?.work?.maxBatchTokens ?? USUAL_BATCH_TOKENS,
    sequencesNow: sequencesNow(snapshot),
    maxSequences: Math.max(1, Math.min(limit, inMemory)),
  };
}

function sequencesNow({ latest }: Snapshot): number | null {
  const running = latest?.queue.decodeRunning ?? null;
  return running === null ? null : running + (latest?.work?.decodeWaiting ?? 0);
}

/** What waits for prefill beyond what is usual there, in ms of its work. */
export function backlogs(snapshot: Snapshot, demand: Demand): (state: OperatingState) => number {
  const { latest, slo } = snapshot;
  const waiting = latest?.queue.prefillWaiting ?? 0;
  const tokens = latest?.work?.prefillWaitingTokens ?? waiting * demand.promptMean;
  return ({ prefill, waitMs }) => {
    const perBatch = Math.max(1, USUAL_BATCH_TOKENS / demand.promptMean);
    const squares = demand.promptMeanSq / demand.promptMean;
    const workMs =
      (waiting / perBatch) * prefill.constMs + tokens * (prefill.firstMs + prefill.secondMs * squares);
    const usualMs = 2 * waitMs + 0.3 * slo.ttft.boundMs;
    return Math.max(0, workMs - usualMs);
  };
}

export interface Ground {
  readonly memory: SearchMemory;
  readonly demand: Demand;
  readonly view: PlantView;
  readonly backlogMsOf: (state: OperatingState) => number;
  readonly slo: SloTarget;
  /** Parts that are left out: to measure what each is worth. */
  readonly without: readonly SearchPart[];
}

/**
 * Where a belief of two independent errors, prefill's and decode's, is looked at: the mean, and each error alone at
 * +-1.73 standard deviations (cubature of degree 3). Weights add up to 1.
 */
const DOUBT_POINTS: readonly (readonly [prefill: number, decode: number, weight: number])[] = [
  [0, 0, 1 / 3],
  [-1.732, 0, 1 / 6],
  [1.732, 0, 1 / 6],
  [0, -1.732, 1 / 6],
  [0, 1.732, 1 / 6],
];

/**
 * The errors of the belief are partly the same for all splits and cancel where splits are compared; scored in full
 * they held it back: half of them gained 0.5 points on conversation loads and cost none (docs/evaluation).
 */
const DOUBT_SCALE = 0.5;

export function prospectAt(split: Split, ground: Ground): Prospect {
  const { memory, demand, view } = ground;
  const state = operatingState(split, demand, view, { prefill: 1, decode: 1 });
  const doubt = doubtsOf(split, memory.belief, state, demand, view);
  const scale = ground.without.includes("doubt") ? 0 : DOUBT_SCALE;
  const prefillSd = scale * Math.hypot(doubt.prefill, demand.prefillDoubt);
  const decodeSd = scale * Math.hypot(doubt.decode, demand.decodeDoubt);
  const shares = DOUBT_POINTS.map(([ofPrefill, ofDecode]) => {
    if (ofPrefill === 0 && ofDecode === 0) return shareOf(state, ground);
    const slower = { prefill: Math.exp(ofPrefill * prefillSd), decode: Math.exp(ofDecode * decodeSd) };
    return shareOf(operatingState(split, demand, view, slower), ground);
  });
  return {
    split,
    state,
    shares,
    share: meanOf(shares),
    prefillDoubt: doubt.prefill,
    decodeDoubt: doubt.decode,
  };
}

/** Both phases a little slower than believed: of splits that look alike at the mean, this tells which is sound. */
const SKETCH_POINT = { prefill: 1.06, decode: 1.06 };
const SKETCH_ROUNDS = 2;

export function sketchAt(split: Split, ground: Ground): Sketch {
  const state = operatingState(split, ground.demand, ground.view, SKETCH_POINT, SKETCH_ROUNDS);
  return { split, share: shareOf(state, ground) };
}

/** The mean over what is believed possible. */
export function meanOf(shares: readonly number[]): number {
  let sum = 0;
  DOUBT_POINTS.forEach(([, , weight], i) => (sum += weight * (shares[i] ?? 0)));
  return sum;
}

/**
 * Of a split's score while it does not settle: what it promises once it has, and, if it never does, how slowly it
 * sinks. Under a backlog that no split can save in time, these still tell which one gets out of it first.
 */
const AFTERWARDS = 0.1;
const SINKING = 0.02;

/** Share of requests within both bounds in a state: the mean over the instants ahead; what is settled counts at each. */
function shareOf(state: OperatingState, ground: Ground): number {
  const { memory, slo, demand } = ground;
  const waitFactor = Math.exp(memory.waitBias);
  const factor = Math.exp(memory.tpotBias);
  const spread = Math.hypot(memory.tpotSpread, state.stepFluctuation);
  const within = (ms: number) => tpotShare(ms * factor, slo.tpot.boundMs, spread);
  const ttft = ttftShares(state, demand, slo, ground.backlogMsOf(state), waitFactor);
  const tpot = state.tpotMs.map(within);
  const instants = Math.max(ttft.length, tpot.length);
  let sum = 0;
  for (let i = 0; i < instants; i++) {
    sum += (ttft[ttft.length === 1 ? 0 : i] ?? 0) * (tpot[tpot.length === 1 ? 0 : i] ?? 0);
  }
  if (instants === 1) return sum;
  const later = ttftShares(state, demand, slo, 0, waitFactor);
  const settled = later.length === 1 ? (later[0] ?? 0) * within(state.stepMs) : 0;
  const sinking = SINKING / Math.max(1, state.utilisation);
  return (1 - AFTERWARDS - SINKING) * (sum / instants) + AFTERWARDS * settled + sinking;
}

/** How uncertain the times of both phases are at a split, the overlap of busy times held as it is there. */
function doubtsOf(
  split: Split,
  belief: Gaussian,
  state: OperatingState,
  demand: Demand,
  view: PlantView,
): { readonly prefill: number; readonly decode: number } {
  const decodeBusy = 1 - Math.exp(-state.sequences);
  const batchTokens = state.batch * demand.promptMean;
  const context = state.sequences * demand.contextPerSequence;
  const prefill = (theta: readonly number[]) => {
    const shares = phaseShares(split, theta);
    const alone = prefillCost(theta, view.prior.prefill, shares.prefillAlone, false);
    const beside = prefillCost(theta, view.prior.prefill, shares.prefillBeside, true);
    const ms = (cost: typeof alone) => cost.constMs + cost.firstMs * batchTokens;
    return -Math.log(decodeBusy / ms(beside) + (1 - decodeBusy) / ms(alone));
  };
  const decode = (theta: readonly number[]) => {
    const shares = phaseShares(split, theta);
    const alone = decodeCost(theta, view.prior.decode, shares.decodeAlone, false);
    const beside = decodeCost(theta, view.prior.decode, shares.decodeBeside, true);
    const ms = (cost: typeof alone) =>
      cost.constMs + cost.firstMs * state.sequences + cost.secondMs * context;
    return -Math.log(state.prefillBusy / ms(beside) + (1 - state.prefillBusy) / ms(alone));
  };
  return {
    prefill: deviationOf(belief, gradientOf(prefill, belief.mean, OF_PREFILL)),
    decode: deviationOf(belief, gradientOf(decode, belief.mean, OF_DECODE)),
  };
}
