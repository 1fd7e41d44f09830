/** What a window teaches of the plant: iteration times and, where caps overlap, who got how much of the GPU. */
import type { LatestSignal, SearchPrior } from "../decision.js";
import type { Split } from "../nouns.js";
import { meanMs, sampleCount } from "../signal/histogram.js";
import type { Demand } from "./demand.js";
import type { Gaussian } from "./kalman.js";
import { gradientOf, update, widen } from "./kalman.js";
import { operatingState } from "./operating-point.js";
import {
  DRIFT_PER_S,
  GREATEST,
  LEAST,
  costOfSize,
  decodeCost,
  phaseShares,
  prefillCost,
} from "./plant-params.js";
import type { SizedCost } from "./plant-params.js";

/** A quantity of the plant as a function of its numbers, what was measured of it, and how exactly. */
interface Lesson {
  readonly predict: (theta: readonly number[]) => number;
  readonly measured: number;
  readonly sd: number;
}

/**
 * The belief after a window that ran wholly under `split`. A window that tells nothing only lets the belief age.
 * `widest` is the prior: nobody becomes less certain than he started.
 */
export function learnPlant(
  belief: Gaussian,
  widest: Gaussian,
  prior: SearchPrior,
  split: Split,
  latest: LatestSignal,
  demand: Demand,
): Gaussian {
  const seconds = latest.durationMs / 1000;
  const drift = DRIFT_PER_S.map((variance) => variance * seconds);
  let now = widen(belief, drift, widest, LEAST, GREATEST);
  for (const lesson of lessonsOf(prior, split, latest, demand)) {
    const predicted = lesson.predict(now.mean);
    if (!Number.isFinite(predicted) || !Number.isFinite(lesson.measured)) continue;
    const gradient = gradientOf(lesson.predict, now.mean);
    now = update(now, { innovation: lesson.measured - predicted, sd: lesson.sd, gradient });
  }
  return widen(now, [], widest, LEAST, GREATEST);
}

function lessonsOf(prior: SearchPrior, split: Split, latest: LatestSignal, demand: Demand): Lesson[] {
  const beside = besideShares(latest);
  return [
    prefillLesson(prior, split, latest, demand, beside.prefill) ??
      firstTokenLesson(prior, split, latest, demand),
    decodeLesson(prior, split, latest, demand, beside.decode),
    ...overlapLessons(split, latest),
  ].filter((lesson) => lesson !== null);
}

/** Share of each phase's busy time in which the other ran too. Unknown: the other's own busy share. */
function besideShares(latest: LatestSignal): { readonly prefill: number; readonly decode: number } {
  const { prefillShare, decodeShare } = latest.busy;
  const overlap = latest.work?.overlapShare ?? null;
  const part = (busy: number | null, other: number | null) => {
    if (overlap !== null && busy !== null && busy > 0.01) return Math.min(1, overlap / busy);
    return Math.min(1, other ?? 1);
  };
  return { prefill: part(prefillShare, decodeShare), decode: part(decodeShare, prefillShare) };
}

/** ln of the milliseconds that prefill was busy with the batches and tokens that it computed. */
function prefillLesson(
  prior: SearchPrior,
  split: Split,
  latest: LatestSignal,
  demand: Demand,
  beside: number,
): Lesson | null {
  const busyShare = latest.busy.prefillShare;
  const batches = latest.work?.prefillBatches ?? null;
  const tokens = latest.work?.prefillTokens ?? latest.promptTokens;
  if (busyShare === null || !(busyShare > 0.005) || !(tokens > 0)) return null;
  const busyMs = busyShare * latest.durationMs;
  const iterations = batches ?? Math.max(1, latest.ttft === null ? 1 : sampleCount(latest.ttft));
  if (iterations < 2) return null;
  const squares = (tokens * demand.promptMeanSq) / demand.promptMean;
  const workMs = (costs: SizedCost) => {
    const cost = costOfSize(costs, tokens / iterations);
    return iterations * cost.constMs + tokens * cost.firstMs + squares * cost.secondMs;
  };
  const predict = (theta: readonly number[]) => {
    const shares = phaseShares(split, theta);
    const alone = workMs(prefillCost(theta, prior.prefill, shares.prefillAlone, false));
    const both = workMs(prefillCost(theta, prior.prefill, shares.prefillBeside, true));
    return -Math.log(beside / both + (1 - beside) / alone);
  };
  const sd = Math.hypot(batches === null ? 0.25 : 0.05, 0.3 / Math.sqrt(iterations));
  return { predict, measured: Math.log(busyMs), sd };
}

/** First tokens of which a window's mean is worth something. */
const ENOUGH_FIRST_TOKENS = 5;

