import { describe, expect, test } from "vitest";
import type { LatestSignal } from "../decision.js";
import { SAMPLE_NOW_MS, histogramAt } from "../fixtures.js";
import type { Split } from "../nouns.js";
import { NO_WORK, latestOf, uniformOf } from "../search-fixtures.js";
import type { Demand } from "./demand.js";
import type { Gaussian } from "./kalman.js";
import { deviationOf } from "./kalman.js";
import { learnPlant } from "./plant-learning.js";
import {
  DECODE_CONST,
  DECODE_SEQUENCE,
  GENERIC_PRIOR,
  GREATEST,
  LEAST,
  OVERLAP_POWER,
  OVERLAP_SHARED,
  OVERLAP_WEIGHT,
  PREFILL_CONST,
  PREFILL_TOKEN,
  costOfSize,
  decodeCost,
  phaseShares,
  prefillCost,
  priorBelief,
} from "./plant-params.js";
import type { SizedCost } from "./plant-params.js";

const PROMPT = 600;
const demand: Demand = {
  ratePerS: 5,
  drifting: 0,
  promptMean: PROMPT,
  promptMeanSq: 2 * PROMPT ** 2,
  prompts: [],
  outputMean: 200,
  contextPerSequence: PROMPT + 100,
  prefillDoubt: 0,
  decodeDoubt: 0,
};
const WINDOW_MS = 5_000;
const OPEN = { prefillSmPct: 100, decodeSmPct: 100 };

interface Batch {
  readonly requests: number;
  readonly sequences: number;
}

function workMs(costs: SizedCost, { requests }: Batch): number {
  const cost = costOfSize(costs, PROMPT);
  const tokens = requests * PROMPT;
  return requests * cost.constMs + tokens * cost.firstMs + 2 * tokens * PROMPT * cost.secondMs;
}

function iterationMs(costs: SizedCost, { sequences }: Batch): number {
  const cost = costOfSize(costs, sequences);
  return cost.constMs + sequences * (cost.firstMs + demand.contextPerSequence * cost.secondMs);
}

/** Times of a plant: prefill's work beside decode, and decode's iteration alone and beside prefill. */
function timesOf(theta: readonly number[], split: Split, batch: Batch) {
  const shares = phaseShares(split, theta);
  const decode = (share: number, beside: boolean) =>
    iterationMs(decodeCost(theta, GENERIC_PRIOR.decode, share, beside), batch);
  return {
    shares,
    prefillMs: workMs(prefillCost(theta, GENERIC_PRIOR.prefill, shares.prefillBeside, true), batch),
    aloneMs: decode(shares.decodeAlone, false),
    besideMs: decode(shares.decodeBeside, true),
  };
}

/** A window of a plant that is `theta`, decode never idle; every time is off by up to `noise`. */
function windowOf(theta: readonly number[], split: Split, asked: Batch, noise: () => number): LatestSignal {
  // A slow plant prefills what it can in the window: the rest waits.
  const perRequestMs = timesOf(theta, split, asked).prefillMs / asked.requests;
  const requests = Math.max(1, Math.min(asked.requests, Math.floor((0.9 * WINDOW_MS) / perRequestMs)));
  const batch = { ...asked, requests };
  const { shares, prefillMs, aloneMs, besideMs } = timesOf(theta, split, batch);
  const busy = Math.min(1, (prefillMs / WINDOW_MS) * noise());
  const stepMs = noise() / (busy / besideMs + (1 - busy) / aloneMs);
  return latestOf({
    durationMs: WINDOW_MS,
    arrivals: batch.requests,
    promptTokens: batch.requests * PROMPT,
    busy: { prefillShare: busy, decodeShare: 1 },
    work: {
      ...NO_WORK,
      prefillBatches: batch.requests,
      prefillTokens: batch.requests * PROMPT,
      decodeSteps: WINDOW_MS / stepMs,
      decodeStepMeanMs: stepMs,
      decodeBatchMean: batch.sequences,
      decodeContextMean: batch.sequences * demand.contextPerSequence,
      overlapShare: busy,
      prefillGpuShare: busy * shares.prefillBeside,
      decodeGpuShare: busy * shares.decodeBeside + (1 - busy) * shares.decodeAlone,
    },
  });
}

const PRIOR = priorBelief(GENERIC_PRIOR);
const learn = (belief: Gaussian, split: Split, window: LatestSignal) =>
  learnPlant(belief, PRIOR, GENERIC_PRIOR, split, window, demand);

