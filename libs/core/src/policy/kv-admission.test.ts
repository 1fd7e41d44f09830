import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { kvAdmission } from "./kv-admission.js";
import type { AdmissionView } from "./kv-admission.js";

/** A busy Llama3-8B instance on ShareGPT: 12 requests a second, half of the pool in use. */
const BUSY: AdmissionView = {
  totalTokens: 100_000,
  usedTokens: 50_000,
  running: 125,
  outputMeanTokens: 300,
  outputSdTokens: 300,
  promptMeanTokens: 250,
  arrivalPerS: 8,
  waitingTokens: 1_000,
  prefillMsPerToken: 0.1,
  decodeStepMs: 40,
  minQuotaPct: 5,
  maxQuotaPct: 100,
};

/** 1,080 short prompts with long answers, all at once, onto an empty pool that holds 600 of them when half grown. */
const STAMPEDE: AdmissionView = {
  ...BUSY,
  usedTokens: 0,
  running: 0,
  outputMeanTokens: 237,
  outputSdTokens: 237,
  promptMeanTokens: 50,
  arrivalPerS: 0.5,
  waitingTokens: 54_000,
  decodeStepMs: 11,
};

const chanceOf = (view: AdmissionView) => Number(/chance of ([\d.]+) %/.exec(kvAdmission(view).why)?.[1]);
const costOf = (view: AdmissionView) =>
  Number(/cost ([\d.]+) request-seconds/.exec(kvAdmission(view).why)?.[1]);

describe("whether a quota is worth it", () => {
  test.each([
    { name: "room for all", over: {} },
    { name: "a full pool that empties as requests finish", over: { usedTokens: 98_000, running: 240 } },
    {
      name: "a backlog, and prompts as long as answers",
      over: { waitingTokens: 40_000, usedTokens: 90_000 },
    },
    { name: "prefill only just keeps up", over: { arrivalPerS: 35 } },
    { name: "the overflow comes from those who run", over: { running: 1_000, outputMeanTokens: 1_000 } },
    {
      name: "nothing runs and nothing waits",
      over: { usedTokens: 0, running: 0, waitingTokens: 0, arrivalPerS: 0 },
    },
  ])("no quota: $name", ({ over }) => {
    const { quotaPct, why } = kvAdmission({ ...BUSY, ...over });
    expect(quotaPct).toBe(100);
    expect(why).toMatch(/^No quota: /);
  });

  test("a stampede of short prompts with long answers gets one", () => {
    const { quotaPct, why } = kvAdmission(STAMPEDE);
    expect(quotaPct).toBeLessThanOrEqual(10);
    expect(why).toMatch(
      /^A quota of \d+ % saves [\d.]+ request-seconds for [\d.]+ request-seconds of waiting: /,
    );
  });

  test.each([
    { name: "its answers are short", over: { outputMeanTokens: 30, outputSdTokens: 30 } },
    { name: "its pool is large", over: { totalTokens: 400_000 } },
    { name: "the quota may not go low enough to slow it", over: { minQuotaPct: 60 } },
    { name: "too many more arrive", over: { arrivalPerS: 80 } },
  ])("but not when $name", ({ over }) => {
    expect(kvAdmission({ ...STAMPEDE, ...over }).quotaPct).toBe(100);
  });

  test("a rate near or below what arrives is never chosen", () => {
    // Prefill makes 10 tokens per ms, at a quota of 5 % 9.8; 190 requests a second bring 9.5.
    for (const arrivalPerS of [190, 400]) {
      const { quotaPct, why } = kvAdmission({ ...STAMPEDE, arrivalPerS });
      expect(quotaPct).toBe(100);
      expect(why).toBe("No quota: prefill only just keeps up as it is");
    }
  });

  test("the greatest quota allowed is the open one", () => {
    expect(kvAdmission({ ...BUSY, maxQuotaPct: 80 }).quotaPct).toBe(80);
  });
});

