/** What a split promises: the operating state that it leads to and the share of requests within both bounds. */
import type { SearchPart, Snapshot, SearchPrior } from "../decision.js";
import { tpotShare, ttftShares } from "../model/attainment.js";
import type { Demand } from "../model/demand.js";
import { deviationOf, gradientOf } from "../model/kalman.js";
import type { Gaussian } from "../model/kalman.js";
import { operatingState } from "../model/operating-point.js";
import type { OperatingState, PlantView } from "../model/operating-point.js";
import {
  OF_DECODE,
  OF_PREFILL,
  costOfSize,
  decodeCost,
  phaseShares,
  prefillCost,
} from "../model/plant-params.js";
import type { SizedCost } from "../model/plant-params.js";
import type { PromptClass } from "../model/prompts.js";
import type { Split } from "../nouns.js";
import type { NamedPromise } from "../signal/classes.js";
import type { SearchMemory } from "./search-memory.js";

/** Prompt tokens of an iteration and sequences of a batch where nothing tells: what vLLM and SGLang start with. */
export const USUAL_BATCH_TOKENS = 4_096;
export const USUAL_SEQUENCES = 512;

export interface Sketch {
  readonly split: Split;
  /** The share of requests within both bounds and what decides where that is alike: see scoreOf. */
  readonly score: number;
  /** Where the SLO has classes: how far each promise is kept, in order; see promiseOf. */
  readonly kept: readonly number[];
}

export interface Prospect extends Sketch {
  readonly state: OperatingState;
  /** At each point of the belief that is looked at; `score` is their mean. */
  readonly scores: readonly number[];
  /** Where the SLO has classes: of each promise the same; `kept` are their means. */
  readonly ofClasses: readonly OfClass[];
  /** Share of requests that is expected within both bounds, and of those whose first token comes in time. */
  readonly share: number;
  readonly inTime: number;
  /** Standard deviations of the logarithms of prefill's and decode's times, as the plant is believed. */
  readonly prefillDoubt: number;
  readonly decodeDoubt: number;
}

/** What a split promises the requests of one class. */
export interface OfClass {
  readonly share: number;
  /** How far the promise is kept, at each point of the belief. */
  readonly kept: readonly number[];
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
  const { latest } = snapshot;
  const waiting = latest?.queue.prefillWaiting ?? 0;
  const tokens = latest?.work?.prefillWaitingTokens ?? waiting * demand.promptMean;
  return ({ prefill, waitMs }) => {
    const perBatch = Math.max(1, USUAL_BATCH_TOKENS / demand.promptMean);
    const squares = demand.promptMeanSq / demand.promptMean;
    const workMs =
      (waiting / perBatch) * prefill.constMs + tokens * (prefill.firstMs + prefill.secondMs * squares);
    return Math.max(0, workMs - waitMs);
  };
}

export interface Ground {
  readonly memory: SearchMemory;
  readonly demand: Demand;
  readonly view: PlantView;
  readonly backlogMsOf: (state: OperatingState) => number;
  /** The SLO's own promise, held against all requests. */
  readonly slo: Asked;
  /** Where the SLO has classes: what is promised in the order in which it is kept, the SLO's own first; else none. */
  readonly promises: readonly Asked[];
  /** Parts that are left out: to measure what each is worth. */
  readonly without: readonly SearchPart[];
}

