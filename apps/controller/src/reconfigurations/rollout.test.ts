import type { RankStep } from "@fulcrum/contracts/agent-api.js";
import type { ReconfigurationState } from "@fulcrum/contracts/resources.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { backoffMs, isProgress, stateOf, stepTimeoutMs } from "./rollout.js";

const STEPS = ["preparing", "ready", "armed", "switched", "verified"] as const;
const step = fc.constantFrom<RankStep | null>(null, ...STEPS, "failed");

describe("isProgress", () => {
  const cases: [RankStep | null, RankStep, boolean][] = [
    [null, "preparing", true],
    [null, "verified", true],
    [null, "failed", true],
    ["preparing", "preparing", false],
    ["preparing", "ready", true],
    ["ready", "preparing", false],
    ["ready", "armed", true],
    ["ready", "switched", true],
    ["armed", "ready", false],
    ["armed", "failed", true],
    ["armed", "switched", true],
    ["switched", "verified", true],
    ["switched", "failed", true],
    ["verified", "switched", false],
    ["verified", "failed", false],
    ["failed", "failed", false],
    ["failed", "verified", false],
  ];
  test.each(cases)("from %s, %s: %s", (from, to, expected) => {
    expect(isProgress(from, to)).toBe(expected);
  });
  test("no step ever leads back to itself, directly or in a circle", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), (said) => {
        let at: RankStep | null = null;
        let moves = 0;
        for (const next of said) {
          if (next === null || !isProgress(at, next)) continue;
          at = next;
          moves += 1;
        }
        expect(moves).toBeLessThanOrEqual(STEPS.length);
      }),
    );
  });
});

describe("stateOf", () => {
  const cases: [(RankStep | null)[], number, ReconfigurationState][] = [
    [[null], 1, "offered"],
    [["verified"], 1, "verified"],
    [["verified", null], 2, "offered"],
    [["verified", "preparing"], 2, "preparing"],
    [["switched", "ready"], 2, "ready"],
    [["armed", "armed"], 2, "ready"],
    [["switched", "armed"], 2, "ready"],
    [["verified", "switched"], 2, "switched"],
    [["verified", "verified"], 2, "verified"],
    [["verified", "failed"], 2, "offered"],
    [["verified"], 2, "offered"],
    [[], 1, "offered"],
  ];
  test.each(cases)("%o of %i ranks: %s", (steps, rankCount, expected) => {
    expect(stateOf(steps, rankCount)).toBe(expected);
  });
  test("is verified when every rank is, and only then", () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 8 }),
        (steps, ranks) => {
          const all = steps.length >= ranks && steps.every((one) => one === "verified");
          expect(stateOf(steps, ranks) === "verified").toBe(all);
        },
      ),
    );
  });
  test("a rank that goes on never throws its group back", () => {
    const going = fc.array(fc.constantFrom(...STEPS), { minLength: 1, maxLength: 8 });
    const order: ReconfigurationState[] = ["offered", "preparing", "ready", "switched", "verified"];
    fc.assert(
      fc.property(going, fc.nat(), fc.constantFrom(...STEPS), (steps, index, next) => {
        const rank = index % steps.length;
        fc.pre(isProgress(steps.at(rank)!, next));
        const before = order.indexOf(stateOf(steps, steps.length));
        const after = order.indexOf(stateOf(steps.with(rank, next), steps.length));
        expect(after).toBeGreaterThanOrEqual(before);
      }),
    );
  });
});

const CONFIG = {
  offerTimeoutMs: 1,
  prepareTimeoutMs: 10,
  switchTimeoutMs: 100,
  verifyTimeoutMs: 1_000,
  maxAttempts: 3,
  retryBackoffMs: 500,
};

describe("stepTimeoutMs", () => {
  const cases: [ReconfigurationState, number | null, boolean, number][] = [
    ["offered", 50, true, 1],
    ["preparing", null, true, 10],
    ["preparing", 50, true, 160],
    ["ready", 50, true, 100],
    ["ready", 50, false, 250],
    ["switched", 50, true, 1_000],
    ["verified", 50, true, 0],
    ["rolled_back", 50, true, 0],
  ];
  test.each(cases)("%s of a driver that prepares for %s ms, live %s: %s ms", (state, prepareMs, live, ms) => {
    expect(stepTimeoutMs(state, CONFIG, { live, prepareMs })).toBe(ms);
  });
});

test.each([
  [1, 500],
  [2, 1_000],
  [3, 2_000],
  [7, 32_000],
  [8, 60_000],
  [20, 60_000],
])("before attempt %i + 1 the wait is %i ms", (attempt, expected) => {
  expect(backoffMs(attempt, CONFIG)).toBe(expected);
});
