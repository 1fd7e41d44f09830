import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { splitWithin } from "../allocation.js";
import { DEFAULT_GUARDS } from "../defaults.js";
import { EXCLUSIVE_LIMITS, SAMPLE_NOW_MS } from "../fixtures.js";
import type { Allocation, Limits, Split } from "../nouns.js";
import { WIDEST_LIMITS } from "../nouns.js";
import { withinBounds } from "./bounds.js";
import type { BoundsContext } from "./bounds.js";
import { countReversals, flapGate } from "./flap.js";
import { ceilCap, floorCap, lowestCap, nearestCap, towards } from "./grid.js";
import { limitsFault } from "./input-fault.js";

const split = (prefillSmPct: number, decodeSmPct: number): Split => ({ prefillSmPct, decodeSmPct });
const alloc = (x: number, y: number, kvQuotaPct = 100): Allocation => ({ split: split(x, y), kvQuotaPct });
const granular = (granularityPct: number, over: Partial<Limits> = {}): Limits => ({
  ...WIDEST_LIMITS,
  granularityPct,
  ...over,
});
const anyLimits = fc
  .record({
    minSmPct: fc.integer({ min: 1, max: 40 }),
    maxSmPct: fc.integer({ min: 60, max: 100 }),
    maxSumPct: fc.constantFrom(100, 120, 200),
    granularityPct: fc.constantFrom(1, 2, 5, 6.0606, 8),
    minKvQuotaPct: fc.constant(5),
    maxKvQuotaPct: fc.constant(100),
  })
  .filter((limits) => limitsFault(limits) === null);

describe("the grid of deliverable caps", () => {
  test.each([
    { g: 8, value: 50, floor: 48, ceil: 56, nearest: 48 },
    { g: 8, value: 48, floor: 48, ceil: 48, nearest: 48 },
    { g: 8, value: 99, floor: 96, ceil: 100, nearest: 100 },
    { g: 8, value: 100, floor: 100, ceil: 100, nearest: 100 },
    { g: 8, value: 3, floor: 8, ceil: 8, nearest: 8 },
    { g: 6.0606, value: 50, floor: 48.4848, ceil: 54.5454, nearest: 48.4848 },
  ])("granularity $g, $value", ({ g, value, floor, ceil, nearest }) => {
    expect(floorCap(value, granular(g))).toBeCloseTo(floor, 4);
    expect(ceilCap(value, granular(g))).toBeCloseTo(ceil, 4);
    expect(nearestCap(value, granular(g))).toBeCloseTo(nearest, 4);
  });

  test("the lowest cap is a granule at or above the minimum, or the whole GPU, or none", () => {
    expect(lowestCap(granular(8))).toBe(8);
    expect(lowestCap(granular(8, { minSmPct: 97 }))).toBe(100);
    expect(lowestCap(granular(30, { minSmPct: 61, maxSmPct: 80 }))).toBeNull();
  });

  test("a way between two legal splits is legal, and no longer than asked", () => {
    const pct = fc.integer({ min: 5, max: 100 });
    const fraction = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(anyLimits, pct, pct, pct, pct, fraction, (limits, a, b, c, d, part) => {
        const [from, to] = [split(a, b), split(c, d)];
        fc.pre(splitWithin(from, limits) && splitWithin(to, limits));
        const middle = towards(from, to, part, limits);
        expect(splitWithin(middle, limits)).toBe(true);
        const longest = Math.abs(to.prefillSmPct - from.prefillSmPct) * part + 1e-6;
        expect(Math.abs(middle.prefillSmPct - from.prefillSmPct)).toBeLessThanOrEqual(longest);
      }),
    );
  });
});

