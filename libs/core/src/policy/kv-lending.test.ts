import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DEFAULT_LENDING, expectedNeedTokens, lendKv } from "./kv-lending.js";
import type { KvBorrower, KvDemand, KvDevice, LendingPlan } from "./kv-lending.js";

const BLOCK = 16;
const TOTAL = 400_000;

/** Eight requests a second of 250 + 300 tokens that hold blocks for 20 s: 64,000 tokens by Little's law. */
const demand = (over: Partial<KvDemand> = {}): KvDemand => ({
  growthTokens: 10_000,
  arrivalPerS: 8,
  lifeS: 20,
  promptTokens: 250,
  outputTokens: 300,
  varianceTokensSq: 10_000 ** 2,
  recomputeMsPerToken: 0.1,
  ...over,
});
const borrower = (
  instance: string,
  over: Partial<KvBorrower> = {},
  of: Partial<KvDemand> = {},
): KvBorrower => ({
  instance,
  shareTokens: 200_000,
  usedTokens: 60_000,
  floorTokens: 20_000,
  demand: demand(of),
  ...over,
});
const device = (borrowers: readonly KvBorrower[], totalTokens = TOTAL): KvDevice => ({
  totalTokens,
  blockTokens: BLOCK,
  borrowers,
});
const sharesOf = (plan: LendingPlan) => plan.shares.map(({ shareTokens }) => shareTokens);
const after = (before: KvDevice, plan: LendingPlan): KvDevice => ({
  ...before,
  borrowers: before.borrowers.map((b, i) => ({ ...b, shareTokens: plan.shares[i]?.shareTokens ?? 0 })),
});

/** Takes whatever is better, however little. */
const EAGER = { minSavingMs: 0, minSavingShare: 0 };

describe("what moves", () => {
  test("the idle one lends to the one that will not fit", () => {
    const before = device([
      borrower("busy", { usedTokens: 190_000 }, { growthTokens: 60_000, arrivalPerS: 32 }),
      borrower("idle", { usedTokens: 5_000 }, { growthTokens: 0, arrivalPerS: 0.5 }),
    ]);
    const plan = lendKv(before);
    const [busy = 0, idle = 0] = sharesOf(plan);
    // What is expected and three deviations, at least.
    expect(busy).toBeGreaterThan(250_000 + 30_000);
    expect(idle).toBeGreaterThan(20_000);
    expect(plan.steps.map(({ instance }) => instance)).toEqual(["idle", "busy"]);
    expect(plan.why).toMatch(/^Lending is worth it: expected recomputation \d+(\.\d+)? ms/);
  });

  test("no room for all: both fall short alike, and the dearer one less", () => {
    const tight = (recomputeMsPerToken: number) =>
      device([
        borrower("a", {}, { arrivalPerS: 40 }),
        borrower("b", { shareTokens: 100_000 }, { arrivalPerS: 40, recomputeMsPerToken }),
      ]);
    const [a = 0, b = 0] = sharesOf(lendKv(tight(0.1)));
    expect(Math.abs(a - b)).toBeLessThanOrEqual(BLOCK);
    expect(a + b).toBeGreaterThan(TOTAL - 2 * BLOCK - 1);
    const [cheap = 0, dear = 0] = sharesOf(lendKv(tight(0.3)));
    expect(dear).toBeGreaterThan(cheap + 5_000);
  });

  test("needs that are known exactly are met exactly before anything is spread", () => {
    const exact = { varianceTokensSq: 0, growthTokens: 0 };
    const plan = lendKv(
      device([
        borrower("a", { shareTokens: 100_000 }, { ...exact, arrivalPerS: 32 }),
        borrower("b", { shareTokens: 300_000 }, { ...exact, arrivalPerS: 8 }),
      ]),
    );
    // 256,000 and 64,000 are needed; 80,000 are left.
    expect(sharesOf(plan)).toEqual([296_000, 104_000]);
    // 156,000 tokens short, at 0.1 ms each.
    expect(plan.why).toContain("expected recomputation 15600 ms, at the best shares 0 ms");
  });

  test.each([
    { name: "equal loads at equal shares", a: {}, b: {}, of: {} },
    {
      name: "equal loads that fit at unequal shares",
      a: { shareTokens: 150_000 },
      b: { shareTokens: 250_000 },
      of: {},
    },
    { name: "a load that is a tenth higher", a: {}, b: {}, of: { arrivalPerS: 8.8 } },
    {
      name: "equal loads that both do not fit",
      a: { usedTokens: 199_000 },
      b: { usedTokens: 199_000 },
      of: {},
    },
  ])("nothing: $name", ({ a, b, of }) => {
    const plan = lendKv(device([borrower("a", a, of), borrower("b", b)]));
    expect(plan.steps).toEqual([]);
    expect(plan.why).toMatch(/^Not worth a move/);
  });

  test("a device that shrank is obeyed, although a move saves nothing", () => {
    const plan = lendKv(device([borrower("a"), borrower("b")], 300_000));
    expect(plan.steps.map(({ toTokens }) => toTokens)).toEqual([150_000, 150_000]);
    expect(plan.why).toMatch(/^The shares sum to 400000 of 300000 tokens/);
  });

  test("a floor above the present share is given", () => {
    const plan = lendKv(device([borrower("a", { floorTokens: 250_000 }), borrower("b")]));
    expect(sharesOf(plan)[0]).toBeGreaterThanOrEqual(250_000);
    expect(plan.why).toMatch(/^a has less than it uses or its floor/);
  });

  test("floors that do not fit hold", () => {
    const plan = lendKv(
      device([borrower("a", { floorTokens: 300_000 }), borrower("b", { floorTokens: 200_000 })]),
    );
    expect(plan.steps).toEqual([]);
    expect(plan.why).toContain("500000 tokens of 400000");
  });
});

