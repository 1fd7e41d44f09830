/** The search policy's view of one instance: learns from the latest windows and says what a split promises. */
import type { LatestSignal, SearchPrior, Snapshot } from "../decision.js";
import { tpotShare, ttftShares } from "../model/attainment.js";
import { demandOf, noteDemand } from "../model/demand.js";
import type { Demand } from "../model/demand.js";
import { deviationOf, gradientOf } from "../model/kalman.js";
import type { Gaussian } from "../model/kalman.js";
import { operatingState } from "../model/operating-point.js";
import type { OperatingState, PlantView } from "../model/operating-point.js";
import { learnPlant } from "../model/plant-learning.js";
import { GENERIC_PRIOR, decodeCost, phaseShares, prefillCost } from "../model/plant-params.js";
import type { SloTarget, Split } from "../nouns.js";
import { meanMs, okShare, percentile, sampleCount } from "../signal/histogram.js";
import { MOST_WAIT_BIAS } from "./search-memory.js";
import type { SearchMemory } from "./search-memory.js";
import { correctionAt, corrected, noteTrial } from "./search-trials.js";
import type { Outcome } from "./search-trials.js";

/** Prompt tokens of an iteration and sequences of a batch where nothing tells: what vLLM and SGLang start with. */
const USUAL_BATCH_TOKENS = 4_096;
const USUAL_SEQUENCES = 512;

export interface Prospect {
  readonly split: Split;
  readonly state: OperatingState;
  /** Share of requests within both bounds: if the belief errs to the good side, not at all, to the bad; the mean. */
  readonly shares: readonly number[];
  readonly share: number;
  /** Standard deviations of the logarithms of prefill's and decode's times. */
  readonly prefillDoubt: number;
  readonly decodeDoubt: number;
}

export interface SearchModel {
  readonly memory: SearchMemory;
  readonly demand: Demand;
  readonly prospectOf: (split: Split) => Prospect;
}

/** Learns from the latest windows; null while nothing has ever arrived. */
export function searchModel(
  snapshot: Snapshot,
  remembered: SearchMemory,
  widest: Gaussian,
  given: SearchPrior | null,
): { readonly memory: SearchMemory; readonly model: SearchModel | null } {
  const prior = given ?? GENERIC_PRIOR;
  const { latest } = snapshot;
  const fresh = latest && latest.toAtMs !== null && latest.toAtMs > (remembered.learntToMs ?? -1);
  const memory = fresh ? learnFrom(snapshot, latest, remembered, widest, prior) : remembered;
  const demand = demandOf(memory.demand);
  if (demand === null) return { memory, model: null };
  const view = viewOf(snapshot, memory, demand, prior);
  const backlogMsOf = backlogs(snapshot, demand);
  const prospectOf = (split: Split) =>
    prospect(split, { memory, demand, view, backlogMsOf, slo: snapshot.slo });
  return { memory, model: { memory, demand, prospectOf } };
}

