import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SAMPLE_SLO } from "../fixtures.js";
import { tpotShare, ttftShares } from "./attainment.js";
import type { Demand } from "./demand.js";
import { INSTANTS_MS } from "./operating-point.js";
import type { OperatingState } from "./operating-point.js";

const unit = fc.double({ min: 0, max: 1, noNaN: true });
const ms = (most: number) => fc.double({ min: 0, max: most, noNaN: true });

const states: fc.Arbitrary<OperatingState> = fc.record({
  utilisation: fc.double({ min: 0, max: 2, noNaN: true }),
  prefillBusy: unit,
  prefill: fc.record({ constMs: ms(100), firstMs: ms(0.5), secondMs: ms(1e-4) }),
  batch: fc.double({ min: 1, max: 20, noNaN: true }),
  waitMs: ms(20_000),
  queueing: unit,
  stepMs: fc.constant(30),
  sequences: fc.constant(20),
  stepFluctuation: fc.constant(0.1),
  tpotMs: fc.constant([30]),
});

/** Prompts ascend, as demandOf gives them. */
const demands: fc.Arbitrary<Demand> = fc
  .array(fc.double({ min: 1, max: 4_000, noNaN: true }), { minLength: 8, maxLength: 8 })
  .map((drawn) => {
    const prompts = drawn.toSorted((a, b) => a - b).map((tokens) => ({ tokens, share: 1 / 8 }));
    const promptMean = prompts.reduce((sum, { tokens, share }) => sum + share * tokens, 0);
    const promptMeanSq = prompts.reduce((sum, { tokens, share }) => sum + share * tokens ** 2, 0);
    const load = { ratePerS: 5, drifting: 0, outputMean: 200, contextPerSequence: promptMean + 100 };
    return { prompts, promptMean, promptMeanSq, prefillDoubt: 0.1, decodeDoubt: 0.1, ...load };
  });

const sharesFor = (state: OperatingState, demand: Demand, boundMs: number, backlogMs = 0, waitFactor = 1) =>
  ttftShares(state, demand, { ...SAMPLE_SLO, ttft: { percentile: 0.9, boundMs } }, backlogMs, waitFactor);

/** One share at each instant ahead, also where it is settled. */
const path = (shares: readonly number[]) => INSTANTS_MS.map((_, i) => shares[shares.length === 1 ? 0 : i]!);
const ROUNDING = 1e-9;

function expectAtMost(low: readonly number[], high: readonly number[]): void {
  path(low).forEach((share, i) => expect(share).toBeLessThanOrEqual(path(high)[i]! + ROUNDING));
}

const bound = fc.double({ min: 0.001, max: 20_000, noNaN: true });
const backlog = fc.oneof(fc.constant(0), ms(60_000));
const factor = fc.double({ min: 0.25, max: 4, noNaN: true });