const tokens = fc.integer({ min: 0, max: 150_000 });
const anyDemand: fc.Arbitrary<KvDemand> = fc.record({
  growthTokens: tokens,
  arrivalPerS: fc.double({ min: 0, max: 60, noNaN: true }),
  lifeS: fc.double({ min: 0, max: 60, noNaN: true }),
  promptTokens: fc.integer({ min: 1, max: 4_000 }),
  outputTokens: fc.integer({ min: 1, max: 1_000 }),
  varianceTokensSq: fc.integer({ min: 0, max: 40_000 }).map((deviation) => deviation ** 2),
  recomputeMsPerToken: fc.double({ min: 0, max: 1, noNaN: true }),
});
/** Any device whose used tokens and floors fit; shares are anything, also more than the device in sum. */
const anyDevice: fc.Arbitrary<KvDevice> = fc
  .array(fc.record({ shareTokens: tokens, usedTokens: tokens, floorTokens: tokens, demand: anyDemand }), {
    minLength: 1,
    maxLength: 6,
  })
  .chain((parts) => {
    const borrowers = parts.map((part, i) => ({ ...part, instance: `i${i}` }));
    const least = borrowers.reduce((sum, b) => sum + Math.max(b.usedTokens, b.floorTokens) + BLOCK, BLOCK);
    return fc.integer({ min: least, max: 3 * least }).map((totalTokens) => device(borrowers, totalTokens));
  });

const withCostFrom =
  (leastMs: number) =>
  (one: KvBorrower): KvBorrower => {
    const { recomputeMsPerToken } = one.demand;
    if (recomputeMsPerToken === 0) return one;
    return { ...one, demand: { ...one.demand, recomputeMsPerToken: Math.max(leastMs, recomputeMsPerToken) } };
  };