describe("bounds", () => {
  const bounds = (wanted: Allocation, over: Partial<BoundsContext> = {}) =>
    withinBounds(wanted, {
      current: alloc(50, 50),
      limits: EXCLUSIVE_LIMITS,
      guards: { maxStepPct: 15, stabilityMargin: 1.1 },
      model: { lambdaShare: null, prefillShare: (s) => s.prefillSmPct / 100 },
      ...over,
    });
  const pair = (a: Allocation) => [a.split.prefillSmPct, a.split.decodeSmPct];

  test.each([
    { name: "nothing to do", wanted: alloc(60, 40), over: {}, want: [60, 40], guards: [] },
    { name: "step", wanted: alloc(80, 20), over: {}, want: [65, 35], guards: ["step"] },
    {
      name: "limits",
      wanted: alloc(60, 2),
      over: { current: alloc(55, 10) },
      want: [60, 5],
      guards: ["limits"],
    },
    {
      name: "sum: the side that does not grow gives way",
      wanted: alloc(60, 50),
      over: {},
      want: [60, 40],
      guards: ["sum"],
    },
    {
      name: "sum: both grow, both give way",
      wanted: alloc(60, 60),
      over: { current: alloc(45, 45) },
      want: [50, 50],
      guards: ["sum"],
    },
    {
      name: "granularity",
      wanted: alloc(58, 42),
      over: { limits: granular(8, { maxSumPct: 100 }), current: alloc(48, 48) },
      want: [56, 40],
      guards: ["granularity"],
    },
    {
      name: "stability",
      wanted: alloc(35, 65),
      over: { model: { lambdaShare: 0.4, prefillShare: (s: Split) => s.prefillSmPct / 100 } },
      want: [45, 55],
      guards: ["stability"],
    },
    {
      name: "stability below the floor already: no further down",
      wanted: alloc(35, 65),
      over: { model: { lambdaShare: 0.6, prefillShare: (s: Split) => s.prefillSmPct / 100 } },
      want: [50, 50],
      guards: ["stability"],
    },
    {
      name: "stability never stops prefill from growing",
      wanted: alloc(60, 40),
      over: { model: { lambdaShare: 0.9, prefillShare: (s: Split) => s.prefillSmPct / 100 } },
      want: [60, 40],
      guards: [],
    },
    {
      name: "the operator's own target: no step, no stability",
      wanted: alloc(90, 10),
      over: { model: null },
      want: [90, 10],
      guards: [],
    },
    {
      name: "outside of the limits, the way back is one step",
      wanted: alloc(60, 40),
      over: { current: alloc(100, 100) },
      want: [60, 40],
      guards: [],
    },
  ])("$name", ({ wanted, over, want, guards }) => {
    const { allocation, notes } = bounds(wanted, over);
    expect(pair(allocation)).toEqual(want);
    expect(notes.map((note) => note.guard)).toEqual(guards);
  });

  test("the KV quota is kept within its limits, and noted", () => {
    const limits = { ...EXCLUSIVE_LIMITS, minKvQuotaPct: 30 };
    expect(bounds(alloc(50, 50, 10), { limits })).toEqual({
      allocation: alloc(50, 50, 30),
      notes: [{ guard: "kv-floor", from: alloc(50, 50, 10), to: alloc(50, 50, 30) }],
    });
  });

  test("a step smaller than a granule leaves nothing", () => {
    const limits = granular(8, { maxSumPct: 100 });
    const guards = { maxStepPct: 5, stabilityMargin: 1 };
    expect(bounds(alloc(64, 32), { limits, guards, current: alloc(48, 48) }).allocation).toEqual(
      alloc(48, 48),
    );
  });

  test("an allocation that is left alone is left alone, on the grid or not", () => {
    expect(bounds(alloc(50, 50), { limits: granular(8, { maxSumPct: 100 }) })).toEqual({
      allocation: alloc(50, 50),
      notes: [],
    });
  });

  test("whatever is wanted, what leaves is within limits and step, or current", () => {
    const pct = fc.double({ min: 0, max: 100, noNaN: true });
    const lambda = fc.option(fc.double({ min: 0, max: 1.5, noNaN: true }), { nil: null });
    fc.assert(
      fc.property(
        anyLimits,
        pct,
        pct,
        pct,
        pct,
        fc.integer({ min: 0, max: 50 }),
        lambda,
        (limits, a, b, c, d, maxStepPct, lambdaShare) => {
          const current = alloc(a, b);
          const model = { lambdaShare, prefillShare: (s: Split) => s.prefillSmPct / 100 };
          const out = bounds(alloc(c, d), {
            current,
            limits,
            guards: { maxStepPct, stabilityMargin: 1.1 },
            model,
          });
          const { split: left } = out.allocation;
          const unchanged = left.prefillSmPct === a && left.decodeSmPct === b;
          expect(unchanged || splitWithin(left, limits)).toBe(true);
          if (splitWithin(current.split, limits)) {
            expect(Math.abs(left.prefillSmPct - a)).toBeLessThanOrEqual(maxStepPct + 1e-5);
            expect(Math.abs(left.decodeSmPct - b)).toBeLessThanOrEqual(maxStepPct + 1e-5);
          }
          if (lambdaShare !== null && left.prefillSmPct < a) {
            expect(left.prefillSmPct / 100).toBeGreaterThan(lambdaShare * 1.1);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe("flap budget", () => {
  const move = (agoMs: number, prefillDeltaPct: number, decodeDeltaPct = -prefillDeltaPct) => ({
    atMs: SAMPLE_NOW_MS - agoMs,
    generation: 1,
    prefillDeltaPct,
    decodeDeltaPct,
  });
  const guards = { ...DEFAULT_GUARDS, flapBudget: 2, flapWindowMs: 60_000 };
  const swinging = [move(50_000, 5), move(40_000, -5), move(30_000, 5)];

  test("reversals are changes of direction; a move without one is not counted", () => {
    expect(countReversals([])).toEqual({ reversals: 0, last: 0 });
    expect(countReversals([move(3, 5), move(2, 0), move(1, 5)])).toEqual({ reversals: 0, last: 1 });
    expect(countReversals(swinging)).toEqual({ reversals: 2, last: 1 });
    expect(countReversals([move(3, 0, -5), move(2, -5, 0)])).toEqual({ reversals: 1, last: -1 });
  });

  test.each([
    { name: "one reversal too many", moves: swinging, to: split(45, 55), want: "FLAP_BUDGET" },
    { name: "further in the same direction", moves: swinging, to: split(55, 45), want: undefined },
    { name: "no direction at all", moves: swinging, to: split(50, 50), want: undefined },
    { name: "budget left", moves: swinging.slice(1), to: split(45, 55), want: undefined },
    {
      name: "reversals before the window are forgiven",
      moves: swinging.map((m) => ({ ...m, atMs: m.atMs - 20_000 })),
      to: split(45, 55),
      want: undefined,
    },
    { name: "no moves yet", moves: [], to: split(45, 55), want: undefined },
  ])("$name", ({ moves, to, want }) => {
    expect(flapGate(split(50, 50), to, moves, guards, SAMPLE_NOW_MS)?.reason).toBe(want);
  });

  test("a budget of none allows no reversal", () => {
    const none = { ...guards, flapBudget: 0 };
    expect(flapGate(split(50, 50), split(45, 55), [move(1, 5)], none, SAMPLE_NOW_MS)?.reason).toBe(
      "FLAP_BUDGET",
    );
  });
});