describe("share of first tokens within the bound", () => {
  test("lies within 0 and 1, at each instant", () => {
    fc.assert(
      fc.property(states, demands, bound, backlog, factor, (state, demand, boundMs, backlogMs, waits) => {
        const shares = sharesFor(state, demand, boundMs, backlogMs, waits);
        expect([1, INSTANTS_MS.length]).toContain(shares.length);
        for (const share of shares) {
          expect(share).toBeGreaterThanOrEqual(-ROUNDING);
          expect(share).toBeLessThanOrEqual(1 + ROUNDING);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("a wider bound, less that waits, and shorter waits never lower it", () => {
    fc.assert(
      fc.property(states, demands, bound, backlog, factor, (state, demand, boundMs, backlogMs, waits) => {
        const here = sharesFor(state, demand, boundMs, backlogMs, waits);
        expectAtMost(here, sharesFor(state, demand, boundMs * 1.3, backlogMs, waits));
        expectAtMost(here, sharesFor(state, demand, boundMs, backlogMs, waits / 1.3));
        expectAtMost(
          here,
          sharesFor({ ...state, waitMs: state.waitMs / 2 }, demand, boundMs, backlogMs, waits),
        );
        expectAtMost(sharesFor(state, demand, boundMs, backlogMs + 100, waits), here);
      }),
      { numRuns: 500 },
    );
  });

  test("a backlog drains below saturation and grows past it", () => {
    fc.assert(
      fc.property(states, demands, bound, (state, demand, boundMs) => {
        const shares = sharesFor(state, demand, boundMs, 500);
        const ordered = [...shares].sort((a, b) => (state.utilisation < 1 ? a - b : b - a));
        expect(shares).toEqual(ordered);
      }),
    );
  });

  const demand: Demand = {
    ratePerS: 5,
    drifting: 0,
    promptMean: 100,
    promptMeanSq: 1e4,
    prompts: [{ tokens: 100, share: 1 }],
    outputMean: 200,
    contextPerSequence: 200,
    prefillDoubt: 0.1,
    decodeDoubt: 0.1,
  };
  const state: OperatingState = {
    utilisation: 0.5,
    prefillBusy: 0.5,
    batch: 1,
    waitMs: 40,
    queueing: 1,
    prefill: {
      constMs: 10,
      firstMs: 0.1,
      secondMs: 0,
    },
    stepMs: 30,
    sequences: 20,
    stepFluctuation: 0.1,
    tpotMs: [30],
  };

  test("a queue's waits are exponential: an iteration of 20 ms, and 40 ms more for the half that waits", () => {
    expect(sharesFor(state, demand, 19)).toEqual([0]);
    expect(sharesFor(state, demand, 60)[0]).toBeCloseTo(1 - 0.5 * Math.exp(-1), 6);
    expect(sharesFor(state, demand, 1_000)[0]).toBeCloseTo(1, 6);
  });

  test("where no queue forms an arrival waits for what is left of one iteration, and no longer", () => {
    const batching = { ...state, queueing: 0 };
    const alone = { ...demand, ratePerS: 0 };
    // Of the 20 ms under way half is left to half of those that wait: 10 ms and less.
    expect(sharesFor(batching, alone, 30)[0]).toBeCloseTo(1 - 0.5 * 0.5, 6);
    expect(sharesFor(batching, alone, 40)[0]).toBeCloseTo(1, 6);
  });

  test("the next iteration also carries the others that came during the one under way", () => {
    const batching = { ...state, queueing: 0 };
    // 5 requests/s of 10 ms each: 20 ms bring 0.1 requests, 1 ms of work, so that what is left reaches from 1 to 21 ms.
    expect(sharesFor(batching, demand, 30)[0]).toBeCloseTo(1 - 0.5 * (11 / 20), 6);
    expect(sharesFor(batching, demand, 40)[0]).toBeCloseTo(1 - 0.5 * (1 / 20), 6);
    expect(sharesFor(batching, demand, 41)[0]).toBeCloseTo(1, 6);
  });

  test("a prefill that is offered twice what it can do is late for good", () => {
    const shares = sharesFor({ ...state, utilisation: 2, prefillBusy: 1 }, demand, 2_000);
    expect(shares).toHaveLength(INSTANTS_MS.length);
    expect(shares.at(-1)).toBe(0);
  });
});

describe("share of answers within the bound", () => {
  const positive = fc.double({ min: 0.01, max: 10_000, noNaN: true });
  const spread = fc.double({ min: 0, max: 2, noNaN: true });

  test("lies within 0 and 1; a wider bound and a shorter mean never lower it", () => {
    fc.assert(
      fc.property(positive, positive, spread, (meanMs, boundMs, sd) => {
        const share = tpotShare(meanMs, boundMs, sd);
        expect(share >= 0 && share <= 1).toBe(true);
        expect(tpotShare(meanMs, boundMs * 1.1, sd)).toBeGreaterThanOrEqual(share);
        expect(tpotShare(meanMs * 0.9, boundMs, sd)).toBeGreaterThanOrEqual(share);
      }),
    );
  });

  test.each([
    { z: 0, want: 0.5 },
    { z: 1, want: 0.8413 },
    { z: -1, want: 0.1587 },
    { z: 2, want: 0.9772 },
    { z: -3, want: 0.0013 },
  ])("is the lognormal's: $z standard deviations off, $want", ({ z, want }) => {
    expect(Math.abs(tpotShare(100, 100 * Math.exp(0.2 * z), 0.2) - want)).toBeLessThan(0.01);
  });

  test("nothing decoded is nothing late", () => {
    expect(tpotShare(0, 100, 0.2)).toBe(1);
  });
});
