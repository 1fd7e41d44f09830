import { describe, expect, test } from "vitest";
import { describeAllocation } from "./allocation.js";
import { decide } from "./decide.js";
import type { GuardConfig, PolicyConfig, Snapshot } from "./decision.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS, POLICY_VERSIONS } from "./defaults.js";
import {
  EXCLUSIVE_LIMITS,
  SAMPLE_NOW_MS,
  histogramWithPercentile,
  sampleSignal,
  sampleSnapshot,
} from "./fixtures.js";
import { UNCONTROLLED, WIDEST_LIMITS } from "./nouns.js";
import { sameDecision } from "./same-decision.js";
import { emptySignal } from "./signal/summarise.js";

const feedback: PolicyConfig = { name: "feedback", params: DEFAULT_FEEDBACK };
const target = { split: { prefillSmPct: 80, decodeSmPct: 20 }, kvQuotaPct: 60 };
const statically: PolicyConfig = { name: "static", params: { allocation: target } };
const missed = sampleSignal({ ttft: histogramWithPercentile(340, 0.9, 200) });
const run = (over: Partial<Snapshot>, policy: PolicyConfig = feedback, guards: Partial<GuardConfig> = {}) =>
  decide(sampleSnapshot(over), policy, { ...DEFAULT_GUARDS, ...guards }, SAMPLE_NOW_MS);

/** Everything in the way at once; taking the first away shows the next. */
const OBSTACLES: { reason: string; clear: (s: Snapshot) => Snapshot }[] = [
  { reason: "MAD_SIGNAL", clear: (s) => ({ ...s, signal: { ...s.signal, arrivals: 200 } }) },
  { reason: "NO_SIGNAL", clear: (s) => ({ ...s, signal: { ...s.signal, freshness: "stale" } }) },
  { reason: "STALE_SIGNAL", clear: (s) => ({ ...s, signal: { ...s.signal, freshness: "thin" } }) },
  { reason: "THIN_SIGNAL", clear: (s) => ({ ...s, signal: { ...s.signal, freshness: "fresh" } }) },
  { reason: "PINNED", clear: (s) => ({ ...s, hold: { ...s.hold, pinned: null } }) },
  { reason: "FROZEN", clear: (s) => ({ ...s, hold: { ...s.hold, frozen: false } }) },
  { reason: "ROLLOUT_OPEN", clear: (s) => ({ ...s, rolloutGeneration: null }) },
  { reason: "COOL_DOWN", clear: (s) => ({ ...s, coolDownUntilMs: SAMPLE_NOW_MS }) },
  { reason: "DWELL", clear: (s) => ({ ...s, lastChangeAtMs: SAMPLE_NOW_MS - 60_000 }) },
  { reason: "FLAP_BUDGET", clear: (s) => ({ ...s, recentMoves: [] }) },
  { reason: "TTFT_MISSED", clear: (s) => ({ ...s, signal: sampleSignal({ toAtMs: SAMPLE_NOW_MS }) }) },
  { reason: "BOTH_MET", clear: (s) => s },
];

test("what is in the way is told in order, and each is held", () => {
  const swing = [5, -5, 5, -5].map((delta, i) => ({
    atMs: SAMPLE_NOW_MS - 1000 + i,
    generation: i,
    prefillDeltaPct: delta,
    decodeDeltaPct: -delta,
  }));
  let snapshot = sampleSnapshot({
    signal: { ...missed, freshness: "missing", arrivals: NaN },
    hold: { pinned: { untilAtMs: null }, frozen: true },
    rolloutGeneration: 2,
    lastChangeAtMs: SAMPLE_NOW_MS - 1_000,
    coolDownUntilMs: SAMPLE_NOW_MS + 1,
    recentMoves: swing,
  });
  for (const { reason, clear } of OBSTACLES) {
    const decision = decide(snapshot, feedback, { ...DEFAULT_GUARDS, flapBudget: 3 }, SAMPLE_NOW_MS);
    expect(decision.reason).toBe(reason);
    expect(decision.kind).toBe(reason === "TTFT_MISSED" ? "move" : "hold");
    snapshot = clear(snapshot);
  }
});