describe("what it expects", () => {
  test("an empty pool does not overflow, one that is full and growing does", () => {
    expect(chanceOf(BUSY)).toBe(0);
    // Contexts of 50 tokens that have 300 more to go: they will hold more than they do before most have finished.
    expect(chanceOf({ ...BUSY, usedTokens: 95_000, running: 1_900, waitingTokens: 0 })).toBeGreaterThan(99);
  });

  test("longer spread of the answers means longer remaining ones, and a greater loss", () => {
    const young = { ...BUSY, usedTokens: 60_000, running: 600, waitingTokens: 0, arrivalPerS: 1 };
    expect(costOf({ ...young, outputSdTokens: 400 })).toBeGreaterThan(
      costOf({ ...young, outputSdTokens: 150 }),
    );
  });

  test("a preemption costs more when more wait behind it", () => {
    const full = { ...BUSY, usedTokens: 99_000, running: 600, arrivalPerS: 1 };
    expect(costOf({ ...full, waitingTokens: 20_000 })).toBeGreaterThan(
      costOf({ ...full, waitingTokens: 1_000 }),
    );
  });
});

describe("properties", () => {
  const tokens = fc.double({ min: 1, max: 1e6, noNaN: true });
  const anyView: fc.Arbitrary<AdmissionView> = fc.record({
    totalTokens: tokens,
    usedTokens: tokens,
    running: fc.integer({ min: 0, max: 2_000 }),
    outputMeanTokens: fc.double({ min: 1, max: 5_000, noNaN: true }),
    outputSdTokens: fc.double({ min: 0, max: 5_000, noNaN: true }),
    promptMeanTokens: fc.double({ min: 1, max: 10_000, noNaN: true }),
    arrivalPerS: fc.double({ min: 0, max: 100, noNaN: true }),
    waitingTokens: tokens,
    prefillMsPerToken: fc.double({ min: 0.001, max: 1, noNaN: true }),
    decodeStepMs: fc.double({ min: 1, max: 500, noNaN: true }),
    minQuotaPct: fc.integer({ min: 0, max: 50 }),
    maxQuotaPct: fc.integer({ min: 50, max: 100 }),
  });

  test("the answer is within the limits, and every number in its reason is one", () => {
    fc.assert(
      fc.property(anyView, (view) => {
        const { quotaPct, why } = kvAdmission(view);
        expect(quotaPct).toBeGreaterThanOrEqual(view.minQuotaPct);
        expect(quotaPct).toBeLessThanOrEqual(view.maxQuotaPct);
        expect(why).not.toMatch(/NaN|Infinity|undefined/);
      }),
    );
  });

  test("a pool that cannot overflow never gets a quota", () => {
    fc.assert(
      fc.property(anyView, (view) => {
        const most = view.running * (view.outputMeanTokens + view.outputSdTokens) * 100 + view.usedTokens;
        const arriving = view.waitingTokens * (1 + view.outputMeanTokens) * 100;
        const roomy = { ...view, totalTokens: Math.min(1e12, most + arriving + 1e9), arrivalPerS: 0 };
        expect(kvAdmission(roomy).quotaPct).toBe(view.maxQuotaPct);
      }),
    );
  });

  test("garbage leaves the quota open and says why", () => {
    const keys = Object.keys(BUSY) as (keyof AdmissionView)[];
    const bad = fc.constantFrom(NaN, Infinity, -1, null, undefined, "7", 1e300);
    fc.assert(
      fc.property(fc.constantFrom(...keys), bad, (key, value) => {
        const { quotaPct, why } = kvAdmission({ ...STAMPEDE, [key]: value } as AdmissionView);
        expect(quotaPct).toBe(100);
        expect(why).toContain(key);
      }),
    );
    fc.assert(
      fc.property(fc.anything(), (value) => {
        expect(kvAdmission(value as AdmissionView).quotaPct).toBe(100);
      }),
    );
  });
});
