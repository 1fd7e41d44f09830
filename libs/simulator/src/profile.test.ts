import { describe, expect, it } from "vitest";
import * as fc from "fast-check";
import { deliveredSmPct, OVERLAP_RULES, parseProfile, withContention, type Profile } from "./profile.js";
import { decodeStepMs, prefillStepMs, shareInForce, slowdown } from "./step-time.js";

function json(): Record<string, unknown> {
  return {
    name: "small",
    sources: "made up",
    smCount: 108,
    smPerTpc: 2,
    prefill: {
      kernelMs: { p0: 8, p1: 0.06, p2: 1e-6 },
      engineMs: 15,
      smShare: { small: { size: 256, a: 0.37, b: 0.59 }, large: { size: 4096, a: 0.71, b: 0.26 } },
    },
    decode: {
      kernelMs: { d0: 11, d1: 0.05, d2: 1e-4 },
      engineMs: 8,
      smShare: { small: { size: 16, a: 0.18, b: 0.79 }, large: { size: 64, a: 0.36, b: 0.62 } },
    },
    contention: { decodeByPrefill: 0.15, prefillByDecode: 0.05, overlapToPrefill: 0.65 },
    kvTotalTokens: 16_000,
    kvBlockTokens: 16,
    maxBatch: 64,
    maxBatchedTokens: 2048,
  };
}

const small: Profile = parseProfile(json(), "small.json");

describe("parseProfile", () => {
  it.each([
    [{ kvTotalTokens: 1001 }, "small.json: kvTotalTokens must be a multiple of kvBlockTokens 16"],
    [{ maxBatch: 0 }, "small.json: maxBatch must be a number 1..65536, got 0"],
    [{ smCount: 7 }, "small.json: smCount must be a multiple of smPerTpc 2"],
    [{ colour: 1 }, "small.json: colour is unknown"],
    [{ prefill: {} }, "small.json: prefill.kernelMs must be an object, got nothing"],
    [
      { contention: { decodeByPrefill: -1 } },
      "small.json: contention.decodeByPrefill must be a number 0..10, got -1",
    ],
    [
      { contention: { decodeByPrefill: 0, prefillByDecode: 0, overlapToPrefill: 0.5, overlapRule: "none" } },
      'small.json: contention.overlapRule must be one of constant, proportional, by-cap, got "none"',
    ],
  ])("refuses %j by field and bound", (change, message) => {
    expect(() => parseProfile({ ...json(), ...change }, "small.json")).toThrow(message);
  });
});

describe("deliveredSmPct", () => {
  it.each([
    [100, 100],
    [50, 50],
    [49, (26 / 54) * 100],
    [5, (2 / 54) * 100],
    [1, (1 / 54) * 100],
  ])("delivers %d %% as whole TPCs", (asked, delivered) => {
    expect(deliveredSmPct(small, asked)).toBeCloseTo(delivered, 9);
  });

  it("never delivers more than was asked, from one TPC on", () => {
    fc.assert(
      fc.property(fc.double({ min: 2, max: 100, noNaN: true }), (asked) => {
        const delivered = deliveredSmPct(small, asked);
        expect(delivered).toBeLessThanOrEqual(asked + 1e-6);
        expect(delivered).toBeGreaterThan(asked - 100 / 54 - 1e-6);
      }),
    );
  });
});

describe("step times", () => {
  const pct = fc.integer({ min: 5, max: 100 });

  it.each(OVERLAP_RULES)("are never slower with a larger cap of one's own (%s)", (overlapRule) => {
    const profile = withContention(small, { overlapRule });
    fc.assert(
      fc.property(
        pct,
        pct,
        pct,
        fc.integer({ min: 1, max: 8000 }),
        fc.boolean(),
        (a, b, other, size, runs) => {
          const [less, more] = [Math.min(a, b), Math.max(a, b)];
          const prefill = (cap: number): number => {
            const split = { prefillSmPct: deliveredSmPct(profile, cap), decodeSmPct: other };
            const share = shareInForce(profile, split, "prefill", runs);
            return prefillStepMs(profile, { tokens: size, sumSq: size * size }, share, runs);
          };
          const decode = (cap: number): number => {
            const split = { prefillSmPct: other, decodeSmPct: deliveredSmPct(profile, cap) };
            const share = shareInForce(profile, split, "decode", runs);
            return decodeStepMs(profile, { sequences: size, contextTokens: 500 * size }, share, runs);
          };
          expect(prefill(more)).toBeLessThanOrEqual(prefill(less) + 1e-9);
          expect(decode(more)).toBeLessThanOrEqual(decode(less) + 1e-9);
        },
      ),
    );
  });

  it.each(OVERLAP_RULES)("divide overlapping caps without making or losing SMs (%s)", (overlapRule) => {
    const profile = withContention(small, { overlapRule });
    fc.assert(
      fc.property(pct, pct, (x, y) => {
        const split = { prefillSmPct: x, decodeSmPct: y };
        const prefill = shareInForce(profile, split, "prefill", true);
        const decode = shareInForce(profile, split, "decode", true);
        expect(prefill + decode).toBeCloseTo(Math.min(100, x + y) / 100, 9);
        expect(prefill).toBeGreaterThan(0);
        expect(decode).toBeGreaterThan(0);
        expect(shareInForce(profile, split, "prefill", false)).toBeCloseTo(x / 100, 9);
      }),
    );
  });

  it.each([
    ["constant", 100, 100, 70, 30],
    ["by-cap", 100, 100, 70, 30],
    ["proportional", 100, 100, 50, 50],
    ["constant", 80, 100, 56, 44],
    ["by-cap", 80, 100, 52.09, 47.91],
    ["proportional", 80, 100, 44.44, 55.56],
    ["by-cap", 60, 30, 60, 30],
    ["proportional", 60, 30, 60, 30],
  ] as const)("divide by the rule: %s of (%d, %d) is %d/%d", (overlapRule, x, y, prefill, decode) => {
    const profile = withContention(small, { overlapRule, overlapToPrefill: 0.7 });
    const split = { prefillSmPct: x, decodeSmPct: y };
    expect(shareInForce(profile, split, "prefill", true) * 100).toBeCloseTo(prefill, 2);
    expect(shareInForce(profile, split, "decode", true) * 100).toBeCloseTo(decode, 2);
  });

  it("slow a large batch more than a small one, and not at all on the whole GPU", () => {
    const curves = small.prefill.smShare;
    expect(slowdown(curves, 100, 1)).toBeCloseTo(1, 12);
    expect(slowdown(curves, 8192, 1)).toBeCloseTo(1, 12);
    expect(slowdown(curves, 100, 0.5)).toBeCloseTo((0.37 / 0.5 + 0.59) / 0.96, 9);
    expect(slowdown(curves, 1024, 0.5)).toBeGreaterThan(slowdown(curves, 256, 0.5));
    expect(slowdown(curves, 8192, 0.5)).toBeGreaterThan(slowdown(curves, 1024, 0.5));
  });

  it("leave host time alone", () => {
    const batch = { tokens: 1000, sumSq: 1e6 };
    const kernelMs = 8 + 60 + 1;
    expect(prefillStepMs(small, batch, 1, false)).toBeCloseTo(kernelMs + 15, 9);
    expect(prefillStepMs(small, batch, 1, true)).toBeCloseTo(kernelMs * 1.05 + 15, 9);
  });
});