/** A minute at each split, the load going up and down. */
function watch(truth: readonly number[], splits: readonly Split[], seed: number, noiseSd = 0.03): Gaussian {
  const uniform = uniformOf(seed);
  const noise = () => 1 + noiseSd * Math.sqrt(12) * (uniform() - 0.5);
  let belief = PRIOR;
  for (const split of splits) {
    for (let i = 0; i < 12; i++) {
      const batch = { requests: 8 + Math.floor(24 * uniform()), sequences: 10 + Math.floor(90 * uniform()) };
      belief = learn(belief, split, windowOf(truth, split, batch, noise));
    }
  }
  return belief;
}

/** A plant off the prior by up to a deviation and a half in each number. */
function plantOf(seed: number): number[] {
  const uniform = uniformOf(1_000 + seed);
  return PRIOR.mean.map((value, i) => {
    const drawn = value + 3 * (uniform() - 0.5) * Math.sqrt(PRIOR.covariance[i]![i]!);
    return Math.min(GREATEST[i]!, Math.max(LEAST[i]!, drawn));
  });
}

const seeds = Array.from({ length: 20 }, (_, i) => i + 1);

describe("two splits teach of a third", () => {
  test.each([
    {
      first: OPEN,
      second: { prefillSmPct: 100, decodeSmPct: 40 },
      third: { prefillSmPct: 80, decodeSmPct: 60 },
    },
    {
      first: OPEN,
      second: { prefillSmPct: 50, decodeSmPct: 100 },
      third: { prefillSmPct: 80, decodeSmPct: 80 },
    },
    {
      first: { prefillSmPct: 50, decodeSmPct: 50 },
      second: { prefillSmPct: 70, decodeSmPct: 30 },
      third: { prefillSmPct: 60, decodeSmPct: 40 },
    },
  ])("$first then $second: times at $third come within 12 %, in the median within 4 %", (splits) => {
    const batch = { requests: 20, sequences: 60 };
    const errors = seeds.flatMap((seed) => {
      const truth = plantOf(seed);
      const { mean } = watch(truth, [splits.first, splits.second], seed);
      const want = timesOf(truth, splits.third, batch);
      const got = timesOf(mean, splits.third, batch);
      return [got.prefillMs / want.prefillMs, got.besideMs / want.besideMs, got.aloneMs / want.aloneMs].map(
        (r) => Math.abs(Math.log(r)),
      );
    });
    errors.sort((a, b) => a - b);
    expect(errors.at(-1)).toBeLessThan(Math.log(1.12));
    expect(errors[errors.length / 2]).toBeLessThan(Math.log(1.04));
  });

  test("it is told apart from what was believed before: the prior alone is far off", () => {
    const batch = { requests: 20, sequences: 60 };
    const split = { prefillSmPct: 80, decodeSmPct: 60 };
    const untaught = seeds.map((seed) => {
      const ratio =
        timesOf(PRIOR.mean, split, batch).prefillMs / timesOf(plantOf(seed), split, batch).prefillMs;
      return Math.abs(Math.log(ratio));
    });
    expect(Math.max(...untaught)).toBeGreaterThan(Math.log(1.4));
  });
});

/** What prefill and decode are given while both run. */
const besideOf = (theta: readonly number[], split: Split) => {
  const { prefillBeside, decodeBeside } = phaseShares(split, theta);
  return { prefillBeside, decodeBeside };
};

