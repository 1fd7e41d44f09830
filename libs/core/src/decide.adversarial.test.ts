/** Snapshots that nobody should send. Whatever comes, decide() answers, holds what it cannot judge, and answers alike. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { splitWithin } from "./allocation.js";
import { decide } from "./decide.js";
import type { Decision, GuardConfig, PolicyConfig, Signal, Snapshot } from "./decision.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS } from "./defaults.js";
import { SAMPLE_NOW_MS, histogramWithPercentile, sampleSignal, sampleSnapshot } from "./fixtures.js";
import { sameDecision } from "./same-decision.js";

const feedback: PolicyConfig = { name: "feedback", params: DEFAULT_FEEDBACK };
const wild = fc.oneof(
  fc.constantFrom(NaN, Infinity, -Infinity, 0, -0, -1, 1e308, 5e-324, Number.MAX_SAFE_INTEGER, 0.1, 100),
  fc.double(),
  fc.integer({ min: -10, max: 200 }),
);
const maybe = fc.option(wild, { nil: null });
const wildHistogram = fc.option(
  fc.record({
    boundsMs: fc.array(wild, { maxLength: 4 }),
    counts: fc.array(wild, { maxLength: 5 }),
    sumMs: wild,
  }),
  { nil: null },
);
const wildSplit = fc.record({ prefillSmPct: wild, decodeSmPct: wild });
const origin = {
  kind: fc.constantFrom("pause", "pin", "override", "freeze_window"),
  scope: fc.constantFrom("fleet", "pool", "instance"),
  actor: fc.string(),
  reason: fc.string(),
} as const;
const wildSnapshot: fc.Arbitrary<Snapshot> = fc.record({
  instance: fc.string(),
  slo: fc.record({
    ttft: fc.record({ percentile: wild, boundMs: wild }),
    tpot: fc.record({ percentile: wild, boundMs: wild }),
    attainmentShare: wild,
  }),
  sloVersion: wild,
  current: fc.record({ split: wildSplit, kvQuotaPct: wild, generation: wild }),
  rolloutGeneration: maybe,
  lastChangeAtMs: maybe,
  coolDownUntilMs: maybe,
  recentMoves: fc.array(
    fc.record({ atMs: wild, generation: wild, prefillDeltaPct: wild, decodeDeltaPct: wild }),
    { maxLength: 70 },
  ),
  limits: fc.record({
    minSmPct: wild,
    maxSmPct: wild,
    maxSumPct: wild,
    granularityPct: wild,
    minKvQuotaPct: wild,
    maxKvQuotaPct: wild,
  }),
  hold: fc.record(
    {
      pinned: fc.option(
        fc.record({ untilAtMs: maybe, by: fc.record(origin) }, { requiredKeys: ["untilAtMs"] }),
        {
          nil: null,
        },
      ),
      frozen: fc.boolean(),
      frozenBy: fc.record({ ...origin, untilAtMs: maybe }),
    },
    { requiredKeys: ["pinned", "frozen"] },
  ),
  signal: fc.record({
    freshness: fc.constantFrom("fresh", "thin", "stale", "missing"),
    windows: wild,
    fromAtMs: maybe,
    toAtMs: maybe,
    durationMs: wild,
    arrivals: wild,
    promptTokens: wild,
    finished: wild,
    outputTokens: wild,
    ttft: wildHistogram,
    tpot: wildHistogram,
    busy: fc.record({ prefillShare: maybe, decodeShare: maybe }),
    queue: fc.record({ prefillWaiting: maybe, decodeRunning: maybe }),
    kv: fc.record({ totalTokens: maybe, usedTokens: maybe, preemptions: maybe }),
  }) as fc.Arbitrary<Signal>,
  state: fc.option(
    fc.record({
      policy: fc.constant("feedback"),
      version: fc.constant(1),
      values: fc.dictionary(fc.string(), fc.anything()),
    }),
    { nil: null },
  ),
});

/** A healthy snapshot with some of its parts replaced by wild ones: gets past the first checks. */
const dented: fc.Arbitrary<Snapshot> = fc
  .tuple(
    wildSnapshot,
    fc.subarray([
      "current",
      "limits",
      "slo",
      "recentMoves",
      "state",
      "rolloutGeneration",
      "lastChangeAtMs",
      "coolDownUntilMs",
    ] as const),
    fc.subarray(
      [
        "durationMs",
        "arrivals",
        "finished",
        "outputTokens",
        "busy",
        "queue",
        "kv",
        "toAtMs",
        "ttft",
        "tpot",
      ] as const,
      { maxLength: 3 },
    ),
  )
  .map(([mad, parts, measures]) => {
    const base = sampleSnapshot({ signal: sampleSignal({ ttft: histogramWithPercentile(900, 0.9, 200) }) });
    const signal = { ...base.signal, ...Object.fromEntries(measures.map((key) => [key, mad.signal[key]])) };
    return { ...base, ...Object.fromEntries(parts.map((key) => [key, mad[key]])), signal };
  });