/** A promise with the prompts of its requests; null: they are not told apart, and all count; none: no such request comes. */
export interface Asked extends NamedPromise {
  readonly prompts: readonly PromptClass[] | null;
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

/** A factor of 20 either way: nothing is known. */
const MOST_DOUBT = 3;

const AS_BELIEVED = { prefill: 1, decode: 1 };

export function prospectAt(split: Split, ground: Ground): Prospect {
  const { memory, demand, view } = ground;
  const state = operatingState(split, demand, view, AS_BELIEVED);
  const doubt = doubtsOf(split, memory.belief, state, demand, view);
  const scale = ground.without.includes("doubt") ? 0 : DOUBT_SCALE;
  const prefillSd = scale * Math.min(MOST_DOUBT, Math.hypot(doubt.prefill, demand.prefillDoubt));
  const decodeSd = scale * Math.min(MOST_DOUBT, Math.hypot(doubt.decode, demand.decodeDoubt));
  const states = DOUBT_POINTS.map(([ofPrefill, ofDecode]) => {
    if (ofPrefill === 0 && ofDecode === 0) return state;
    const slower = { prefill: Math.exp(ofPrefill * prefillSd), decode: Math.exp(ofDecode * decodeSd) };
    return operatingState(split, demand, view, slower);
  });
  const promises = states.map((each) => promiseOf(each, ground, ground.slo));
  const scores = promises.map((promise) => promise.score);
  const ofClasses = classesAt(states, ground);
  return {
    split,
    state,
    scores,
    ofClasses,
    kept: ofClasses.map(({ kept }) => meanOf(kept)),
    score: meanOf(scores),
    share: meanOf(promises.map((promise) => promise.share)),
    inTime: meanOf(promises.map((promise) => promise.inTime)),
    prefillDoubt: doubt.prefill,
    decodeDoubt: doubt.decode,
  };
}

const SKETCH_ROUNDS = 2;

export function sketchAt(split: Split, ground: Ground): Sketch {
  const state = operatingState(split, ground.demand, ground.view, AS_BELIEVED, SKETCH_ROUNDS);
  const { score } = promiseOf(state, ground, ground.slo);
  const kept = ground.promises.map((asked) => promiseOf(state, ground, asked).kept);
  return { split, score, kept };
}

function classesAt(states: readonly OperatingState[], ground: Ground): readonly OfClass[] {
  return ground.promises.map((asked) => {
    const found = states.map((state) => promiseOf(state, ground, asked));
    return {
      share: meanOf(found.map(({ share }) => share)),
      kept: found.map(({ kept }) => kept),
    };
  });
}

/** The mean over what is believed possible. */
export function meanOf(values: readonly number[]): number {
  let sum = 0;
  DOUBT_POINTS.forEach(([, , weight], i) => (sum += weight * (values[i] ?? 0)));
  return sum;
}

/**
 * Of a split's score while it does not settle: what it promises once it has, and how far it is from that. Under a
 * load or a backlog that no split can serve in time, these still tell which one gets out of it first.
 */
const AFTERWARDS = 0.1;
const NEARNESS = 0.08;

interface Promised {
  readonly share: number;
  readonly inTime: number;
  readonly score: number;
  /** As `score`, but a promise that is kept asks for no more: shares count up to the one that was promised, as 1. */
  readonly kept: number;
}

const NOBODY_ASKS: Promised = { share: 1, inTime: 1, score: 1, kept: 1 };

/** In a state: the mean over the instants ahead; what is settled counts at each. */
function promiseOf(state: OperatingState, ground: Ground, slo: Asked): Promised {
  if (slo.prompts?.length === 0) return NOBODY_ASKS;
  const { memory, demand } = ground;
  const own = slo.prompts ?? undefined;
  const waitFactor = Math.exp(memory.waitBias);
  const factor = Math.exp(memory.tpotBias);
  const spread = Math.hypot(memory.tpotSpread, state.stepFluctuation);
  const within = (ms: number) => tpotShare(ms * factor, slo.tpot.boundMs, spread);
  const ttft = ttftShares(state, demand, slo, ground.backlogMsOf(state), waitFactor, own);
  const tpot = state.tpotMs.map(within);
  const instants = Math.max(ttft.length, tpot.length);
  let sum = 0;
  for (let i = 0; i < instants; i++) {
    sum += (ttft[ttft.length === 1 ? 0 : i] ?? 0) * (tpot[tpot.length === 1 ? 0 : i] ?? 0);
  }
  const share = sum / instants;
  const inTime = ttft.reduce((total, part) => total + part, 0) / ttft.length;
  const ofBound = Math.min(1, slo.tpot.boundMs / (state.stepMs * factor));
  const nearness = ofBound ** 2 / Math.max(1, state.utilisation);
  // Where hardly a request makes it, as under a bound that no split keeps, a queue that settles is worth no less than one
  // that does not.
  const capped = (reached: number) => Math.min(1, reached / slo.attainmentShare);
  if (instants === 1) {
    const scoreOf = (reached: number) => reached + NEARNESS * nearness * (1 - reached) ** 4;
    return { share, inTime, score: scoreOf(share), kept: scoreOf(capped(share)) };
  }
  const later = ttftShares(state, demand, slo, 0, waitFactor, own);
  const settled = later.length === 1 ? (later[0] ?? 0) * within(state.stepMs) : 0;
  const scoreOf = (reached: number, then: number) =>
    (1 - AFTERWARDS - NEARNESS) * reached + AFTERWARDS * then + NEARNESS * nearness;
  return { share, inTime, score: scoreOf(share, settled), kept: scoreOf(capped(share), capped(settled)) };
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
    const ms = (costs: SizedCost) => {
      const cost = costOfSize(costs, batchTokens);
      return cost.constMs + cost.firstMs * batchTokens;
    };
    return -Math.log(decodeBusy / ms(beside) + (1 - decodeBusy) / ms(alone));
  };
  const decode = (theta: readonly number[]) => {
    const shares = phaseShares(split, theta);
    const alone = decodeCost(theta, view.prior.decode, shares.decodeAlone, false);
    const beside = decodeCost(theta, view.prior.decode, shares.decodeBeside, true);
    const ms = (costs: SizedCost) => {
      const cost = costOfSize(costs, state.sequences);
      return cost.constMs + cost.firstMs * state.sequences + cost.secondMs * context;
    };
    return -Math.log(state.prefillBusy / ms(beside) + (1 - state.prefillBusy) / ms(alone));
  };
  return {
    prefill: deviationOf(belief, gradientOf(prefill, belief.mean, OF_PREFILL)),
    decode: deviationOf(belief, gradientOf(decode, belief.mean, OF_DECODE)),
  };
}
