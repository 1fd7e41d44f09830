import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FALLS_AFTER_MS, MAX_NEEDS, PLANNED_SHARE, needOf, noteNeed, steadyNeed } from "./capacity.js";
import type { Need } from "./capacity.js";
import type { PolicyConfig } from "./decision.js";
import { DEFAULT_SEARCH } from "./defaults.js";
import { WIDEST_LIMITS } from "./nouns.js";
import { headroomOf, MOST_HEADROOM } from "./policy/search-headroom.js";
import type { Headroom } from "./policy/search-headroom.js";
import { LONG_PROMPTS, SCENE_SLO } from "./search-fixtures.js";
import { play } from "./search-scene.js";

const told = (factor: number | null, arrivalPerS: number | null): Headroom => ({
  factor,
  arrivalPerS,
  split: null,
  why: "",
});

describe("how many instances a pool needs", () => {
  test.each([
    ["one that carries a third of what comes", 1, [told(1 / 3, 9)], Math.ceil(3 / PLANNED_SHARE)],
    ["two that are used by half", 2, [told(2, 4), told(2, 4)], 2],
    ["four that are used by a tenth", 4, Array.from({ length: 4 }, () => told(8, 1)), 1],
    [
      "one loaded, three idle: the load is one instance's",
      4,
      [told(1.2, 5), ...Array.from({ length: 3 }, () => told(null, 0))],
      1,
    ],
    ["nothing is known: as many as there are", 3, [told(null, 4), told(null, null)], 3],
    ["of a hundred two were asked", 100, [told(1, 4), told(1, 4)], Math.ceil(100 / PLANNED_SHARE)],
    ["none", 0, [], 0],
  ])("%s", (_what, instances, asked, needed) => {
    expect(needOf({ instances, asked }).needed).toBe(needed);
  });

  test("is whole, at least one, and no less under more load", () => {
    const load = fc.double({ min: 0.1, max: 50, noNaN: true });
    fc.assert(
      fc.property(fc.array(load, { minLength: 1, maxLength: 10 }), load, load, (loads, carried, more) => {
        const at = (times: number) =>
          needOf({
            instances: loads.length,
            asked: loads.map((perS) => told(carried / (perS * times), perS * times)),
          }).needed;
        expect(Number.isInteger(at(1))).toBe(true);
        expect(at(1)).toBeGreaterThanOrEqual(1);
        expect(at(1 + more)).toBeGreaterThanOrEqual(at(1));
      }),
    );
  });
});

describe("what is told of a need that comes and goes", () => {
  const needs = (...all: readonly (readonly [atS: number, needed: number])[]): Need[] =>
    all.map(([atS, needed]) => ({ atMs: atS * 1_000, needed }));
  const S = FALLS_AFTER_MS / 1_000;

  test.each([
    ["a first one at once", needs([0, 3]), 3],
    ["a rise seen once: not yet", needs([0, 2], [15, 5]), 2],
    ["a rise seen twice", needs([0, 2], [15, 5], [30, 5]), 5],
    ["a fall: not for ten minutes", needs([0, 5], [15, 5], [30, 2], [45, 2]), 5],
    ["a fall after ten minutes", needs([0, 5], [15, 5], [30, 2], [S + 16, 2]), 2],
    ["a spike within a quiet time", needs([0, 2], [15, 9], [30, 2]), 2],
  ])("%s", (_what, recent, told) => {
    expect(steadyNeed(recent)).toBe(told);
  });

  test("a load that swings every half minute for an hour makes one rise and no fall", () => {
    let recent: readonly Need[] = [];
    const said: number[] = [];
    for (let atS = 0; atS <= 3_600; atS += 15) {
      recent = noteNeed(recent, { atMs: atS * 1_000, needed: Math.floor(atS / 30) % 2 === 0 ? 2 : 4 });
      said.push(steadyNeed(recent));
      expect(recent.length).toBeLessThanOrEqual(MAX_NEEDS);
    }
    expect(said.filter((each, i) => i > 0 && each !== said[i - 1])).toEqual([4]);
  });
});

describe("what an instance could carry", () => {
  const search: PolicyConfig = { name: "search", params: DEFAULT_SEARCH };
  const headroomAt = (ratePerS: number, durationMs = 300_000) => {
    const load = { ...LONG_PROMPTS, ratePerS };
    const { decision } = play({ policy: search, load: () => load, durationMs }).at(-1)!;
    return headroomOf({
      state: decision.state,
      prior: null,
      slo: SCENE_SLO,
      limits: WIDEST_LIMITS,
      kvTotalTokens: 1_000_000,
      maxSequences: 512,
      maxBatchTokens: 2_048,
    });
  };

  test("an engine beyond what it can serve carries less than comes, a quiet one several times as much", () => {
    const [quiet, busy, drowned] = [0.4, 2, 6].map((ratePerS) => headroomAt(ratePerS).factor);
    expect(quiet).toBeGreaterThan(2);
    expect(busy).toBeLessThan(quiet!);
    expect(drowned).toBeLessThan(0.9);
    expect(quiet).toBeLessThanOrEqual(MOST_HEADROOM);
  });

  test("what it carries is nearly the same, however much of it comes", () => {
    const carried = [0.7, 1.5].map((ratePerS) => {
      const { factor, arrivalPerS } = headroomAt(ratePerS);
      return factor! * arrivalPerS!;
    });
    expect(Math.abs(Math.log(carried[0]! / carried[1]!))).toBeLessThan(0.3);
  });

  test.each([
    ["nothing was learnt", null, /no load/],
    ["a few seconds", headroomAt(2, 10_000), /are needed/],
  ])("is not known, with the reason: %s", (_what, given, why) => {
    const found =
      given ??
      headroomOf({
        state: null,
        prior: null,
        slo: SCENE_SLO,
        limits: WIDEST_LIMITS,
        kvTotalTokens: null,
        maxSequences: null,
        maxBatchTokens: null,
      });
    expect(found.factor).toBeNull();
    expect(found.why).toMatch(why);
  });

  test("a bound that no split keeps at any load: more instances are not asked for", () => {
    const { decision } = play({ policy: search, load: () => LONG_PROMPTS, durationMs: 120_000 }).at(-1)!;
    const found = headroomOf({
      state: decision.state,
      prior: null,
      slo: { ...SCENE_SLO, tpot: { percentile: 0.9, boundMs: 2 } },
      limits: WIDEST_LIMITS,
      kvTotalTokens: 1_000_000,
      maxSequences: 512,
      maxBatchTokens: 2_048,
    });
    expect(found).toMatchObject({ factor: null, split: null });
    expect(needOf({ instances: 2, asked: [found, found] }).needed).toBe(2);
  });
});
