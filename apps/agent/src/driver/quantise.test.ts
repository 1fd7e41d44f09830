import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Limits, WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import type { DriverCapabilities } from "../partition-driver.js";
import { judge, quantise } from "./quantise.js";

function capabilities(limits: Partial<Limits> = {}, roundingPct = 1.86): DriverCapabilities {
  return {
    driver: "test",
    live: true,
    limits: { ...WIDEST_LIMITS, ...limits },
    prepareMs: 0,
    smCount: 108,
    roundingPct,
  };
}

const target = (prefillSmPct: number, decodeSmPct: number, kvQuotaPct = 100) => ({
  generation: 4,
  split: { prefillSmPct, decodeSmPct },
  kvQuotaPct,
});

describe("a plan", () => {
  test.each<[string, Partial<Limits>, [number, number, number?], [number, number, number]]>([
    ["what is deliverable stays", {}, [60, 40, 90], [60, 40, 90]],
    ["oversubscription stays where the driver allows it", {}, [100, 100], [100, 100, 100]],
    ["to the granularity", { granularityPct: 5 }, [62.4, 37.6], [60, 40, 100]],
    ["into the bounds", { minSmPct: 10, maxSmPct: 90, minKvQuotaPct: 20 }, [2, 99, 3], [10, 90, 20]],
    ["the larger gives way to the sum", { maxSumPct: 100 }, [80, 40], [60, 40, 100]],
    ["both when they are alike", { maxSumPct: 100 }, [80, 80], [50, 50, 100]],
    ["the decode cap when it is larger", { maxSumPct: 100 }, [30, 90], [30, 70, 100]],
  ])("%s", (_what, limits, [x, y, kv], [wantX, wantY, wantKv]) => {
    const plan = quantise(target(x, y, kv ?? 100), capabilities(limits));
    expect(plan.asked).toEqual({ split: { prefillSmPct: wantX, decodeSmPct: wantY }, kvQuotaPct: wantKv });
    expect(plan.adjusted.length > 0).toBe(x !== wantX || y !== wantY || (kv ?? 100) !== wantKv);
  });

  test("never leaves the bounds or the sum, and is stable when planned again", () => {
    const pct = fc.double({ min: 1, max: 100, noNaN: true });
    const limits = fc.record({
      minSmPct: fc.integer({ min: 1, max: 20 }),
      maxSmPct: fc.integer({ min: 60, max: 100 }),
      maxSumPct: fc.integer({ min: 60, max: 200 }),
      granularityPct: fc.constantFrom(1, 2, 5),
    });
    fc.assert(
      fc.property(pct, pct, pct, limits, (x, y, kv, bounds) => {
        const able = capabilities(bounds);
        const { asked } = quantise(target(x, y, kv), able);
        for (const cap of [asked.split.prefillSmPct, asked.split.decodeSmPct]) {
          expect(cap).toBeGreaterThanOrEqual(bounds.minSmPct);
          expect(cap).toBeLessThanOrEqual(bounds.maxSmPct);
        }
        expect(asked.split.prefillSmPct + asked.split.decodeSmPct).toBeLessThanOrEqual(bounds.maxSumPct);
        expect(quantise({ generation: 4, ...asked }, able).asked.kvQuotaPct).toBe(asked.kvQuotaPct);
      }),
    );
  });
});

describe("the verdict on a read-back", () => {
  const plan = quantise(target(60, 40, 90), capabilities());
  test.each<[string, [number, number, number], boolean]>([
    ["exact", [60, 40, 90], true],
    ["rounded down by less than a TPC", [59.26, 38.89, 90], true],
    ["short by more than a TPC", [57, 40, 90], false],
    ["more than was asked", [60.5, 40, 90], false],
    ["the other phase is off", [60, 100, 90], false],
    ["the quota is off", [60, 40, 100], false],
  ])("%s", (_what, [x, y, kv], delivered) => {
    const got = { split: { prefillSmPct: x, decodeSmPct: y }, kvQuotaPct: kv };
    expect(judge(plan, got).kind).toBe(delivered ? "delivered" : "not_delivered");
  });
});
