/**
 * Where an instance settles under a split at a load: how busy prefill is, how large its batches and how long the
 * wait, how many sequences decode carries and how long an iteration takes. Both depend on each other through the
 * overlap, so a few rounds of substitution are taken.
 */
import type { SearchPrior } from "../decision.js";
import type { Split } from "../nouns.js";
import type { Demand } from "./demand.js";
import { costOfSize, decodeCost, phaseShares, prefillCost } from "./plant-params.js";
import type { SizedCost, StepCost } from "./plant-params.js";

export interface OperatingState {
  /** Offered prefill work over what the share can do; 1 and more never settles. */
  readonly utilisation: number;
  readonly prefillBusy: number;
  /** Of one prefill iteration, in the mean over the time beside decode and alone. */
  readonly prefill: StepCost;
  /** Requests per prefill iteration. */
  readonly batch: number;
  /** Mean time that an arrival waits for others' iterations, given that it must wait and that a queue forms; ms. */
  readonly waitMs: number;
  /** How far the token budget makes a queue form: 0, all that waits goes into the next iteration; 1, M/G/1. */
  readonly queueing: number;
  /** Mean decode iteration, ms, and sequences in it, where the batch settles. */
  readonly stepMs: number;
  readonly sequences: number;
  /** Standard deviation of ln of the iteration as the batch comes and goes. */
  readonly stepFluctuation: number;
  /** Time per output token at each of INSTANTS_MS, the wait for a place in the batch included; one: it is settled. */
  readonly tpotMs: readonly number[];
}

/** Instants ahead at which a load that has not settled is looked at: dense where they can still be mended. */
export const INSTANTS_MS: readonly number[] = [5_000, 20_000, 60_000, 120_000, 240_000];

export interface PlantView {
  readonly theta: readonly number[];
  readonly prior: SearchPrior;
  /** Greatest number of prompt tokens in an iteration, and of sequences in the decode batch. */
  readonly maxBatchTokens: number;
  readonly maxSequences: number;
  /** Sequences that decode carries now; null: not told. */
  readonly sequencesNow: number | null;
  /** False: a batch that does not settle is not followed ahead but counts as settled. */
  readonly followed?: boolean;
}

const ROUNDS = 3;

/** How much longer than believed each phase's iterations take: to see what an error of the belief would do. */
export interface Slower {
  readonly prefill: number;
  readonly decode: number;
}

export function operatingState(
  split: Split,
  demand: Demand,
  plant: PlantView,
  slower: Slower,
  rounds = ROUNDS,
): OperatingState {
  const { theta, prior } = plant;
  const shares = phaseShares(split, theta);
  const prefillAlone = times(prefillCost(theta, prior.prefill, shares.prefillAlone, false), slower.prefill);
  const prefillBeside = times(prefillCost(theta, prior.prefill, shares.prefillBeside, true), slower.prefill);
  const decodeAlone = times(decodeCost(theta, prior.decode, shares.decodeAlone, false), slower.decode);
  const decodeBeside = times(decodeCost(theta, prior.decode, shares.decodeBeside, true), slower.decode);
  let prefillCosts = prefillBeside;
  let decodeCosts = decodeBeside;
  let prefill = settlePrefill(prefillCosts, demand, plant, 1);
  let decode = settleDecode(decodeCosts, demand, prefill.throughputPerS, plant, 1);
  for (let round = 0; round < rounds; round++) {
    // Sequences come and go as in M/G/infinity: the batch is empty e^-n of the time.
    const decodeBusy = round === 0 ? 1 : 1 - Math.exp(-decode.sequences);
    prefillCosts = mixed(prefillAlone, prefillBeside, decodeBusy);
    prefill = settlePrefill(prefillCosts, demand, plant, prefill.batch);
    decodeCosts = mixed(decodeAlone, decodeBeside, prefill.busy);
    decode = settleDecode(decodeCosts, demand, prefill.throughputPerS, plant, decode.sequences);
  }
  return {
    utilisation: prefill.utilisation,
    prefillBusy: prefill.busy,
    prefill: prefill.cost,
    batch: prefill.batch,
    waitMs: prefill.waitMs,
    queueing: prefill.queueing,
    stepMs: decode.stepMs,
    sequences: decode.sequences,
    stepFluctuation: decode.fluctuation,
    tpotMs: tpotPath(decodeCosts, demand, prefill.throughputPerS, decode, plant),
  };
}

function times(costs: SizedCost, factor: number): SizedCost {
  if (factor === 1) return costs;
  const longer = ({ constMs, firstMs, secondMs }: StepCost) => ({
    constMs: constMs * factor,
    firstMs: firstMs * factor,
    secondMs: secondMs * factor,
  });
  return { ...costs, small: longer(costs.small), large: longer(costs.large) };
}

/** Costs when a part of the time runs at the one speed and the rest at the other: speeds add up, not times. */
function mixed(alone: SizedCost, beside: SizedCost, besideShare: number): SizedCost {
  const mix = (a: number, b: number) =>
    a > 0 && b > 0 ? 1 / (besideShare / b + (1 - besideShare) / a) : besideShare * b + (1 - besideShare) * a;
  const mixCost = (a: StepCost, b: StepCost) => ({
    constMs: mix(a.constMs, b.constMs),
    firstMs: mix(a.firstMs, b.firstMs),
    secondMs: mix(a.secondMs, b.secondMs),
  });
  return {
    ...alone,
    small: mixCost(alone.small, beside.small),
    large: mixCost(alone.large, beside.large),
  };
}

interface PrefillState {
  readonly cost: StepCost;
  readonly utilisation: number;
  readonly busy: number;
  readonly batch: number;
  readonly waitMs: number;
  readonly queueing: number;
  readonly throughputPerS: number;
}

