import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { betaBelow, lnGamma } from "./beta.js";
import { promptClasses } from "./prompts.js";
import type { PromptClass } from "./prompts.js";

const sumOf = (classes: readonly PromptClass[], of: (each: PromptClass) => number) =>
  classes.reduce((sum, each) => sum + of(each), 0);
const shareAbove = (classes: readonly PromptClass[], tokens: number) =>
  sumOf(classes, (each) => (each.tokens > tokens ? each.share : 0));

describe("the beta distribution", () => {
  test.each([
    { x: 0.3, a: 1, b: 1, mass: 0.3 },
    { x: 0.3, a: 2, b: 1, mass: 0.09 },
    { x: 0.3, a: 1, b: 3, mass: 1 - 0.7 ** 3 },
    // The arcsine law.
    { x: 0.25, a: 0.5, b: 0.5, mass: 1 / 3 },
    { x: 0.9, a: 0.5, b: 0.5, mass: (2 / Math.PI) * Math.asin(Math.sqrt(0.9)) },
  ])("P(X <= $x) of Beta($a, $b) is known in closed form", ({ x, a, b, mass }) => {
    expect(betaBelow(x, a, b).mass).toBeCloseTo(mass, 6);
  });

  test("its first moment below a point: of a uniform number x^2/2", () => {
    expect(betaBelow(0.6, 1, 1).moment).toBeCloseTo(0.18, 6);
    expect(betaBelow(1, 2, 3)).toEqual({ mass: 1, moment: 0.4 });
  });

  test("ln Gamma of whole numbers is that of a factorial", () => {
    expect(lnGamma(5)).toBeCloseTo(Math.log(24), 8);
    expect(lnGamma(0.5)).toBeCloseTo(Math.log(Math.sqrt(Math.PI)), 8);
  });
});

describe("classes of prompts", () => {
  const means = fc.double({ min: 1, max: 8_000, noNaN: true });
  const spreads = fc.double({ min: 0, max: 6, noNaN: true });
  const longest = fc.oneof(fc.constant(0), fc.double({ min: 1, max: 130_000, noNaN: true }));

  test("ascend, and their shares add up to 1", () => {
    fc.assert(
      fc.property(means, spreads, longest, (mean, spread, most) => {
        const classes = promptClasses(mean, mean ** 2 * (1 + spread), most);
        expect(sumOf(classes, ({ share }) => share)).toBeCloseTo(1, 3);
        for (const [i, { tokens }] of classes.entries()) {
          expect(tokens).toBeGreaterThanOrEqual(classes[i - 1]?.tokens ?? 0);
          if (most > mean) expect(tokens).toBeLessThanOrEqual(most * (1 + 1e-9));
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test("carry the mean where the longest is told", () => {
    fc.assert(
      fc.property(means, spreads, fc.double({ min: 1.05, max: 40, noNaN: true }), (mean, spread, times) => {
        const classes = promptClasses(mean, mean ** 2 * (1 + spread), mean * times);
        expect(sumOf(classes, ({ tokens, share }) => tokens * share) / mean).toBeCloseTo(1, 2);
      }),
      { numRuns: 1_000 },
    );
  });

  test("keep their spread where one mad length was seen among them", () => {
    const classes = promptClasses(500, 2 * 500 ** 2, 1e9);
    expect(classes.length).toBeGreaterThan(5);
    expect(sumOf(classes, ({ tokens, share }) => tokens * share)).toBeCloseTo(500, 0);
    expect(Math.sqrt(sumOf(classes, ({ tokens, share }) => share * (tokens - 500) ** 2))).toBeGreaterThan(
      350,
    );
  });

  test("of one length are one class", () => {
    expect(promptClasses(2_000, 2_000 ** 2, 2_000)).toEqual([{ tokens: 2_000, share: 1 }]);
    expect(promptClasses(2_000, 2_000 ** 2, 4_000)).toEqual([{ tokens: 2_000, share: 1 }]);
  });

  test("with a heavy tail put as many prompts far out as there are: lengths like ShareGPT's", () => {
    // Mean 261, CV 2.22, longest 3,973; 5.0 % are above 1,514 tokens and 2.0 % above 2,480.
    const classes = promptClasses(261, 261 ** 2 * (1 + 2.22 ** 2), 3_973);
    expect(shareAbove(classes, 1_514)).toBeGreaterThan(0.035);
    expect(shareAbove(classes, 1_514)).toBeLessThan(0.07);
    expect(shareAbove(classes, 2_480)).toBeGreaterThan(0.015);
    expect(shareAbove(classes, 2_480)).toBeLessThan(0.03);
  });

  test("that are cut at a limit pile up there: lengths like LongBench's cut at 3,200", () => {
    const classes = promptClasses(3_026, 3_026 ** 2 * (1 + 0.15 ** 2), 3_200);
    expect(shareAbove(classes, 3_000)).toBeGreaterThan(0.7);
  });
});