describe("how overlapping caps are divided", () => {
  const ruled = (weight: number, power: number) => {
    const theta = [...PRIOR.mean];
    theta[OVERLAP_WEIGHT] = weight;
    theta[OVERLAP_POWER] = power;
    return theta;
  };
  /** Half of the overlap to each: at (100,100) both rules give 50/50. */
  const constant = ruled(0, 0);
  /** x/(x+y) and y/(x+y) of the whole. */
  const proportional = ruled(0, -1);

  test("both rules are among what can be believed", () => {
    const split = { prefillSmPct: 100, decodeSmPct: 25 };
    expect(besideOf(constant, split).prefillBeside).toBeCloseTo(0.875, 9);
    expect(besideOf(proportional, split).prefillBeside).toBeCloseTo(0.8, 9);
    expect(besideOf(constant, OPEN)).toEqual(besideOf(proportional, OPEN));
  });

  test.each([
    { name: "constant", truth: constant, other: proportional },
    { name: "proportional", truth: proportional, other: constant },
  ])("$name: one move tells it, at a split that was never tried", ({ truth, other }) => {
    for (const seed of seeds) {
      for (const third of [
        { prefillSmPct: 100, decodeSmPct: 20 },
        { prefillSmPct: 40, decodeSmPct: 100 },
      ]) {
        const belief = watch(truth, [OPEN, { prefillSmPct: 100, decodeSmPct: 40 }], seed);
        const got = besideOf(belief.mean, third).prefillBeside;
        const toTruth = Math.abs(got - besideOf(truth, third).prefillBeside);
        const toOther = Math.abs(got - besideOf(other, third).prefillBeside);
        expect(toTruth).toBeLessThan(toOther / 2);
      }
    }
  });

  test.each([
    { name: "caps that overlap slow both down further", shared: -0.3 },
    { name: "most of an overlap is had by both", shared: 0.6 },
  ])("$name: a minute at three splits tells it, at a fourth", ({ shared }) => {
    const truth = [...constant];
    truth[OVERLAP_SHARED] = shared;
    const batch = { requests: 20, sequences: 60 };
    const fourth = { prefillSmPct: 80, decodeSmPct: 80 };
    const divided = timesOf(constant, fourth, batch).prefillMs;
    for (const seed of seeds) {
      const taught = [OPEN, { prefillSmPct: 70, decodeSmPct: 100 }, { prefillSmPct: 50, decodeSmPct: 50 }];
      const got = timesOf(watch(truth, taught, seed).mean, fourth, batch).prefillMs;
      const want = timesOf(truth, fourth, batch).prefillMs;
      expect(Math.abs(Math.log(got / want))).toBeLessThan(0.7 * Math.abs(Math.log(divided / want)));
    }
  });

  test("before a move the open split leaves the rule unknown, and the belief says so", () => {
    const still = watch(constant, [OPEN], 1);
    const moved = watch(constant, [OPEN, { prefillSmPct: 100, decodeSmPct: 40 }], 1);
    const power = PRIOR.mean.map((_, i) => (i === OVERLAP_POWER ? 1 : 0));
    expect(deviationOf(still, power)).toBeGreaterThan(0.8 * deviationOf(PRIOR, power));
    expect(deviationOf(moved, power)).toBeLessThan(0.5 * deviationOf(PRIOR, power));
  });

  test("shares that add up to far more than a GPU are measured in another way and teach nothing", () => {
    const window = windowOf(constant, OPEN, { requests: 20, sequences: 60 }, () => 1);
    const { overlapShare } = window.work!;
    const told = (prefillGpuShare: number, decodeGpuShare: number) => ({
      ...window,
      work: { ...window.work!, prefillGpuShare, decodeGpuShare },
    });
    const untold = { ...window, work: { ...window.work!, prefillGpuShare: null, decodeGpuShare: null } };
    expect(learn(PRIOR, OPEN, told(overlapShare!, 1))).toEqual(learn(PRIOR, OPEN, untold));
    expect(learn(PRIOR, OPEN, told(0.9 * overlapShare!, 1 - 0.9 * overlapShare!))).not.toEqual(
      learn(PRIOR, OPEN, untold),
    );
  });
});

