import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  SAMPLE_NOW_MS,
  SAMPLE_SLO,
  histogramWithPercentile,
  sampleSignal,
  sampleSnapshot,
} from "../fixtures.js";
import type { Signal, Snapshot } from "../decision.js";
import type { Split } from "../nouns.js";
import { see } from "../signal/observe.js";
import { NOTHING_LEARNT } from "./learned.js";
import type { Learned } from "./learned.js";
import { learn, loadOf } from "./learn.js";
import { predictorOf } from "./predictor.js";

const split = (prefillSmPct: number, decodeSmPct = 100 - prefillSmPct): Split => ({
  prefillSmPct,
  decodeSmPct,
});

function predictorFor(snapshot: Snapshot, before: Learned = NOTHING_LEARNT) {
  const sight = see(snapshot.signal, snapshot.slo);
  const learned = learn(before, snapshot.current.split, snapshot.signal, sight, snapshot.slo, SAMPLE_NOW_MS);
  return {
    learned,
    predictor: predictorOf(snapshot, learned, loadOf(snapshot.signal, learned), sight, SAMPLE_NOW_MS),
  };
}

/** A signal of a plant that follows eq. 4 exactly. */
function plantSignal(prefillShare: number, arrivalPerS: number, over: Partial<Signal> = {}): Signal {
  const l100 = 30;
  const lambda = (arrivalPerS * l100) / 1000;
  const ttft = (2.3 * l100) / (prefillShare - lambda) + 10;
  const tpot = 20 / (1 - prefillShare) + 15;
  return sampleSignal({
    arrivals: arrivalPerS * 20,
    ttft: histogramWithPercentile(ttft, 0.9, 20 * arrivalPerS),
    tpot: histogramWithPercentile(tpot, 0.9, 20 * arrivalPerS),
    busy: { prefillShare: lambda / prefillShare, decodeShare: 1 },
    ...over,
  });
}

