import { slowdown } from "@fulcrum/simulator/step-time.js";
import { describe, expect, it } from "vitest";
import { prefillLoadShare, timeSharedRatePerS } from "./capacity.js";
import { changedProfile } from "./plant.js";
import { priorOf } from "./prior-of.js";
import { profile } from "./testing/kit.js";

describe("what a time-shared GPU sustains", () => {
  it("is bound by prefill where answers are one token", () => {
    // 5 + 0.07 * 1000 = 75 ms of prefill; decode of a single token at a batch of 159 costs next to nothing.
    const rate = timeSharedRatePerS(profile, [{ promptTokens: 1000, outputTokens: 1 }]);
    expect(rate).toBeGreaterThan(0.95 / 0.075);
    expect(rate).toBeLessThanOrEqual(0.98 / 0.075);
  });

  it("is bound by decode's greatest batch where prompts are short", () => {
    // Context 10 + 500: a batch of 256 holds 130,560 tokens of 160,000. Step 10 + 12.8 + 13.056 ms.
    const tokensPerS = 256_000 / 35.856;
    const prefillS = 0.0057;
    const rate = timeSharedRatePerS(profile, [{ promptTokens: 10, outputTokens: 1000 }]);
    expect(rate).toBeCloseTo(tokensPerS / (1000 + prefillS * tokensPerS), 6);
  });

  it("is bound by the KV pool where contexts are long", () => {
    const rows = [{ promptTokens: 3000, outputTokens: 2000 }];
    const half = { ...profile, kvTotalTokens: 80_000 };
    expect(timeSharedRatePerS(half, rows)).toBeLessThan(timeSharedRatePerS(profile, rows));
  });

  it("gives lambda as the time that prefill kernels would run alone", () => {
    const rows = [{ promptTokens: 1000, outputTokens: 10 }];
    expect(prefillLoadShare(profile, rows, 5)).toBeCloseTo(5 * 0.075, 9);
  });
});

describe("a changed plant and what a policy is told of it", () => {
  it("tells the profile's own numbers, and a sensitivity that gives its slowdown", () => {
    const prior = priorOf(profile);
    expect(prior.prefill.kernelMs).toEqual(profile.prefill.kernelMs);
    expect(prior.decode.engineMs).toBe(profile.decode.engineMs);
    // Both curves of the test profile are alike, so the sensitivity must reproduce them at every share.
    for (const share of [0.2, 0.5, 0.9]) {
      const told = 1 + prior.decode.sensitivity * (1 / share - 1);
      expect(told).toBeCloseTo(slowdown(profile.decode.smShare, 50, share), 9);
    }
  });

  it("scales step times, engine constants and contention apart from each other", () => {
    const slower = changedProfile(profile, { stepTimes: 1.5 });
    expect(slower.prefill.kernelMs[1]).toBeCloseTo(0.105, 9);
    expect(slower.decode.engineMs).toBe(3);
    expect(changedProfile(profile, { engine: 2 }).decode).toMatchObject({
      engineMs: 4,
      kernelMs: profile.decode.kernelMs,
    });
    expect(changedProfile(profile, { contention: 0 }).contention).toMatchObject({
      decodeByPrefill: 0,
      prefillByDecode: 0,
    });
    expect(changedProfile(profile, { overlapRule: "by-cap" }).contention.overlapRule).toBe("by-cap");
  });
});