describe("a move", () => {
  const decision = run({ signal: missed });

  test("says what is seen, what changes and what is predicted", () => {
    expect(decision).toMatchObject({
      kind: "move",
      reason: "TTFT_MISSED",
      basedOnGeneration: 1,
      allocation: { split: { prefillSmPct: 55, decodeSmPct: 45 }, kvQuotaPct: 100 },
      policy: { name: "feedback", version: POLICY_VERSIONS.feedback },
      observed: { ttftMs: 340, tpotMs: 80, arrivalPerS: 10, lambdaShare: 0.3 },
    });
    expect(decision.message).toMatch(
      /^TTFT p90 340 ms is over 300 ms; prefill cap 50 -> 55, decode cap 50 -> 45, predicted TTFT p90 [\d.]+ of 300 ms and TPOT p90 [\d.]+ of 150 ms\.$/,
    );
    expect(decision.predicted?.ttftMs).toBeLessThan(300);
  });

  test("that a guard cuts keeps the wish, the note and a prediction for what leaves", () => {
    const far = sampleSignal({ ttft: histogramWithPercentile(900, 0.9, 200) });
    const cut = run({ signal: far }, feedback, { maxStepPct: 7 });
    expect(cut.wanted?.split).toEqual({ prefillSmPct: 65, decodeSmPct: 35 });
    expect(cut.allocation.split).toEqual({ prefillSmPct: 57, decodeSmPct: 43 });
    expect(cut.guards.map((note) => note.guard)).toEqual(["step"]);
    expect(cut.message).toContain("cut by the step guard");
    expect(cut.predicted?.ttftMs).toBeGreaterThan(run({ signal: far }).predicted?.ttftMs ?? Infinity);
  });

  test("that guards cut to nothing is a hold with a name", () => {
    const cut = run({ signal: missed }, feedback, { maxStepPct: 0 });
    expect(cut).toMatchObject({
      kind: "hold",
      reason: "GUARDED_AWAY",
      allocation: { split: { prefillSmPct: 50 } },
    });
    expect(cut.wanted?.split.prefillSmPct).toBe(55);
    expect(cut.guards).toHaveLength(1);
    expect(cut.message).toContain("leaves nothing to change");
  });

  test("towards an unstable prefill is turned back", () => {
    const slow = sampleSignal({
      ttft: histogramWithPercentile(20, 0.9, 200),
      tpot: histogramWithPercentile(165, 0.9, 200),
      busy: { prefillShare: 0.86, decodeShare: 1 },
    });
    const decision = run({ signal: slow });
    const { prefillSmPct } = decision.allocation.split;
    expect(prefillSmPct === 50 || prefillSmPct / 100 > (decision.observed.lambdaShare ?? 0) * 1.1).toBe(true);
  });
});

describe("a pin", () => {
  test.each([
    { name: "for ever", untilAtMs: null, want: "PINNED" },
    { name: "still", untilAtMs: SAMPLE_NOW_MS + 1, want: "PINNED" },
    { name: "no longer", untilAtMs: SAMPLE_NOW_MS, want: "TTFT_MISSED" },
  ])("$name", ({ untilAtMs, want }) => {
    expect(run({ signal: missed, hold: { pinned: { untilAtMs }, frozen: false } }).reason).toBe(want);
  });

  test("does not stop learning", () => {
    expect(
      run({ signal: missed, hold: { pinned: { untilAtMs: null }, frozen: false } }).state,
    ).not.toBeNull();
  });
});