/**
 * A batch server that takes all that waits, up to the token budget. While the budget does not bind, an arrival
 * waits for the rest of the iteration under way and no longer; where a prompt fills it, the queue is M/G/1
 * (Pollaczek-Khinchine). In between the two waits are mixed.
 */
function settlePrefill(costs: SizedCost, demand: Demand, plant: PlantView, startBatch: number): PrefillState {
  const perMs = demand.ratePerS / 1000;
  const mean = demand.promptMean;
  const mostBatch = Math.max(1, plant.maxBatchTokens / mean);
  let batch = startBatch;
  let cost = costOfSize(costs, batch * mean);
  let own = ownMs(cost, demand);
  for (let round = 0; round < 3; round++) {
    const arriving = perMs * (cost.constMs + batch * own);
    batch = Math.min(mostBatch, arriving + Math.exp(-arriving));
    cost = costOfSize(costs, batch * mean);
    own = ownMs(cost, demand);
  }
  const stepMs = cost.constMs + batch * own;
  const utilisation = perMs * (cost.constMs / mostBatch + own);
  const busy = Math.min(1, (perMs * stepMs) / batch);
  const spread = Math.max(0, demand.promptMeanSq / mean ** 2 - 1);
  const effective = cost.constMs / batch + own;
  const square = effective ** 2 + spread * own ** 2;
  const load = Math.min(0.999, perMs * effective);
  const queueMs = square / (2 * effective) / (1 - load);
  // What counts is the prompt that an arrival is likely to meet: longer than the mean one by m2/m1^2.
  const fitting = Math.max(1, (plant.maxBatchTokens * mean) / demand.promptMeanSq);
  const queueing = Math.min(1, Math.max(0, (batch / fitting - 0.3) / 0.7));
  return {
    cost,
    utilisation,
    busy: utilisation >= 1 ? 1 : busy,
    batch,
    waitMs: queueMs,
    queueing,
    throughputPerS: utilisation >= 1 ? demand.ratePerS / utilisation : demand.ratePerS,
  };
}

/** Of one mean prompt in an iteration. */
function ownMs(cost: StepCost, demand: Demand): number {
  return cost.firstMs * demand.promptMean + cost.secondMs * demand.promptMeanSq;
}

interface DecodeState {
  readonly stepMs: number;
  readonly sequences: number;
  readonly fluctuation: number;
}

function settleDecode(
  costs: SizedCost,
  demand: Demand,
  perS: number,
  plant: PlantView,
  startSequences: number,
): DecodeState {
  const tokensPerMs = (perS * answerOf(demand)) / 1000;
  let sequences = Math.min(plant.maxSequences, startSequences);
  let slack = 1;
  let stepMs = 0;
  for (let round = 0; round < 3; round++) {
    const cost = costOfSize(costs, sequences);
    const eachMs = perSequenceMs(cost, demand);
    slack = 1 - tokensPerMs * eachMs;
    // Little's law: n = tokens per ms * iteration, the iteration growing with n.
    sequences = Math.min(plant.maxSequences, slack > 0 ? (tokensPerMs * cost.constMs) / slack : Infinity);
    stepMs = cost.constMs + eachMs * sequences;
  }
  const perSequence = perSequenceMs(costOfSize(costs, sequences), demand);
  // The batch scatters like a Poisson number, wider by 1/slack since a longer iteration keeps all of it longer.
  // An answer sees the mean over its life, which is about as long as the batch takes to change: 0.6 of it is left.
  const scatter = 0.6 * Math.sqrt(sequences / Math.max(0.05, slack));
  return { stepMs, sequences, fluctuation: Math.min(0.5, (perSequence * scatter) / stepMs) };
}

function perSequenceMs(cost: StepCost, demand: Demand): number {
  return cost.firstMs + cost.secondMs * demand.contextPerSequence;
}

/** Tokens of an answer that decode makes: the first is prefill's. */
function answerOf(demand: Demand): number {
  return Math.max(0.001, demand.outputMean - 1);
}

/** A batch that fills more than this of its limit is not called settled. */
const NEARLY_FULL = 0.8;
const LONGEST_STRIDE_MS = 15_000;

/**
 * Near saturation a batch grows for minutes, and past its limit sequences wait for a place: what counts is where
 * the batch will be. Followed by implicit Euler steps, which stay stable for short answers too.
 */
function tpotPath(
  costs: SizedCost,
  demand: Demand,
  perS: number,
  settled: DecodeState,
  plant: PlantView,
): readonly number[] {
  const { maxSequences: most, sequencesNow: now } = plant;
  const calm = settled.sequences < NEARLY_FULL * most && (now === null || now <= 1.2 * settled.sequences + 4);
  if (calm || plant.followed === false) return [settled.stepMs];
  const answer = answerOf(demand);
  const stepMsOf = (running: number) => {
    const cost = costOfSize(costs, running);
    return cost.constMs + perSequenceMs(cost, demand) * running;
  };
  let inSystem = now ?? settled.sequences;
  let atMs = 0;
  return INSTANTS_MS.map((untilMs) => {
    const strides = Math.ceil((untilMs - atMs) / LONGEST_STRIDE_MS);
    const strideMs = (untilMs - atMs) / strides;
    for (let i = 0; i < strides; i++) {
      const running = Math.min(most, inSystem);
      // Each sequence in the system leaves at this rate; those that wait slow all down.
      const leavingPerMs = running / Math.max(inSystem, 1e-9) / (answer * stepMsOf(running));
      inSystem = (inSystem + (perS / 1000) * strideMs) / (1 + leavingPerMs * strideMs);
    }
    atMs = untilMs;
    const running = Math.min(most, inSystem);
    return stepMsOf(running) * Math.max(1, inSystem / most);
  });
}
