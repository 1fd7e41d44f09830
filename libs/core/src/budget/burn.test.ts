import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BURN_PAIRS,
  burnOf,
  burnRate,
  type Count,
  LEAST_REQUESTS,
  pairsFor,
  spentShare,
  thresholdOf,
} from "./burn.js";

const [HOUR, SIX_HOURS, THREE_DAYS] = [BURN_PAIRS[0]!, BURN_PAIRS[1]!, BURN_PAIRS[2]!];
const missing = (requests: number, share: number): Count => ({ requests, within: requests * (1 - share) });

test("over 30 days the thresholds are the SRE workbook's", () => {
  expect(BURN_PAIRS.map((pair) => thresholdOf(pair, 30, 0.999))).toEqual([
    { rate: expect.closeTo(14.4, 9), loweredFrom: null },
    { rate: expect.closeTo(6, 9), loweredFrom: null },
    { rate: expect.closeTo(1, 9), loweredFrom: null },
  ]);
});

describe("a threshold", () => {
  test.each([
    // 90 % can be missed ten times too fast at most: 13.44 is never reached.
    [HOUR, 28, 0.9, 8.2, 13.44],
    [SIX_HOURS, 28, 0.9, 5.6, null],
    // Over 28 days a tenth in three days is 0.93 of the pace: below 1 the promise is kept, so 1 it is.
    [THREE_DAYS, 28, 0.9, 1, null],
    [HOUR, 28, 0.5, 1.8, 13.44],
    [HOUR, 28, 0.99, 13.44, null],
    [SIX_HOURS, 1, 0.9, 1, null],
    [HOUR, 90, 0.999, 43.2, null],
  ] as const)("of %o over %i days for a promise of %f", (pair, days, target, rate, loweredFrom) => {
    const found = thresholdOf(pair, days, target);
    expect(found.rate).toBeCloseTo(rate, 9);
    if (loweredFrom === null) expect(found.loweredFrom).toBeNull();
    else expect(found.loweredFrom).toBeCloseTo(loweredFrom, 9);
  });

  test("can always be reached, and is never reached by who keeps the promise", () => {
    const anyPair = fc.constantFrom(...BURN_PAIRS);
    const target = fc.double({ min: 0.01, max: 1, noNaN: true });
    fc.assert(
      fc.property(anyPair, fc.integer({ min: 1, max: 90 }), target, (pair, days, promised) => {
        const { rate } = thresholdOf(pair, days, promised);
        expect(rate).toBeGreaterThanOrEqual(1);
        expect(burnRate(missing(1_000, 1), promised)!).toBeGreaterThanOrEqual(rate);
        if (promised < 1)
          expect(burnRate(missing(1_000, 0.999 * (1 - promised)), promised)!).toBeLessThan(rate);
      }),
    );
  });
});

test("a pair says nothing of a budget that is shorter than its long window", () => {
  expect(pairsFor(1).map(({ name }) => name)).toEqual(["burn_1h", "burn_6h"]);
  expect(pairsFor(3).map(({ name }) => name)).toEqual(["burn_1h", "burn_6h"]);
  expect(pairsFor(4)).toHaveLength(3);
});

describe("a pair of windows", () => {
  const burn = (long: Count, short: Count, target = 0.99) => burnOf(HOUR, long, short, 28, target);

  test.each([
    ["both burn", missing(5_000, 0.2), missing(400, 0.2), true],
    ["only the hour does: it is over", missing(5_000, 0.2), missing(400, 0), false],
    ["only the last minutes do: not yet", missing(5_000, 0.01), missing(400, 0.5), false],
    ["nobody came", missing(0, 0), missing(0, 0), false],
  ])("%s", (_, long, short, firing) => {
    expect(burn(long, short).firing).toBe(firing);
  });

  test("with too few requests in the short one does not fire, and says so", () => {
    const few = burn(missing(5_000, 0.5), missing(LEAST_REQUESTS - 1, 1));
    expect(few).toMatchObject({ firing: false, shortRequests: LEAST_REQUESTS - 1 });
    expect(few.message).toBe("29 requests in the last 5 min are too few to tell; 30 are needed.");
    expect(burn(missing(5_000, 0.5), missing(LEAST_REQUESTS, 1)).firing).toBe(true);
  });

  test("tells a threshold that was lowered", () => {
    const found = burn(missing(5_000, 0.9), missing(400, 0.9), 0.9);
    expect(found).toMatchObject({ firing: true, loweredFrom: expect.closeTo(13.44, 9) });
    expect(found.message).toBe(
      "The budget burns 9x over 1 h and 9x over 5 min, both at or above 8.2x. " +
        "The threshold would be 13.4x; a promise of 90 % can burn at most 10x.",
    );
  });

  test("of a promise of 100 % has numbers too", () => {
    const found = burn(missing(5_000, 0.001), missing(400, 0.1), 1);
    expect(found.firing).toBe(true);
    expect(Number.isFinite(found.longRate)).toBe(true);
  });
});

test.each([
  [missing(1_000, 0), 0.9, 0],
  [missing(1_000, 0.05), 0.9, 0.5],
  [missing(1_000, 0.3), 0.9, 3],
  [missing(0, 0), 0.9, 0],
])("%o of a promise of %f has spent %f of its budget", (count, target, spent) => {
  expect(spentShare(count, target)).toBeCloseTo(spent, 9);
});