const policies: fc.Arbitrary<PolicyConfig> = fc.oneof(
  fc.constantFrom("hold", "open", "worst-first").map((bothMissed): PolicyConfig => ({
    name: "feedback",
    params: { ...DEFAULT_FEEDBACK, bothMissed },
  })),
  fc
    .record({ split: wildSplit, kvQuotaPct: wild })
    .map((allocation): PolicyConfig => ({ name: "static", params: { allocation } })),
);
const wildGuards: fc.Arbitrary<GuardConfig> = fc.oneof(
  fc.constant(DEFAULT_GUARDS),
  fc.record({
    maxStepPct: wild,
    dwellMs: wild,
    flapBudget: wild,
    flapWindowMs: wild,
    minSamples: wild,
    staleAfterMs: wild,
    stabilityMargin: wild,
  }),
);

/** Every number in a decision is finite and nothing is undefined: it survives JSON as it is. */
function isPlainJson(value: unknown): boolean {
  if (value === undefined) return false;
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.values(value).every(isPlainJson);
}

function isLegal(decision: Decision, snapshot: Snapshot): boolean {
  if (decision.kind === "hold") return true;
  const { limits } = snapshot;
  const { split, kvQuotaPct } = decision.allocation;
  const splitKept =
    split.prefillSmPct === snapshot.current.split.prefillSmPct &&
    split.decodeSmPct === snapshot.current.split.decodeSmPct;
  const quotaKept = kvQuotaPct === snapshot.current.kvQuotaPct;
  return (
    (splitKept || splitWithin(split, limits)) &&
    (quotaKept || (kvQuotaPct >= limits.minKvQuotaPct && kvQuotaPct <= limits.maxKvQuotaPct))
  );
}

test.each([
  { name: "wild", snapshots: wildSnapshot, runs: 1500 },
  { name: "dented", snapshots: dented, runs: 3000 },
])(
  "$name snapshots: total, legal, plain JSON, and the same after a trip through JSON",
  ({ snapshots, runs }) => {
    fc.assert(
      fc.property(
        snapshots,
        policies,
        wildGuards,
        fc.oneof(fc.constant(SAMPLE_NOW_MS), wild),
        (snapshot, policy, guards, nowMs) => {
          const decision = decide(snapshot, policy, guards, nowMs);
          expect(isPlainJson(decision)).toBe(true);
          expect(isLegal(decision, snapshot)).toBe(true);
          const again = decide(
            JSON.parse(JSON.stringify(snapshot)),
            JSON.parse(JSON.stringify(policy)),
            JSON.parse(JSON.stringify(guards)),
            JSON.parse(JSON.stringify({ nowMs })).nowMs,
          );
          expect(sameDecision(decision, again)).toBe(true);
          expect(sameDecision(decision, JSON.parse(JSON.stringify(decision)))).toBe(true);
        },
      ),
      { numRuns: runs },
    );
  },
);

test("not even a snapshot: anything at all is answered with a hold", () => {
  fc.assert(
    fc.property(
      fc.anything(),
      fc.anything(),
      fc.anything(),
      fc.anything(),
      (snapshot, policy, guards, nowMs) => {
        const decision = decide(
          snapshot as Snapshot,
          policy as PolicyConfig,
          guards as GuardConfig,
          nowMs as number,
        );
        expect(decision).toMatchObject({ kind: "hold", reason: "MAD_SIGNAL" });
        expect(isPlainJson(decision)).toBe(true);
      },
    ),
    { numRuns: 500 },
  );
});

test("one part replaced by anything at all never throws", () => {
  const keys = Object.keys(sampleSnapshot()) as (keyof Snapshot)[];
  fc.assert(
    fc.property(fc.constantFrom(...keys), fc.anything(), (key, junk) => {
      const decision = decide({ ...sampleSnapshot(), [key]: junk }, feedback, DEFAULT_GUARDS, SAMPLE_NOW_MS);
      expect(isPlainJson(decision)).toBe(true);
    }),
    { numRuns: 1000 },
  );
});