describe("properties", () => {
  test("shares never sum above the device, nor fall below what is used or the floor", () => {
    fc.assert(
      fc.property(anyDevice, (before) => {
        const plan = lendKv(before, EAGER);
        const shares = sharesOf(plan);
        expect(shares.reduce((sum, n) => sum + n, 0)).toBeLessThanOrEqual(before.totalTokens);
        before.borrowers.forEach((b, i) => {
          expect(shares[i]).toBeGreaterThanOrEqual(Math.max(b.usedTokens, b.floorTokens));
        });
      }),
    );
  });

  test("steps lead from the present shares to the new ones, first down and then up, within the device", () => {
    fc.assert(
      fc.property(anyDevice, (before) => {
        const plan = lendKv(before, EAGER);
        const now = new Map(before.borrowers.map(({ instance, shareTokens }) => [instance, shareTokens]));
        const sum = () => [...now.values()].reduce((total, n) => total + n, 0);
        let grown = false;
        for (const { instance, fromTokens, toTokens } of plan.steps) {
          expect(now.get(instance)).toBe(fromTokens);
          if (toTokens > fromTokens) grown = true;
          expect(grown && toTokens < fromTokens).toBe(false);
          now.set(instance, toTokens);
          if (grown) expect(sum()).toBeLessThanOrEqual(before.totalTokens);
        }
        expect([...now.values()]).toEqual(sharesOf(plan));
      }),
    );
  });

  test("asked again with the new shares it moves nothing", () => {
    fc.assert(
      fc.property(anyDevice, fc.boolean(), (before, eager) => {
        const params = eager ? EAGER : DEFAULT_LENDING;
        expect(lendKv(after(before, lendKv(before, params)), params).steps).toEqual([]);
      }),
    );
  });

  test("who needs more gets no less, and nobody else gets more", () => {
    const more = fc.constantFrom("growthTokens", "arrivalPerS", "promptTokens", "recomputeMsPerToken");
    fc.assert(
      fc.property(anyDevice, more, fc.double({ min: 1, max: 4, noNaN: true }), (any, field, factor) => {
        // Nothing, or 1 us to 1 ms a token: costs hundreds of orders apart are split as well as their products are exact.
        const before = { ...any, borrowers: any.borrowers.map(withCostFrom(0.001)) };
        const [first, ...others] = before.borrowers;
        if (first === undefined) return;
        const needier = { ...first, demand: { ...first.demand, [field]: first.demand[field] * factor } };
        const forced = (borrowers: readonly KvBorrower[]) =>
          // Shares of 0 break a bound or save something: what comes back is the best there is.
          sharesOf(lendKv({ ...before, borrowers: borrowers.map((b) => ({ ...b, shareTokens: 0 })) }, EAGER));
        const was = forced([first, ...others]);
        const is = forced([needier, ...others]);
        if (was.every((n) => n === 0) || is.every((n) => n === 0)) return;
        // Whole blocks: one of them may fall to either side.
        expect(is[0] ?? 0).toBeGreaterThanOrEqual((was[0] ?? 0) - BLOCK);
        others.forEach((_, i) => expect(is[i + 1] ?? 0).toBeLessThanOrEqual((was[i + 1] ?? 0) + BLOCK));
      }),
    );
  });

  test("no other two-way shares cost less", () => {
    // Against every split in steps of 1 %: expected cost from first principles, by summing over the need's quantiles.
    const cost = (b: KvBorrower, shareTokens: number) => {
      const mean = expectedNeedTokens(b);
      const deviation = Math.sqrt(b.demand.varianceTokensSq);
      let lost = 0;
      for (let z = -5; z <= 5; z += 0.05) {
        const density = (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * 0.05;
        lost += density * Math.max(0, mean + z * deviation - shareTokens);
      }
      return lost * b.demand.recomputeMsPerToken;
    };
    fc.assert(
      fc.property(anyDemand, anyDemand, (one, two) => {
        const pair = [
          borrower("a", { shareTokens: 20_000 }, one),
          borrower("b", { shareTokens: 20_000 }, two),
        ];
        const [a, b] = pair.map((p) => ({ ...p, usedTokens: 0 }));
        if (a === undefined || b === undefined) return;
        const plan = lendKv(device([a, b]), EAGER);
        if (plan.steps.length === 0) return;
        const [mine = 0, other = 0] = sharesOf(plan);
        const ours = cost(a, mine) + cost(b, other);
        for (let share = 20_000; share <= TOTAL - 20_000; share += 4_000) {
          expect(ours).toBeLessThanOrEqual((cost(a, share) + cost(b, TOTAL - share)) * 1.005 + 2);
        }
      }),
      { numRuns: 30 },
    );
  });

  test("garbage holds and says why", () => {
    const bad = fc.constantFrom(NaN, Infinity, -Infinity, -1, null, undefined, "12", {});
    const fields = ["shareTokens", "usedTokens", "floorTokens", "demand"] as const;
    fc.assert(
      fc.property(
        anyDevice,
        bad,
        fc.constantFrom(...fields, "totalTokens", "blockTokens"),
        (before, value, field) => {
          const inside = fields.some((name) => name === field);
          const [first, ...others] = before.borrowers;
          const spoilt = inside
            ? { ...before, borrowers: [{ ...first, [field]: value }, ...others] }
            : { ...before, [field]: value };
          const plan = lendKv(spoilt as KvDevice, EAGER);
          expect(plan.steps).toEqual([]);
          expect(plan.why).toMatch(/: the shares are held$/);
        },
      ),
    );
    fc.assert(
      fc.property(fc.anything(), (value) => {
        expect(lendKv(value as KvDevice).steps).toEqual([]);
      }),
    );
  });
});