/**
 * ln of the mean TTFT, where the engine does not say how long prefill was busy: its own iteration and the wait, by
 * the operating state. Rough, since waits scatter; half a backlog's worth of error is taken as usual.
 */
function firstTokenLesson(
  prior: SearchPrior,
  split: Split,
  latest: LatestSignal,
  demand: Demand,
): Lesson | null {
  const { ttft, busy, queue } = latest;
  if (busy.prefillShare !== null || ttft === null || sampleCount(ttft) < ENOUGH_FIRST_TOKENS) return null;
  const mean = meanMs(ttft);
  if (mean === null || !(mean > 0)) return null;
  const predict = (theta: readonly number[]) => {
    const plant = { theta, prior, ...UNTOLD, sequencesNow: queue.decodeRunning };
    const state = operatingState(split, demand, plant, { prefill: 1, decode: 1 });
    const { prefill, batch, prefillBusy, queueing, waitMs } = state;
    const own = prefill.firstMs * demand.promptMean + prefill.secondMs * demand.promptMeanSq;
    const stepMs = prefill.constMs + batch * own;
    const wait = prefillBusy * (queueing * Math.min(waitMs, 20 * stepMs) + (1 - queueing) * (stepMs / 2));
    return Math.log(stepMs + wait);
  };
  return { predict, measured: Math.log(mean), sd: 0.4 };
}

/** Limits of an engine that tells none: what vLLM and SGLang start with. */
const UNTOLD = { maxBatchTokens: 4_096, maxSequences: 512, followed: false };

/** ln of the mean decode iteration; without iterations told, of the mean TPOT. */
function decodeLesson(
  prior: SearchPrior,
  split: Split,
  latest: LatestSignal,
  demand: Demand,
  beside: number,
): Lesson | null {
  const { work } = latest;
  const told = work?.decodeStepMeanMs ?? null;
  const tpotMs = latest.tpot === null ? null : meanMs(latest.tpot);
  const stepMs = told ?? tpotMs;
  const sequences = work?.decodeBatchMean ?? latest.queue.decodeRunning;
  if (stepMs === null || !(stepMs > 0) || sequences === null || !(sequences > 0)) return null;
  const context = work?.decodeContextMean ?? sequences * demand.contextPerSequence;
  const steps = work?.decodeSteps ?? 30;
  const iterationMs = (costs: SizedCost) => {
    const cost = costOfSize(costs, sequences);
    return cost.constMs + sequences * cost.firstMs + context * cost.secondMs;
  };
  const predict = (theta: readonly number[]) => {
    const shares = phaseShares(split, theta);
    const alone = iterationMs(decodeCost(theta, prior.decode, shares.decodeAlone, false));
    const both = iterationMs(decodeCost(theta, prior.decode, shares.decodeBeside, true));
    return -Math.log(beside / both + (1 - beside) / alone);
  };
  const sd = Math.hypot(told === null ? 0.35 : 0.03, 0.3 / Math.sqrt(Math.max(1, steps)));
  return { predict, measured: Math.log(stepMs), sd };
}

/** Overlap below this much of a window tells too little of who got what. */
const LEAST_OVERLAP = 0.03;

/**
 * What each phase had of the GPU while both ran: its share over the window less what it had alone, over the
 * overlap. Two such shares that add up to more than the whole GPU were measured in another way: they are let go.
 */
function overlapLessons(split: Split, latest: LatestSignal): Lesson[] {
  const { prefillGpuShare, decodeGpuShare, overlapShare } = latest.work ?? {};
  const { prefillShare, decodeShare } = latest.busy;
  if (split.prefillSmPct + split.decodeSmPct <= 100) return [];
  if (typeof prefillGpuShare !== "number" || typeof decodeGpuShare !== "number") return [];
  if (typeof overlapShare !== "number" || overlapShare < LEAST_OVERLAP) return [];
  if (prefillShare === null || decodeShare === null) return [];
  const besideOf = (gpu: number, busy: number, cap: number) =>
    (gpu - Math.max(0, busy - overlapShare) * (cap / 100)) / overlapShare;
  const prefill = besideOf(prefillGpuShare, prefillShare, split.prefillSmPct);
  const decode = besideOf(decodeGpuShare, decodeShare, split.decodeSmPct);
  if (!(prefill > 0) || !(decode > 0) || prefill + decode > 1.15) return [];
  // A share is fixed when an iteration starts: a few long iterations that began alone blur it.
  const sd = Math.hypot(0.03, 0.02 / overlapShare / Math.sqrt(Math.max(1, latest.durationMs / 1000)));
  return [
    { predict: (theta) => phaseShares(split, theta).prefillBeside, measured: prefill, sd },
    { predict: (theta) => phaseShares(split, theta).decodeBeside, measured: decode, sd },
  ];
}
