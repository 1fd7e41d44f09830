import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  greatestLimit,
  heldBytes,
  limitOfPct,
  nextLimit,
  pctOfLimit,
  type QuotaUnits,
  roomBytes,
} from "./quota-rule.js";
import type { SegmentReading } from "./segment.js";

const MIB = 2 ** 20;
const BUNDLE = 128 * MIB;
const units = (bundles: number, restoreOneBundleShort = true): QuotaUnits => ({
  startTotalBytes: bundles * BUNDLE,
  bundleBytes: BUNDLE,
  restoreOneBundleShort,
});
const reading = (limit: number, used: number, prealloc = 0): SegmentReading => ({
  identity: "1",
  limitBytes: limit * BUNDLE,
  usedBytes: used * BUNDLE,
  preallocBytes: prealloc * BUNDLE,
});

describe("the limit of a share", () => {
  test.each<[string, number, QuotaUnits, number]>([
    ["in whole bundles, downwards", 50.9, units(40), 20],
    ["at least one, for 0 is ignored", 1, units(40), 1],
    ["at least 1 %, for less cannot be told", 1, units(512), 6],
    ["the whole is one bundle short (#498)", 100, units(40), 39],
    ["also where nearly the whole is asked", 99.99, units(40), 39],
    ["the whole itself where the engine takes it", 100, units(40, false), 40],
  ])("%s", (_what, pct, of, bundles) => {
    expect(limitOfPct(pct, of)).toBe(bundles * BUNDLE);
  });

  test("comes back from its own percentage, and never passes the start-up total", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1, max: 100, noNaN: true }),
        fc.integer({ min: 2 * BUNDLE, max: 1_000 * BUNDLE }),
        fc.boolean(),
        (pct, startTotalBytes, restoreOneBundleShort) => {
          const of = { startTotalBytes, bundleBytes: BUNDLE, restoreOneBundleShort };
          const limit = limitOfPct(pct, of);
          expect(limit).toBeGreaterThanOrEqual(BUNDLE);
          expect(pctOfLimit(limit, of)).toBeGreaterThanOrEqual(1);
          expect(limit).toBeLessThanOrEqual(greatestLimit(of));
          expect(limitOfPct(pctOfLimit(limit, of), of)).toBe(limit);
        },
      ),
    );
  });
});

describe("what is written next", () => {
  test.each<[string, number, SegmentReading, boolean, number | null]>([
    ["a growth at once", 30, reading(20, 5), false, 30],
    ["nothing when it is so already", 20, reading(20, 5), false, null],
    ["a shrink that stays clear of what is in use", 10, reading(20, 5), false, 10],
    ["a shrink only to one bundle above what is in use", 5, reading(20, 8), false, 9],
    ["nothing while all of it is in use", 5, reading(20, 20), false, null],
    ["and nothing above the limit, when more is in use than allowed", 5, reading(20, 25), false, null],
    ["the whole shrink when a drain is asked", 5, reading(20, 8), true, 5],
  ])("%s", (_what, target, now, drain, bundles) => {
    expect(nextLimit(target * BUNDLE, now, BUNDLE, drain)).toBe(bundles === null ? null : bundles * BUNDLE);
  });
});

test("moves between engines of one GPU never promise more than it has, in whatever order they happen", () => {
  const BUDGET = 60;
  const step = fc.record({
    who: fc.integer({ min: 0, max: 2 }),
    act: fc.constantFrom("aim", "use", "finish", "agent"),
    size: fc.integer({ min: 1, max: 60 }),
    drain: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const engines = [20, 20, 20].map((limit) => ({ limit, used: 0, target: limit }));
      for (const { who, act, size, drain } of steps) {
        const engine = engines[who] as (typeof engines)[number];
        if (act === "aim") engine.target = size;
        // An engine takes what its limit allows, and gives back only when requests finish.
        if (act === "use") engine.used = Math.max(engine.used, Math.min(engine.limit, engine.used + size));
        if (act === "finish") engine.used = Math.max(0, engine.used - size);
        if (act === "agent") {
          const others = engines
            .filter((other) => other !== engine)
            .map(({ limit, used }) => reading(limit, used));
          const fits = engine.target * BUNDLE <= roomBytes(BUDGET * BUNDLE, others);
          const next = nextLimit(engine.target * BUNDLE, reading(engine.limit, engine.used), BUNDLE, drain);
          if (next !== null && (next <= engine.limit * BUNDLE || fits)) engine.limit = next / BUNDLE;
        }
        const held = engines.reduce((sum, { limit, used }) => sum + heldBytes(reading(limit, used)), 0);
        expect(held).toBeLessThanOrEqual(BUDGET * BUNDLE);
      }
    }),
  );
});