describe("a hold that names its teller says who, for what, until when, and why", () => {
  const by = { actor: "ops", reason: "maintenance", scope: "fleet" } as const;
  const pause = { ...by, kind: "pause", untilAtMs: null } as const;
  const inAMinute = SAMPLE_NOW_MS + 60_000;
  test.each<[Snapshot["hold"], string]>([
    [{ pinned: null, frozen: true }, "A change freeze is in force."],
    [{ pinned: null, frozen: true, frozenBy: pause }, "Paused for the fleet by ops: maintenance."],
    [
      { pinned: null, frozen: true, frozenBy: { ...pause, scope: "pool", untilAtMs: inAMinute } },
      "Paused for the pool by ops, for another 60 s: maintenance.",
    ],
    [
      { pinned: null, frozen: true, frozenBy: { ...pause, kind: "freeze_window", untilAtMs: inAMinute } },
      "In a freeze window for the fleet by ops, for another 60 s: maintenance.",
    ],
    [
      { pinned: { untilAtMs: null, by: { ...by, kind: "pin" } }, frozen: true, frozenBy: pause },
      "Pinned by ops, until it is unpinned: maintenance.",
    ],
    [
      {
        pinned: { untilAtMs: inAMinute, by: { ...by, kind: "override", reason: "Why not?" } },
        frozen: false,
      },
      "Set by hand by ops, for another 60 s: Why not?",
    ],
  ])("%j", (hold, message) => {
    expect(run({ signal: missed, hold }).message).toBe(message);
  });
  test("a teller that is none is not believed", () => {
    const hold = { pinned: null, frozen: true, frozenBy: { kind: "x" } } as unknown as Snapshot["hold"];
    expect(run({ signal: missed, hold })).toMatchObject({ kind: "hold", reason: "MAD_SIGNAL" });
  });
});

test("nothing is learnt while a rollout is open, and nothing is forgotten", () => {
  expect(run({ signal: missed, rolloutGeneration: 2 }).state).toBeNull();
  const before = run({ signal: missed }).state;
  const later = { ...missed, toAtMs: SAMPLE_NOW_MS + 1 };
  expect(run({ signal: later, rolloutGeneration: 2, state: before }).state).toEqual(before);
  expect(run({ signal: emptySignal("missing"), state: before }).state).toEqual(before);
});

describe("the static policy", () => {
  test("needs no signal, no dwell, and is not cut by the step", () => {
    const decision = run({ signal: emptySignal("missing"), lastChangeAtMs: SAMPLE_NOW_MS }, statically);
    expect(decision).toMatchObject({
      kind: "move",
      reason: "STATIC_TARGET",
      allocation: target,
      predicted: null,
      state: null,
    });
    expect(decision.message).toBe(
      "The operator's target is prefill 80 %, decode 20 %, KV quota 60 %; prefill cap 50 -> 80, decode cap 50 -> 20, KV quota 100 -> 60.",
    );
  });

  test("moves on a mad signal too, and shows nothing of it", () => {
    const decision = run({ signal: sampleSignal({ arrivals: -1 }) }, statically);
    expect(decision.kind).toBe("move");
    expect(decision.observed.ttftMs).toBeNull();
  });

  test.each([
    { over: { hold: { pinned: { untilAtMs: null }, frozen: false } }, want: "PINNED" },
    { over: { hold: { pinned: null, frozen: true } }, want: "FROZEN" },
    { over: { rolloutGeneration: 2 }, want: "ROLLOUT_OPEN" },
    { over: { coolDownUntilMs: SAMPLE_NOW_MS + 1 }, want: "COOL_DOWN" },
    { over: { current: { ...target, generation: 3 } }, want: "AT_TARGET" },
  ])("holds on $want", ({ over, want }) => {
    expect(run(over, statically)).toMatchObject({ kind: "hold", reason: want });
  });

  test("a target outside of the limits is brought within, and said so", () => {
    const open: PolicyConfig = { name: "static", params: { allocation: UNCONTROLLED } };
    const decision = run({ limits: { ...EXCLUSIVE_LIMITS, maxSmPct: 90 } }, open);
    expect(
      decision.allocation.split.prefillSmPct + decision.allocation.split.decodeSmPct,
    ).toBeLessThanOrEqual(100);
    expect(decision.guards.map((note) => note.guard)).toContain("limits");
  });
});