describe("prediction", () => {
  test("passes through what is measured at the current split", () => {
    const { predictor } = predictorFor(sampleSnapshot());
    expect(predictor.ttftMs(split(50))).toBeCloseTo(200);
    expect(predictor.tpotMs(split(50))).toBeCloseTo(80);
  });

  test("lambda follows the arrival rate of this moment, not the one that was learnt", () => {
    const first = predictorFor(sampleSnapshot({ signal: plantSignal(0.5, 10) }));
    expect(first.predictor.load.lambdaShare).toBeCloseTo(0.3, 3);
    const doubled = plantSignal(0.5, 16, { toAtMs: SAMPLE_NOW_MS + 5_000 });
    const second = predictorFor(sampleSnapshot({ signal: doubled }), first.learned);
    expect(second.predictor.load.lambdaShare).toBeCloseTo(0.48, 2);
  });

  test("at or below lambda prefill is unstable, never a number", () => {
    const { predictor } = predictorFor(sampleSnapshot({ signal: plantSignal(0.5, 10) }));
    expect(predictor.ttftMs(split(29))).toBe(Infinity);
    expect(predictor.ttftMs(split(5))).toBe(Infinity);
    expect(predictor.ttftMs(split(40))).toBeGreaterThan(predictor.ttftMs(split(50)) ?? 0);
  });

  test("without a busy share it still tells, from the mean TTFT", () => {
    const signal = plantSignal(0.5, 10, { busy: { prefillShare: null, decodeShare: null } });
    const { predictor } = predictorFor(sampleSnapshot({ signal }));
    expect(predictor.load.lambdaShare).toBeGreaterThan(0);
    expect(predictor.load.lambdaShare).toBeLessThan(0.5);
    expect(predictor.ttftMs(split(60))).toBeLessThan(predictor.ttftMs(split(50)) ?? 0);
  });

  test("from an unstable split, M/M/1 says what a stable one would bring", () => {
    const signal = sampleSignal({ arrivals: 400, busy: { prefillShare: 1, decodeShare: 1 } });
    const { predictor } = predictorFor(sampleSnapshot({ signal }));
    expect(predictor.load.lambdaShare).toBeCloseTo(1);
    expect(predictor.ttftMs(split(50))).toBe(Infinity);

    const light = sampleSignal({
      arrivals: 260,
      ttft: histogramWithPercentile(5_000, 0.9, 200),
      busy: { prefillShare: 1, decodeShare: 1 },
    });
    const { predictor: over } = predictorFor(sampleSnapshot({ signal: light }));
    // l100 = 1 * 0.5 / 10 per s = 50 ms, lambda = 13 * 0.05 = 0.65; at 0.85: ln 10 * 50 / 0.2.
    expect(over.ttftMs(split(85))).toBeCloseTo((Math.log(10) * 50) / 0.2, 0);
  });

  test("nothing known of decode is not guessed", () => {
    const snapshot = sampleSnapshot({ signal: sampleSignal({ tpot: null }) });
    expect(predictorFor(snapshot).predictor.tpotMs(split(40))).toBeNull();
  });

  test("visiting other splits teaches the slope of the plant", () => {
    let learned: Learned = NOTHING_LEARNT;
    const visited = [50, 60, 65, 55, 45];
    visited.forEach((pct, i) => {
      const signal = plantSignal(pct / 100, 10, { toAtMs: SAMPLE_NOW_MS - 100_000 + i * 20_000 });
      const current = { split: split(pct), kvQuotaPct: 100, generation: 1 };
      learned = predictorFor(sampleSnapshot({ current, signal }), learned).learned;
    });
    const here = sampleSnapshot({ signal: plantSignal(0.5, 10) });
    const { predictor } = predictorFor(here, learned);
    const truth = (f: number) => 20 / (1 - f) + 15;
    for (const pct of [45, 55, 65]) {
      const error = Math.abs((predictor.tpotMs(split(pct)) ?? 0) / truth(pct / 100) - 1);
      expect(error).toBeLessThan(0.03);
    }
    expect(predictor.confidence.tpot).toBeGreaterThan(0.3);
  });

  test("latency never rises with the phase's own share", () => {
    const pct = fc.integer({ min: 5, max: 94 });
    fc.assert(
      fc.property(
        pct,
        pct,
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 10, max: 90 }),
        (a, b, rate, at) => {
          const current = { split: split(at), kvQuotaPct: 100, generation: 1 };
          const signal = sampleSignal({ arrivals: rate * 20 });
          const { predictor } = predictorFor(sampleSnapshot({ current, signal }));
          const [low, high] = [split(Math.min(a, b)), split(Math.max(a, b))];
          expect(predictor.ttftMs(high) ?? 0).toBeLessThanOrEqual(predictor.ttftMs(low) ?? 0);
          expect(predictor.tpotMs(low) ?? 0).toBeLessThanOrEqual((predictor.tpotMs(high) ?? 0) + 1e-9);
        },
      ),
    );
  });
});

describe("learning", () => {
  const signal = sampleSignal();
  const learnFrom = (before: Learned, from: Signal) =>
    learn(before, split(50), from, see(from, SAMPLE_SLO), SAMPLE_SLO, SAMPLE_NOW_MS);

  test("one signal is learnt from once", () => {
    const once = learnFrom(NOTHING_LEARNT, signal);
    expect(learnFrom(once, signal)).toBe(once);
  });

  test("points of another percentile are dropped", () => {
    const once = learnFrom(NOTHING_LEARNT, signal);
    const slo = { ...SAMPLE_SLO, ttft: { percentile: 0.99, boundMs: 300 } };
    const later = { ...signal, toAtMs: SAMPLE_NOW_MS + 5_000 };
    const again = learn(once, split(60), later, see(later, slo), slo, SAMPLE_NOW_MS);
    expect(again.points.map((p) => p.prefillSmPct)).toEqual([60]);
    expect(again.serviceMs).toBeCloseTo(30.48, 1);
  });

  test("a latency above the highest bucket is not learnt as the bucket's bound", () => {
    const over = { ...signal, ttft: { boundsMs: [100], counts: [0, 200], sumMs: 1e5 } };
    expect(learnFrom(NOTHING_LEARNT, over).points[0]).toMatchObject({ ttftMs: null, tpotMs: 80 });
  });

  test("the mean answer is learnt from what finished", () => {
    expect(learnFrom(NOTHING_LEARNT, signal).answerTokens).toBe(300);
    expect(learnFrom(NOTHING_LEARNT, { ...signal, finished: 0 }).answerTokens).toBeNull();
  });
});