describe("a window that tells less", () => {
  const silent = latestOf({
    durationMs: WINDOW_MS,
    arrivals: 0,
    promptTokens: 0,
    finished: 0,
    outputTokens: 0,
    ttft: null,
    tpot: null,
    work: null,
    toAtMs: SAMPLE_NOW_MS,
    busy: {
      prefillShare: null,
      decodeShare: null,
    },
    queue: {
      prefillWaiting: null,
      decodeRunning: null,
    },
  });
  /** An engine that tells latencies, counts and queues only. */
  const latencies = (tpotMs: number) =>
    latestOf({
      ...silent,
      arrivals: 20,
      promptTokens: 20 * PROMPT,
      finished: 20,
      outputTokens: 4_000,
      tpot: histogramAt(tpotMs, 20),
      queue: {
        prefillWaiting: 0,
        decodeRunning: 40,
      },
    });
  const batch = { requests: 20, sequences: 40 };

  test("answers' latencies alone move decode's times towards what was measured, both ways, and not prefill's", () => {
    const expected = timesOf(PRIOR.mean, OPEN, batch).aloneMs;
    for (const tpotMs of [expected / 3, expected * 3]) {
      let belief = PRIOR;
      for (let i = 0; i < 24; i++) belief = learn(belief, OPEN, latencies(tpotMs));
      const got = timesOf(belief.mean, OPEN, batch);
      const { besideMs, aloneMs } = got;
      // Beside prefill, alone, or in between: it does not tell how long prefill was busy.
      expect(Math.max(besideMs, aloneMs)).toBeGreaterThan(tpotMs / 1.3);
      expect(Math.min(besideMs, aloneMs)).toBeLessThan(tpotMs * 1.3);
      for (const place of [PREFILL_CONST, PREFILL_TOKEN]) {
        expect(belief.mean[place]).toBeCloseTo(PRIOR.mean[place]!, 6);
      }
    }
  });

  test("long first tokens at a light load tell of a slow prefill where its busy time is not told", () => {
    const learnt = [30, 3_000].map((ttftMs) => {
      let belief = PRIOR;
      const window = { ...latencies(40), ttft: histogramAt(ttftMs, 20) };
      for (let i = 0; i < 24; i++) belief = learn(belief, OPEN, window);
      return timesOf(belief.mean, OPEN, batch).prefillMs;
    });
    expect(learnt[1]).toBeGreaterThan(1.5 * learnt[0]!);
  });

  test("a silent window teaches nothing and only lets the belief age, up to the prior", () => {
    expect(learn(PRIOR, OPEN, silent)).toEqual(PRIOR);
    const taught = watch(plantOf(1), [OPEN], 1);
    let aged = taught;
    for (let i = 0; i < 100; i++) aged = learn(aged, OPEN, silent);
    expect(aged.mean).toEqual(taught.mean);
    aged.covariance.forEach((row, i) => {
      expect(row[i]).toBeGreaterThanOrEqual(taught.covariance[i]![i]!);
      expect(row[i]).toBeLessThanOrEqual(PRIOR.covariance[i]![i]!);
    });
    const decode = PRIOR.mean.map((_, i) => (i === DECODE_SEQUENCE ? 1 : 0));
    expect(deviationOf(aged, decode)).toBeGreaterThan(1.05 * deviationOf(taught, decode));
  });

  test("one mad window among sixty does little, and what follows mends it", () => {
    const truth = plantOf(2);
    const taught = watch(truth, [OPEN], 2);
    const mad = windowOf(
      truth.map((value, i) => (i === DECODE_CONST ? value + 3 : value)),
      OPEN,
      batch,
      () => 1,
    );
    let belief = learn(taught, OPEN, mad);
    const off = timesOf(belief.mean, OPEN, batch).aloneMs / timesOf(truth, OPEN, batch).aloneMs;
    expect(Math.abs(Math.log(off))).toBeLessThan(0.5);
    for (let i = 0; i < 6; i++)
      belief = learn(
        belief,
        OPEN,
        windowOf(truth, OPEN, batch, () => 1),
      );
    const mended = timesOf(belief.mean, OPEN, batch).aloneMs / timesOf(truth, OPEN, batch).aloneMs;
    expect(Math.abs(Math.log(mended))).toBeLessThan(0.15);
  });

  test("every number stays where it means something, and finite, whatever a window holds", () => {
    const wild = [0, 1e-9, 0.5, 1, 1e12];
    const uniform = uniformOf(3);
    const pick = () => wild[Math.floor(uniform() * wild.length)]!;
    let belief = PRIOR;
    for (let i = 0; i < 500; i++) {
      const window = latestOf({
        durationMs: 1 + pick(),
        promptTokens: pick(),
        busy: { prefillShare: uniform(), decodeShare: uniform() },
        work: {
          ...NO_WORK,
          prefillBatches: pick(),
          prefillTokens: pick(),
          decodeSteps: pick(),
          decodeStepMeanMs: pick(),
          decodeBatchMean: pick(),
          decodeContextMean: pick(),
          overlapShare: pick(),
          prefillGpuShare: uniform(),
          decodeGpuShare: uniform(),
        },
      });
      belief = learn(belief, { prefillSmPct: 1 + 99 * uniform(), decodeSmPct: 1 + 99 * uniform() }, window);
      belief.mean.forEach((value, place) => {
        expect(value).toBeGreaterThanOrEqual(LEAST[place]!);
        expect(value).toBeLessThanOrEqual(GREATEST[place]!);
        expect(belief.covariance[place]!.every(Number.isFinite)).toBe(true);
      });
    }
    expect(belief.mean[DECODE_SEQUENCE]).not.toBeNaN();
  });
});