describe("input that cannot be decided on names the field and holds", () => {
  test.each([
    { over: { limits: { ...WIDEST_LIMITS, minSmPct: 60, maxSmPct: 50 } }, want: "limits.minSmPct" },
    { over: { limits: { ...WIDEST_LIMITS, minSmPct: 60, maxSumPct: 100 } }, want: "limits.maxSumPct" },
    { over: { limits: { ...WIDEST_LIMITS, granularityPct: 0 } }, want: "limits.granularityPct" },
    {
      over: { limits: { ...WIDEST_LIMITS, minKvQuotaPct: 90, maxKvQuotaPct: 80 } },
      want: "limits.minKvQuotaPct",
    },
    {
      over: { current: { split: { prefillSmPct: 120, decodeSmPct: 50 }, kvQuotaPct: 1, generation: 1 } },
      want: "current.split.prefillSmPct",
    },
    { over: { current: { ...UNCONTROLLED, generation: 0.5 } }, want: "current.generation" },
    { over: { lastChangeAtMs: SAMPLE_NOW_MS + 3_600_000 }, want: "lastChangeAtMs" },
    {
      over: { slo: { ...sampleSnapshot().slo, ttft: { percentile: 1, boundMs: 300 } } },
      want: "slo.ttft.percentile",
    },
    {
      over: { slo: { ...sampleSnapshot().slo, tpot: { percentile: 0.9, boundMs: 0 } } },
      want: "slo.tpot.boundMs",
    },
    {
      over: { recentMoves: [{ atMs: NaN, generation: 1, prefillDeltaPct: 1, decodeDeltaPct: 1 }] },
      want: "recentMoves[0].atMs",
    },
  ])("$want", ({ over, want }) => {
    for (const policy of [feedback, statically]) {
      const decision = run(over, policy);
      expect(decision).toMatchObject({ kind: "hold", reason: "MAD_SIGNAL" });
      expect(decision.message).toContain(want);
    }
  });

  test.each([
    { guards: { maxStepPct: NaN }, want: "guards.maxStepPct" },
    { guards: { dwellMs: -1 }, want: "guards.dwellMs" },
    { guards: { stabilityMargin: Infinity }, want: "guards.stabilityMargin" },
  ])("$want", ({ guards, want }) => {
    expect(run({ signal: missed }, feedback, guards).message).toContain(want);
  });
});

describe("sameDecision", () => {
  const decision = run({ signal: missed });
  test("does not mind the order of keys, nor a trip through JSON", () => {
    const reversed = Object.fromEntries(Object.entries(decision).reverse()) as typeof decision;
    expect(sameDecision(decision, reversed)).toBe(true);
    expect(sameDecision(decision, JSON.parse(JSON.stringify(decision)))).toBe(true);
  });
  test.each([
    {
      name: "another number deep inside",
      other: { ...decision, observed: { ...decision.observed, ttftMs: 341 } },
    },
    { name: "a candidate fewer", other: { ...decision, candidates: [] } },
    { name: "null where something was", other: { ...decision, state: null } },
    { name: "a list where a record was", other: { ...decision, policy: [] as never } },
  ])("minds $name", ({ other }) => {
    expect(sameDecision(decision, other)).toBe(false);
    expect(sameDecision(other, decision)).toBe(false);
  });
});

test("an allocation in words", () => {
  expect(describeAllocation({ split: { prefillSmPct: 54.5454, decodeSmPct: 40 }, kvQuotaPct: 5 })).toBe(
    "prefill 54.55 %, decode 40 %, KV quota 5 %",
  );
});