function viewOf(snapshot: Snapshot, memory: SearchMemory, demand: Demand, prior: SearchPrior): PlantView {
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
function backlogs(snapshot: Snapshot, demand: Demand): (state: OperatingState) => number {
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

interface Ground {
  readonly memory: SearchMemory;
  readonly demand: Demand;
  readonly view: PlantView;
  readonly backlogMsOf: (state: OperatingState) => number;
  readonly slo: SloTarget;
}

/** Three points of a normal distribution with their weights: mean and +-1.73 standard deviations. */
const DOUBT_POINTS: readonly (readonly [number, number])[] = [
  [-1.732, 1 / 6],
  [0, 2 / 3],
  [1.732, 1 / 6],
];

function prospect(split: Split, ground: Ground): Prospect {
  const raw = rawShares(split, ground);
  const correction = correctionAt(ground.memory.trials, split);
  const shares = raw.shares.map(({ both }) => corrected(both, correction.ttft + correction.tpot));
  return { ...raw, split, shares, share: meanOf(shares) };
}

/** The mean over what is believed possible. */
export function meanOf(shares: readonly number[]): number {
  let sum = 0;
  DOUBT_POINTS.forEach(([, weight], i) => (sum += weight * (shares[i] ?? 0)));
  return sum;
}

interface RawShares extends Pick<Prospect, "state" | "prefillDoubt" | "decodeDoubt"> {
  /** One for each of DOUBT_POINTS. */
  readonly shares: readonly Shares[];
}

function rawShares(split: Split, ground: Ground): RawShares {
  const { memory, demand, view } = ground;
  const state = operatingState(split, demand, view, { prefill: 1, decode: 1 });
  const doubt = doubtsOf(split, memory.belief, state, demand, view);
  const prefillDoubt = Math.hypot(doubt.prefill, demand.prefillDoubt);
  const decodeDoubt = Math.hypot(doubt.decode, demand.decodeDoubt);
  const shares = DOUBT_POINTS.map(([deviate]) => {
    // All errors on the same side at once: what is lost on the bad side is more than the good side gains.
    const slower = { prefill: Math.exp(deviate * prefillDoubt), decode: Math.exp(deviate * decodeDoubt) };
    const there = deviate === 0 ? state : operatingState(split, demand, view, slower);
    return sharesOf(there, demand, ground);
  });
  return { state, shares, prefillDoubt, decodeDoubt };
}

interface Shares {
  readonly ttft: number;
  readonly tpot: number;
  readonly both: number;
}

/** Means over the instants ahead; what is settled counts at each of them. */
function sharesOf(state: OperatingState, demand: Demand, ground: Ground): Shares {
  const { memory, slo } = ground;
  const ttft = ttftShares(state, demand, slo, ground.backlogMsOf(state), Math.exp(memory.waitBias));
  const factor = Math.exp(memory.tpotBias);
  const spread = Math.hypot(memory.tpotSpread, state.stepFluctuation);
  const tpot = state.tpotMs.map((ms) => tpotShare(ms * factor, slo.tpot.boundMs, spread));
  const instants = Math.max(ttft.length, tpot.length);
  const sums = { ttft: 0, tpot: 0, both: 0 };
  for (let i = 0; i < instants; i++) {
    const first = ttft[ttft.length === 1 ? 0 : i] ?? 0;
    const later = tpot[tpot.length === 1 ? 0 : i] ?? 0;
    sums.ttft += first / instants;
    sums.tpot += later / instants;
    sums.both += (first * later) / instants;
  }
  return sums;
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
    prefill: deviationOf(belief, gradientOf(prefill, belief.mean)),
    decode: deviationOf(belief, gradientOf(decode, belief.mean)),
  };
}

function learnFrom(
  snapshot: Snapshot,
  latest: LatestSignal,
  memory: SearchMemory,
  widest: Gaussian,
  prior: SearchPrior,
): SearchMemory {
  const demandMemory = noteDemand(memory.demand, latest);
  const demand = demandOf(demandMemory);
  const base = { ...memory, learntToMs: latest.toAtMs, demand: demandMemory };
  const settled = latest.generation === snapshot.current.generation && snapshot.rolloutGeneration === null;
  if (demand === null || !settled) {
    return { ...base, trials: noteTrial(memory.trials, snapshot.current.split, null, latest.durationMs) };
  }
  const { split } = snapshot.current;
  const belief = learnPlant(memory.belief, widest, prior, split, latest, demand);
  const learntS = memory.learntS + latest.durationMs / 1000;
  const learnt = { ...base, belief, learntS, ...tpotShape(memory, latest) };
  const outcome = outcomeOf(snapshot, latest, learnt, demand, prior);
  return {
    ...learnt,
    waitBias: outcome === null ? memory.waitBias : memory.waitBias + outcome.waitStep,
    trials: noteTrial(memory.trials, split, outcome, latest.durationMs),
  };
}

/** Samples of TPOT whose p90 over p50 is worth something. */
const ENOUGH_FOR_SPREAD = 12;

function tpotShape(
  memory: SearchMemory,
  latest: LatestSignal,
): Pick<SearchMemory, "tpotSpread" | "tpotBias"> {
  const { tpot } = latest;
  const samples = tpot === null ? 0 : sampleCount(tpot);
  const stepMs = latest.work?.decodeStepMeanMs ?? null;
  const mean = tpot === null ? null : meanMs(tpot);
  const before = { tpotSpread: memory.tpotSpread, tpotBias: memory.tpotBias };
  if (tpot === null || mean === null || samples < 1) return before;
  // Answers that waited for a place in a full batch tell of the queue, which is followed on its own.
  if ((latest.work?.decodeWaiting ?? 0) > 0.02 * (latest.queue.decodeRunning ?? Infinity)) return before;
  const weight = 1 - Math.exp(-samples / 100);
  // The bias is of what TPOT holds beyond iterations: the wait for a place in the batch.
  const bias = stepMs === null || !(stepMs > 0) || !(mean > 0) ? 0 : Math.log(mean / stepMs);
  const tpotBias = memory.tpotBias + weight * (Math.min(1, Math.max(-0.5, bias)) - memory.tpotBias);
  const p90 = percentile(tpot, 0.9);
  const p50 = percentile(tpot, 0.5);
  if (samples < ENOUGH_FOR_SPREAD || p90 === null || p50 === null || p90.overflow || !(p50.ms > 0)) {
    return { tpotSpread: memory.tpotSpread, tpotBias };
  }
  const spread = Math.min(1, Math.max(0.03, Math.log(p90.ms / p50.ms) / 1.2816));
  return { tpotSpread: memory.tpotSpread + weight * (spread - memory.tpotSpread), tpotBias };
}

/** What came of the split in the latest windows, against what the model says of it; null while it does not settle. */
function outcomeOf(
  snapshot: Snapshot,
  latest: LatestSignal,
  memory: SearchMemory,
  demand: Demand,
  prior: SearchPrior,
): (Outcome & { readonly waitStep: number }) | null {
  const { slo, current } = snapshot;
  const ttft = latest.ttft === null ? null : okShare(latest.ttft, slo.ttft.boundMs);
  const tpot = latest.tpot === null ? null : okShare(latest.tpot, slo.tpot.boundMs);
  if (latest.ttft === null || ttft === null || tpot === null) return null;
  const view = viewOf(snapshot, memory, demand, prior);
  const ground = { memory, demand, view, backlogMsOf: () => 0, slo };
  const raw = rawShares(current.split, ground);
  if (raw.state.utilisation >= 1 || raw.state.tpotMs.length > 1 || backlogs(snapshot, demand)(raw.state) > 0)
    return null;
  const n = sampleCount(latest.ttft);
  return {
    n,
    waitStep: waitStep(raw.state, ground, ttft.share, n),
    ttftShare: ttft.share,
    tpotShare: tpot.share,
    predictedTtftShare: meanOf(raw.shares.map((share) => share.ttft)),
    predictedTpotShare: meanOf(raw.shares.map((share) => share.tpot)),
  };
}

/** Requests after which half of an error of the waits is taken up: latencies of neighbours are not independent. */
const WAIT_DOUBT = 400;
const WAIT_PROBE = 0.2;

/** How far to move waitBias so that the predicted share of first tokens within the bound nears the measured one. */
function waitStep(state: OperatingState, ground: Ground, measured: number, n: number): number {
  const { demand, slo, memory } = ground;
  const shareAt = (bias: number) => ttftShares(state, demand, slo, 0, Math.exp(bias))[0] ?? 0;
  const here = shareAt(memory.waitBias);
  const slope = (shareAt(memory.waitBias + WAIT_PROBE) - here) / WAIT_PROBE;
  // Where waits do not matter to the share, the share says nothing of them.
  const step = ((here - measured) * -slope) / (slope ** 2 + 0.03 ** 2);
  const weighed = (Math.max(-0.5, Math.min(0.5, step)) * n) / (n + WAIT_DOUBT);
  const wanted = Math.max(-MOST_WAIT_BIAS, Math.min(MOST_WAIT_BIAS, memory.waitBias + weighed));
  return wanted - memory.waitBias;
}
