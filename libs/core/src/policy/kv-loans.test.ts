import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { expectedNeedTokens, lendKv } from "./kv-lending.js";
import type { KvBorrower } from "./kv-lending.js";
import { withCallableLoans } from "./kv-loans.js";

const EQUAL = 100_000;
const EAGER = { minSavingMs: 0, minSavingShare: 0 };

const borrower = (instance: string, over: Partial<KvBorrower> = {}, growthTokens = 5_000): KvBorrower => ({
  instance,
  shareTokens: EQUAL,
  usedTokens: 30_000,
  floorTokens: 8_000,
  demand: {
    growthTokens,
    arrivalPerS: 0,
    lifeS: 20,
    promptTokens: 250,
    outputTokens: 300,
    varianceTokensSq: 4_000 ** 2,
    recomputeMsPerToken: 0.1,
  },
  ...over,
});

const planOf = (borrowers: readonly KvBorrower[]) =>
  lendKv({ totalTokens: borrowers.length * EQUAL, blockTokens: 16, borrowers }, EAGER);
const shareOf = (plan: ReturnType<typeof planOf>, instance: string) =>
  plan.shares.find((share) => share.instance === instance)?.shareTokens ?? NaN;

describe("loans that can be called", () => {
  test("an owner gets its equal share back as far as it needs it, from one that uses all it was ever lent", () => {
    const swollen = borrower("swollen", { shareTokens: 180_000, usedTokens: 180_000 }, 60_000);
    const owner = borrower("owner", { shareTokens: 20_000, usedTokens: 20_000 }, 50_000);
    const held = planOf([swollen, owner]);
    expect(shareOf(held, "owner")).toBeLessThanOrEqual(20_000);
    const called = planOf([swollen, owner].map((each) => withCallableLoans(each, EQUAL)));
    // 70,000 expected and a deviation of 4,000.
    expect(shareOf(called, "owner")).toBeGreaterThanOrEqual(74_000 - 16);
    expect(shareOf(called, "swollen")).toBeGreaterThanOrEqual(EQUAL - 16);
  });

  test("one that needs little keeps no more than that from being lent", () => {
    expect(withCallableLoans(borrower("quiet"), EQUAL).floorTokens).toBe(39_000);
    expect(withCallableLoans(borrower("quiet", { floorTokens: 50_000 }), EQUAL).floorTokens).toBe(50_000);
  });

  test("what it will need is the same; raised floors always fit the device", () => {
    const tokens = fc.integer({ min: 0, max: 1_000_000 });
    fc.assert(
      fc.property(tokens, tokens, tokens, (usedTokens, growthTokens, floorTokens) => {
        const before = borrower("any", { usedTokens, floorTokens }, growthTokens);
        const seen = withCallableLoans(before, EQUAL);
        expect(expectedNeedTokens(seen)).toBe(expectedNeedTokens(before));
        expect(seen.floorTokens).toBeLessThanOrEqual(Math.max(EQUAL, floorTokens));
        expect(seen.usedTokens).toBeLessThanOrEqual(EQUAL);
      }),
    );
  });
});
