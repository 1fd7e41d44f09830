import { SAMPLE_SLO } from "@fulcrum/core/fixtures.js";
import { describe, expect, test } from "vitest";
import { policy, poolInput } from "./pools.js";

const PHASE = { kernelMs: [8, 0.06, 1e-6], engineMs: 8, sensitivity: 0.6 };
const GROWTH = { small: 16, large: 64, gain: 0.2 };
const prior = (growth: unknown) => ({ prefill: PHASE, decode: { ...PHASE, growth } });
const pool = (growth: unknown) =>
  poolInput.safeParse({
    name: "chat",
    model: "llama3-8b",
    slo: SAMPLE_SLO,
    policy: { name: "search", params: { prior: prior(growth) } },
  });

describe("how a prior's sensitivity grows with the iteration", () => {
  test.each([
    { name: "not told", growth: undefined },
    { name: "the least", growth: { small: 1, large: 1.5, gain: -1.2 } },
    { name: "the most", growth: { small: 1, large: 1e6, gain: 1.2 } },
  ])("$name: accepted and kept", ({ growth }) => {
    const { success, data } = pool(growth);
    expect(success).toBe(true);
    expect(data?.policy).toEqual({ name: "search", params: { prior: prior(growth) } });
  });

  test.each([
    { growth: { ...GROWTH, small: 0.5 }, field: ["small"], want: ">=1" },
    { growth: { ...GROWTH, large: 2e6 }, field: ["large"], want: "<=1000000" },
    { growth: { ...GROWTH, large: 16 }, field: ["large"], want: "must be above small" },
    { growth: { ...GROWTH, gain: -1.3 }, field: ["gain"], want: ">=-1.2" },
    { growth: { ...GROWTH, gain: 1.3 }, field: ["gain"], want: "<=1.2" },
    { growth: { ...GROWTH, step: 1 }, field: [], want: "step" },
    { growth: null, field: [], want: "object" },
  ])("refused by field and bound: $growth", ({ growth, field, want }) => {
    const issues = pool(growth).error?.issues ?? [];
    expect(issues).toHaveLength(1);
    expect(issues[0]?.path).toEqual(["policy", "params", "prior", "decode", "growth", ...field]);
    expect(issues[0]?.message).toContain(want);
  });

  test("a policy stored before there was one is read as it is", () => {
    const stored = {
      name: "search",
      params: { minGainShare: 0.008, moveKvQuota: true, prior: { prefill: PHASE, decode: PHASE } },
    };
    expect(policy.parse(stored)).toEqual(stored);
  });
});
