/** The search policy against the simulator, on short lanes: what it must win, and what it must leave alone. */
import { DEFAULT_GUARDS, DEFAULT_SEARCH } from "@fulcrum/core/defaults.js";
import type { SloTarget } from "@fulcrum/core/nouns.js";
import { WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import type { OverlapRule, Profile } from "@fulcrum/simulator/profile.js";
import type { LengthTable } from "@fulcrum/simulator/workload.js";
import { describe, expect, test } from "vitest";
import { requestsOf } from "./load.js";
import { policyController } from "./policy-controller.js";
import { priorOf } from "./prior-of.js";
import { runLane } from "./run-lane.js";
import type { LaneSummary } from "./summary.js";
import { summarise } from "./summary.js";

/** Near an 8B model on one A100; overlapping caps are divided by `overlapRule`. */
const profileOf = (overlapRule: OverlapRule): Profile => ({
  name: "a GPU",
  sources: "made up",
  smCount: 108,
  smPerTpc: 2,
  prefill: {
    kernelMs: [8, 0.06, 18e-7],
    engineMs: 15,
    smShare: {
      small: {
        size: 256,
        a: 0.37,
        b: 0.59,
      },
      large: {
        size: 4096,
        a: 0.7,
        b: 0.26,
      },
    },
  },
  decode: {
    kernelMs: [11, 0.045, 11e-5],
    engineMs: 8,
    smShare: {
      small: {
        size: 16,
        a: 0.18,
        b: 0.79,
      },
      large: {
        size: 64,
        a: 0.36,
        b: 0.62,
      },
    },
  },
  contention: {
    decodeByPrefill: 0.15,
    prefillByDecode: 0.05,
    overlapToPrefill: 0.65,
    overlapRule,
  },
  kvTotalTokens: 44e4,
  kvBlockTokens: 16,
  maxBatch: 512,
  maxBatchedTokens: 4096,
});

interface Workload {
  readonly lengths: LengthTable;
  readonly slo: SloTarget;
}

const workload = (band: Omit<LengthTable[number], "weight">, ttftMs: number, tpotMs: number): Workload => ({
  lengths: [{ weight: 1, ...band }],
  slo: {
    ttft: { percentile: 0.9, boundMs: ttftMs },
    tpot: { percentile: 0.9, boundMs: tpotMs },
    attainmentShare: 0.9,
  },
});

/** Long prompts, short answers. */
const documents = workload(
  {
    promptTokens: [
      [0, 800],
      [0.5, 2800],
      [1, 3200],
    ],
    outputTokens: [
      [0, 10],
      [0.5, 100],
      [1, 300],
    ],
  },
  2250,
  130,
);
const chat = workload(
  {
    promptTokens: [
      [0, 5],
      [0.5, 80],
      [0.9, 700],
      [1, 1500],
    ],
    outputTokens: [
      [0, 5],
      [0.5, 250],
      [1, 800],
    ],
  },
  300,
  150,
);
/** Short prompts, long answers, and a TPOT of three single requests. */
const longAnswers = workload(
  {
    promptTokens: [
      [0, 5],
      [1, 60],
    ],
    outputTokens: [
      [0, 200],
      [0.5, 420],
      [1, 900],
    ],
  },
  300,
  60,
);

interface Case {
  readonly workload: Workload;
  readonly ratePerS: number;
  readonly rule: OverlapRule;
  readonly seed: number;
  /** Whether the policy is told the profile. */
  readonly told: boolean;
}

const LENGTH_MS = 150_000;

/** The same requests under (100,100) and under search from there on; every request counts. */
function lanes({ workload: { lengths, slo }, ratePerS, rule, seed, told }: Case): {
  readonly open: LaneSummary;
  readonly search: LaneSummary;
} {
  const profile = profileOf(rule);
  const streams = [{ kind: "it", fromPerS: ratePerS, toPerS: ratePerS, cv: 1 }];
  const requests = requestsOf(
    [{ name: "steady", durationMs: LENGTH_MS, streams, bursts: [] }],
    { it: { kind: "table", table: lengths } },
    seed,
  );
  const initial = { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 };
  const common = { initial, controlIntervalMs: 5_000 };
  const lane = { profile, requests, slo, prepareMs: 2_000, drainMs: 60_000, ...common };
  const controller = policyController({
    policy: { name: "search", params: { ...DEFAULT_SEARCH, prior: told ? priorOf(profile) : null } },
    guards: DEFAULT_GUARDS,
    limits: WIDEST_LIMITS,
    ...common,
  });
  return {
    open: summarise(runLane({ ...lane, controller: null }), slo, LENGTH_MS, 0),
    search: summarise(runLane({ ...lane, controller }), slo, LENGTH_MS, 0),
  };
}

/** Two points of attainment: what no lane may lose. */
const HARM = 0.02;

describe.each([
  { knows: "told the profile", told: true },
  { knows: "told nothing", told: false },
])("$knows", ({ told }) => {
  test.each<{ rule: OverlapRule; ratePerS: number; seed: number }>([
    { rule: "constant", ratePerS: 4.2, seed: 1 },
    { rule: "constant", ratePerS: 4.2, seed: 2 },
    { rule: "by-cap", ratePerS: 4.2, seed: 1 },
    { rule: "proportional", ratePerS: 3.4, seed: 1 },
    { rule: "proportional", ratePerS: 3.4, seed: 2 },
  ])(
    "long prompts at $ratePerS/s, overlap $rule: 20 points and more over (100,100), seed $seed",
    ({ rule, ratePerS, seed }) => {
      const { open, search } = lanes({ workload: documents, ratePerS, rule, seed, told });
      expect(search.bothOk).toBeGreaterThan(open.bothOk + 0.2);
      expect(search.ttftOk).toBeGreaterThan(open.ttftOk);
      expect(search.switches.length).toBeLessThanOrEqual(5);
      const last = search.switches.at(-1)!.to;
      expect(last.prefillSmPct).toBeGreaterThan(last.decodeSmPct);
    },
  );

  test.each<{ name: string; workload: Workload; ratePerS: number; rule: OverlapRule }>([
    { name: "chat", workload: chat, ratePerS: 4, rule: "constant" },
    { name: "chat", workload: chat, ratePerS: 4, rule: "proportional" },
    { name: "documents", workload: documents, ratePerS: 1, rule: "constant" },
    { name: "long answers", workload: longAnswers, ratePerS: 4, rule: "constant" },
  ])(
    "$name at a light $ratePerS/s, overlap $rule: at most one move, and no harm",
    ({ workload: what, ratePerS, rule }) => {
      const { open, search } = lanes({ workload: what, ratePerS, rule, seed: 1, told });
      expect(open.bothOk).toBeGreaterThan(0.97);
      expect(search.switches.length).toBeLessThanOrEqual(1);
      expect(search.bothOk).toBeGreaterThanOrEqual(open.bothOk - HARM);
    },
  );

  test.each<{ ratePerS: number; rule: OverlapRule }>([
    { ratePerS: 10, rule: "constant" },
    { ratePerS: 13, rule: "constant" },
    { ratePerS: 13, rule: "proportional" },
    { ratePerS: 18, rule: "constant" },
  ])("long answers at $ratePerS/s, overlap $rule: never worse than (100,100)", ({ ratePerS, rule }) => {
    const { open, search } = lanes({ workload: longAnswers, ratePerS, rule, seed: 1, told });
    expect(search.bothOk).toBeGreaterThanOrEqual(open.bothOk - HARM);
    expect(search.switches.length).toBeLessThanOrEqual(5);
  });
});