describe("particular traps", () => {
  const run = (over: Partial<Snapshot>) =>
    decide(sampleSnapshot(over), feedback, DEFAULT_GUARDS, SAMPLE_NOW_MS);
  const signal = (over: Partial<Signal>) => ({
    signal: sampleSignal({ ttft: histogramWithPercentile(900, 0.9, 200), ...over }),
  });

  test.each([
    {
      name: "fresh, but empty histograms",
      over: signal({ ttft: { boundsMs: [1], counts: [0, 0], sumMs: 0 } }),
      want: "THIN_SIGNAL",
    },
    { name: "fresh, but no histograms", over: signal({ ttft: null }), want: "THIN_SIGNAL" },
    {
      name: "a negative count",
      over: signal({ ttft: { boundsMs: [1], counts: [5, -5], sumMs: 0 } }),
      want: "MAD_SIGNAL",
    },
    { name: "a window of the future", over: signal({ toAtMs: SAMPLE_NOW_MS + 60_000 }), want: "MAD_SIGNAL" },
    {
      name: "busy for 900 % of the time",
      over: signal({ busy: { prefillShare: 9, decodeShare: 1 } }),
      want: "MAD_SIGNAL",
    },
    { name: "a rate from no time at all", over: signal({ durationMs: -1 }), want: "MAD_SIGNAL" },
  ])("$name: $want", ({ over, want }) => {
    expect(run(over)).toMatchObject({ kind: "hold", reason: want });
  });

  test("prefill that never ran does not make lambda zero", () => {
    const decision = run(signal({ busy: { prefillShare: 0, decodeShare: 1 } }));
    expect(decision.observed.lambdaShare).toBeNull();
    expect(decision.reason).toBe("CANNOT_TELL");
  });

  test("a current allocation outside of the limits: a hold gives it back as it is", () => {
    const current = { split: { prefillSmPct: 97, decodeSmPct: 96 }, kvQuotaPct: 3, generation: 9 };
    const decision = run({ current, hold: { pinned: null, frozen: true } });
    expect(decision.allocation).toEqual({ split: current.split, kvQuotaPct: 3 });
  });

  test("a clock that went back two days holds, and says which", () => {
    const decision = decide(sampleSnapshot(), feedback, DEFAULT_GUARDS, SAMPLE_NOW_MS - 172_800_000);
    expect(decision).toMatchObject({ kind: "hold", reason: "MAD_SIGNAL" });
    expect(decision.message).toContain("lastChangeAtMs");
  });

  test("a state stuffed with a million points is cut down before it is stored again", () => {
    const point = {
      atMs: 1,
      prefillSmPct: 50,
      decodeSmPct: 50,
      arrivalPerS: 1,
      prefillShare: 0.5,
      decodeShare: 0.5,
      lambdaShare: null,
      ttftMs: 1,
      tpotMs: 1,
    };
    const points = Array.from({ length: 1_000_000 }, () => point);
    const decision = run({
      state: { policy: "feedback", version: 1, values: { learntToMs: 1, points, junk: "x" } },
    });
    expect(JSON.stringify(decision.state).length).toBeLessThan(4_096);
  });
});

describe("bounds of every move on healthy snapshots", () => {
  const latency = fc.integer({ min: 5, max: 5_000 });
  const scene = fc.record({
    ttft: latency,
    tpot: fc.integer({ min: 5, max: 500 }),
    prefill: fc.integer({ min: 5, max: 95 }),
    busy: fc.double({ min: 0.05, max: 1, noNaN: true }),
    sinceMs: fc.integer({ min: 0, max: 100_000 }),
    used: fc.integer({ min: 0, max: 440_000 }),
    freshness: fc.constantFrom("fresh", "fresh", "fresh", "thin", "stale", "missing"),
  });

  test("only fresh signals move; step, dwell, flap budget and stability hold; a hold keeps the current allocation", () => {
    fc.assert(
      fc.property(scene, fc.array(fc.constantFrom(5, -5), { maxLength: 10 }), (s, deltas) => {
        const recentMoves = deltas.map((delta, i) => ({
          atMs: SAMPLE_NOW_MS - 1000 + i,
          generation: i,
          prefillDeltaPct: delta,
          decodeDeltaPct: -delta,
        }));
        const snapshot = sampleSnapshot({
          current: {
            split: { prefillSmPct: s.prefill, decodeSmPct: 100 - s.prefill },
            kvQuotaPct: 100,
            generation: 4,
          },
          lastChangeAtMs: SAMPLE_NOW_MS - s.sinceMs,
          recentMoves,
          signal: sampleSignal({
            freshness: s.freshness,
            ttft: histogramWithPercentile(s.ttft, 0.9, 200),
            tpot: histogramWithPercentile(s.tpot, 0.9, 200),
            busy: { prefillShare: s.busy, decodeShare: 1 },
            kv: { totalTokens: 440_000, usedTokens: s.used, preemptions: 0 },
          }),
        });
        const decision = decide(snapshot, feedback, DEFAULT_GUARDS, SAMPLE_NOW_MS);
        const { split } = decision.allocation;
        const delta = split.prefillSmPct - s.prefill;
        if (decision.kind === "hold") {
          expect(decision.allocation).toEqual({ split: snapshot.current.split, kvQuotaPct: 100 });
          return;
        }
        expect(s.freshness).toBe("fresh");
        expect(s.sinceMs).toBeGreaterThanOrEqual(DEFAULT_GUARDS.dwellMs);
        expect(Math.abs(delta)).toBeLessThanOrEqual(DEFAULT_GUARDS.maxStepPct);
        if (delta < 0) {
          expect(split.prefillSmPct / 100).toBeGreaterThan(
            (decision.observed.lambdaShare ?? 0) * DEFAULT_GUARDS.stabilityMargin,
          );
        }
        const reversals = deltas.filter((d, i) => i > 0 && d !== deltas[i - 1]).length;
        const last = deltas.at(-1);
        const reverses = last !== undefined && delta !== 0 && Math.sign(delta) !== Math.sign(last);
        expect(reverses && reversals >= DEFAULT_GUARDS.flapBudget).toBe(false);
      }),
      { numRuns: 1500 },
    );
  });
});
