/** The search policy through decide(): what it answers to, what holds it, and what its moves keep to. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { splitWithin } from "./allocation.js";
import { decide } from "./decide.js";
import type { Decision, GuardConfig, LatestSignal, Move, PolicyConfig, Snapshot } from "./decision.js";
import { DEFAULT_GUARDS, DEFAULT_SEARCH } from "./defaults.js";
import { EXCLUSIVE_LIMITS, SAMPLE_NOW_MS, sampleSignal, sampleSnapshot } from "./fixtures.js";
import type { Limits, Split } from "./nouns.js";
import { WIDEST_LIMITS } from "./nouns.js";
import { sameDecision } from "./same-decision.js";
import { LIGHT_CHAT, LONG_PROMPTS, SCENE_SLO, SmallEngine } from "./search-fixtures.js";
import { play } from "./search-scene.js";
import type { Load } from "./search-fixtures.js";
import { emptySignal, latestSignal } from "./signal/summarise.js";

const search: PolicyConfig = { name: "search", params: DEFAULT_SEARCH };
const OPEN = { prefillSmPct: 100, decodeSmPct: 100 };

/** What a minute of a load at one split looks like, in one window. */
function minuteOf(load: Load, split: Split = OPEN): LatestSignal {
  const startAtMs = SAMPLE_NOW_MS - 60_000;
  const window = new SmallEngine(1, startAtMs).run(split, load, 60_000);
  const latest = latestSignal(
    [{ ...window, seq: 1, generation: 1 }],
    0,
    { lookbackMs: 120_000 },
    SAMPLE_NOW_MS,
  );
  if (latest === null) throw new Error("the engine's window is not believed");
  return latest;
}

/** An instance that nobody has decided on, after a minute of a load. */
function seen(latest: LatestSignal, over: Partial<Snapshot> = {}): Snapshot {
  const { generation: _, ...signal } = latest;
  return sampleSnapshot({
    slo: SCENE_SLO,
    limits: WIDEST_LIMITS,
    current: { split: OPEN, kvQuotaPct: 100, generation: 1 },
    lastChangeAtMs: null,
    signal,
    latest,
    ...over,
  });
}

const ask = (snapshot: Snapshot, policy: PolicyConfig = search, guards: GuardConfig = DEFAULT_GUARDS) =>
  decide(snapshot, policy, guards, SAMPLE_NOW_MS);
const LONG_MINUTE = minuteOf(LONG_PROMPTS);
const starved = (over: Partial<Snapshot> = {}) => seen(LONG_MINUTE, over);

describe("what it answers to", () => {
  test("prefill that drowns beside decode: prefill is favoured, and the row says why", () => {
    const decision = ask(starved());
    const { split } = decision.allocation;
    expect(decision).toMatchObject({ kind: "move", reason: "BETTER_SPLIT", policy: { name: "search" } });
    expect(split.prefillSmPct - split.decodeSmPct).toBeGreaterThan(30);
    const chosen = decision.candidates.filter(({ verdict }) => verdict === "chosen");
    expect(chosen.map(({ allocation }) => allocation)).toEqual([decision.wanted]);
    const rows = decision.candidates.map(({ allocation }) => JSON.stringify(allocation.split));
    expect(rows).toContain(JSON.stringify(OPEN));
    expect(new Set(rows).size).toBe(rows.length);
    expect(decision.message).toMatch(/%.*%/);
    const here = decision.candidates.find(({ allocation }) => allocation.split.decodeSmPct === 100)!;
    expect(decision.predicted?.ttftMs).toBeLessThan(here.ttftMs ?? Infinity);
    expect(decision.predicted?.tpotMs).toBeLessThan(SCENE_SLO.tpot.boundMs);
    expect(decision.observed.lambdaShare).toBeGreaterThan(0.4);
    expect(decision.observed.lambdaShare).toBeLessThan(1.2);
  });

  test("iterations that are too long beside prefill: decode is favoured", () => {
    const answers = { ratePerS: 3, promptTokens: 150, promptCv: 0.3, answerTokens: 600, answerCv: 0.7 };
    const latest = minuteOf(answers, { prefillSmPct: 95, decodeSmPct: 10 });
    const current = { split: { prefillSmPct: 95, decodeSmPct: 10 }, kvQuotaPct: 100, generation: 1 };
    const slo = { ...SCENE_SLO, tpot: { percentile: 0.9, boundMs: 45 } };
    const { kind, allocation } = ask(seen(latest, { current, slo }));
    expect(kind).toBe("move");
    expect(allocation.split.decodeSmPct).toBeGreaterThan(20);
  });

  test("a load that is served well: nothing to gain", () => {
    expect(ask(seen(minuteOf(LIGHT_CHAT)))).toMatchObject({ kind: "hold", reason: "BEST_KNOWN" });
  });

  test("a gain that costs more than it may: not worth it", () => {
    const dear: PolicyConfig = { name: "search", params: { ...DEFAULT_SEARCH, minGainShare: 1 } };
    const ticks = play({ policy: dear, load: () => LONG_PROMPTS, durationMs: 60_000 });
    // What it would gain is not known well, since no other split was ever tried.
    expect(ticks.at(-1)?.decision.reason).toBe("CANNOT_TELL");
    expect(ticks.every(({ decision }) => decision.kind === "hold")).toBe(true);
  });

  test("what a profile tells beforehand counts: a GPU said to be slow is asked for more prefill", () => {
    const told = (factor: number): PolicyConfig => ({
      name: "search",
      params: {
        ...DEFAULT_SEARCH,
        prior: {
          prefill: { kernelMs: [5 * factor, 0.12 * factor, 0], engineMs: 1, sensitivity: 1 },
          decode: { kernelMs: [8, 0.06, 1e-6], engineMs: 10, sensitivity: 0.4 },
        },
      },
    });
    const lambda = (factor: number) => ask(starved(), told(factor)).observed.lambdaShare ?? 0;
    // A minute's windows outweigh the profile, but not wholly.
    expect(lambda(3)).toBeGreaterThan(lambda(1));
  });
});

describe("what holds it", () => {
  const move = (atMs: number, delta: number): Move => ({
    atMs,
    generation: 1,
    prefillDeltaPct: delta,
    decodeDeltaPct: -delta,
  });
  // The last one was towards decode: what it wants would take that back.
  const swings = Array.from({ length: 12 }, (_, i) => move(SAMPLE_NOW_MS - 60_000 + i, i % 2 === 0 ? 5 : -5));
  const empty: LatestSignal = { ...emptySignal("fresh"), generation: 1 };

  test.each<{ name: string; over: Partial<Snapshot>; reason: string }>([
    { name: "no window", over: { signal: emptySignal("missing"), latest: null }, reason: "NO_SIGNAL" },
    {
      name: "only old windows",
      over: { signal: sampleSignal({ freshness: "stale" }), latest: null },
      reason: "STALE_SIGNAL",
    },
    { name: "no arrival ever", over: { signal: emptySignal("thin"), latest: empty }, reason: "CANNOT_TELL" },
    { name: "a snapshot of before it asked for windows", over: { latest: undefined }, reason: "CANNOT_TELL" },
    { name: "a pin", over: { hold: { pinned: { untilAtMs: null }, frozen: false } }, reason: "PINNED" },
    { name: "a freeze", over: { hold: { pinned: null, frozen: true } }, reason: "FROZEN" },
    { name: "a rollout", over: { rolloutGeneration: 2 }, reason: "ROLLOUT_OPEN" },
    { name: "a cool-down", over: { coolDownUntilMs: SAMPLE_NOW_MS + 1 }, reason: "COOL_DOWN" },
    { name: "a change just now", over: { lastChangeAtMs: SAMPLE_NOW_MS - 1_000 }, reason: "DWELL" },
    { name: "a flap budget that is spent", over: { recentMoves: swings }, reason: "FLAP_BUDGET" },
    {
      name: "busy for 300 % of the time",
      over: { latest: { ...LONG_MINUTE, busy: { prefillShare: 3, decodeShare: 1 } } },
      reason: "MAD_SIGNAL",
    },
    {
      name: "a negative count of its workers",
      over: { latest: { ...LONG_MINUTE, work: { ...LONG_MINUTE.work!, prefillBatches: -1 } } },
      reason: "MAD_SIGNAL",
    },
  ])("$name: $reason, and what runs is given back", ({ over, reason }) => {
    const decision = ask(starved(over));
    expect(decision).toMatchObject({ kind: "hold", reason });
    expect(decision.allocation).toEqual({ split: OPEN, kvQuotaPct: 100 });
  });

  test("a pin that has ended, a wait that is over and old swings do not", () => {
    const over = {
      hold: { pinned: { untilAtMs: SAMPLE_NOW_MS - 1 }, frozen: false },
      coolDownUntilMs: SAMPLE_NOW_MS,
      lastChangeAtMs: SAMPLE_NOW_MS - 120_000,
      recentMoves: swings.map((each) => ({ ...each, atMs: each.atMs - DEFAULT_GUARDS.flapWindowMs })),
    };
    expect(ask(starved(over)).kind).toBe("move");
  });

  test("a driver that must restart the engine: what the restart loses must have been lost by staying first", () => {
    expect(ask(starved()).kind).toBe("move");
    const restarting = (downtimeMs: number, state: Snapshot["state"] = null) =>
      ask(starved({ downtimeMs, state }));
    const first = restarting(300_000);
    expect(first).toMatchObject({ kind: "hold", reason: "WATCHING" });
    let { state } = first;
    let minutes = 1;
    for (; minutes < 10; minutes++) {
      const toAtMs = SAMPLE_NOW_MS + minutes * 60_000;
      const latest = { ...LONG_MINUTE, fromAtMs: toAtMs - 60_000, toAtMs };
      const { generation: _, ...signal } = latest;
      const next = decide(
        starved({ downtimeMs: 300_000, state, latest, signal }),
        search,
        DEFAULT_GUARDS,
        toAtMs,
      );
      if (next.kind === "move") break;
      state = next.state;
    }
    expect(minutes).toBeLessThan(10);
  });

  test("and after a restart it stays 20 times as long", () => {
    const downtimeMs = 30_000;
    const after = (lastChangeAtMs: number) => ask(starved({ downtimeMs, lastChangeAtMs })).reason;
    expect(after(SAMPLE_NOW_MS - 599_000)).toBe("DWELL");
    expect(after(SAMPLE_NOW_MS - 601_000)).not.toBe("DWELL");
  });

  test.each([-1, Number.NaN, "soon"])("a downtime of %s is refused, naming the field", (downtimeMs) => {
    const { kind, reason, message } = ask(starved({ downtimeMs: downtimeMs as number }));
    expect([kind, reason]).toEqual(["hold", "MAD_SIGNAL"]);
    expect(message).toContain("downtimeMs");
  });

  test("thin signals do not: it knows how little it knows", () => {
    const thin = { ...LONG_MINUTE, freshness: "thin" as const };
    expect(ask(starved({ signal: thin })).kind).toBe("move");
  });
});

describe("what it carries", () => {
  const learntTo = ({ state }: Decision) => state?.values.learntToMs;

  test("windows are learnt from also while something holds, and each once", () => {
    const pinned = { hold: { pinned: { untilAtMs: null }, frozen: false } };
    const first = ask(starved(pinned));
    expect(learntTo(first)).toBe(SAMPLE_NOW_MS);
    const again = ask(starved({ ...pinned, state: first.state }));
    expect(again.state).toEqual(first.state);
    expect(ask(starved({ state: first.state })).kind).toBe("move");
  });

  test("a mad or missing signal leaves what was learnt as it is", () => {
    const { state } = ask(starved());
    const mad = ask(starved({ state, latest: { ...LONG_MINUTE, durationMs: -1 } }));
    const missing = ask(starved({ state, signal: emptySignal("missing"), latest: null }));
    expect(learntTo(mad)).toBe(SAMPLE_NOW_MS);
    expect(mad.state).toEqual(missing.state);
  });

  test("what came in during a switch is load; what ran then says nothing of either split", () => {
    const untaught = ask(
      starved({ latest: { ...LONG_MINUTE, arrivals: 0, promptTokens: 0, generation: null } }),
    );
    const during = ask(starved({ latest: { ...LONG_MINUTE, generation: null } }));
    expect(during.state?.values.mean).toEqual(untaught.state?.values.mean);
    expect(during.state?.values.demand).not.toEqual(untaught.state?.values.demand);
    expect(ask(starved()).state?.values.mean).not.toEqual(during.state?.values.mean);
  });

  test("where few answers finish in a window, the scatter of TPOT is learnt from those before it", () => {
    const bounds = [20, 30, 40, 60, 80, 120];
    const few = { ...LONG_MINUTE, tpot: { boundsMs: bounds, counts: [0, 4, 0, 0, 0, 0, 0], sumMs: 100 } };
    const after = (counts: readonly number[], sumMs: number) => {
      const { generation: _, ...signal } = few;
      const lookback = { ...signal, tpot: { boundsMs: bounds, counts, sumMs } };
      return Number(ask(starved({ latest: few, signal: lookback })).state?.values.tpotSpread);
    };
    const alike = after([0, 40, 0, 0, 0, 0, 0], 1_000);
    expect(after([20, 10, 0, 0, 4, 6, 0], 1_500)).toBeGreaterThan(alike + 0.02);
  });

  test("a state of another policy is none", () => {
    const foreign = { policy: "feedback", version: 1, values: { learntToMs: SAMPLE_NOW_MS } };
    expect(sameDecision(ask(starved({ state: foreign })), ask(starved()))).toBe(true);
  });
});

const isMultiple = (pct: number, of: number) => Math.abs(pct / of - Math.round(pct / of)) < 1e-6;

/** Every cap that changes is deliverable. */
function expectLegal({ kind, allocation }: Decision, from: Split, limits: Limits): void {
  if (kind === "hold") return;
  const { split, kvQuotaPct } = allocation;
  expect(splitWithin(split, limits)).toBe(true);
  for (const phase of ["prefillSmPct", "decodeSmPct"] as const) {
    if (split[phase] === from[phase] || split[phase] === 100) continue;
    expect(isMultiple(split[phase], limits.granularityPct)).toBe(true);
  }
  if (kvQuotaPct === 100) return;
  expect(kvQuotaPct).toBeGreaterThanOrEqual(limits.minKvQuotaPct);
  expect(kvQuotaPct).toBeLessThanOrEqual(limits.maxKvQuotaPct);
}

describe("what its moves keep to", () => {
  const HALF = { prefillSmPct: 50, decodeSmPct: 50 };
  test.each<{ name: string; initial: Split; limits: Limits; guards?: Partial<GuardConfig> }>([
    { name: "partitions that exclude each other", initial: HALF, limits: EXCLUSIVE_LIMITS },
    {
      name: "the same, delivered by 8 SMs of 132",
      initial: { prefillSmPct: 48.8, decodeSmPct: 48.8 },
      limits: { ...EXCLUSIVE_LIMITS, granularityPct: 6.1 },
    },
    { name: "caps by 8 SMs of 132", initial: OPEN, limits: { ...WIDEST_LIMITS, granularityPct: 6.1 } },
    {
      name: "an operator's bounds",
      initial: { prefillSmPct: 60, decodeSmPct: 60 },
      limits: { ...WIDEST_LIMITS, minSmPct: 30, maxSmPct: 80, maxSumPct: 120 },
    },
  ])("$name: every move is deliverable, and prefill is helped", ({ initial, limits }) => {
    const ticks = play({ policy: search, load: () => LONG_PROMPTS, durationMs: 120_000, initial, limits });
    for (const { decision, running } of ticks) expectLegal(decision, running, limits);
    const { prefillSmPct, decodeSmPct } = ticks.at(-1)!.running;
    expect(prefillSmPct / decodeSmPct).toBeGreaterThan(1.5 * (initial.prefillSmPct / initial.decodeSmPct));
  });

  test("the step guard bounds each cap of each move", () => {
    const guards = { maxStepPct: 10 };
    const ticks = play({ policy: search, load: () => LONG_PROMPTS, durationMs: 150_000, guards });
    const moves = ticks.filter(({ decision }) => decision.kind === "move");
    expect(moves.length).toBeGreaterThan(2);
    for (const { decision, running } of moves) {
      const { split } = decision.allocation;
      expect(Math.abs(split.prefillSmPct - running.prefillSmPct)).toBeLessThanOrEqual(10);
      expect(Math.abs(split.decodeSmPct - running.decodeSmPct)).toBeLessThanOrEqual(10);
    }
    expect(moves[0]?.decision.guards.map(({ guard }) => guard)).toContain("step");
  });

  test("any limits that leave a split, from anywhere: legal, and the same after a trip through JSON", () => {
    const limits = fc
      .record({
        minSmPct: fc.integer({ min: 0, max: 40 }),
        maxSmPct: fc.integer({ min: 50, max: 100 }),
        maxSumPct: fc.integer({ min: 100, max: 200 }),
        granularityPct: fc.constantFrom(0.1, 1, 2.5, 6.1, 10, 12.5),
      })
      .map((drawn): Limits => ({ ...WIDEST_LIMITS, ...drawn }));
    const cap = fc.integer({ min: 0, max: 100 });
    const step = fc.constantFrom(0, 1, 15, 95);
    fc.assert(
      fc.property(limits, cap, cap, step, (given, x, y, maxStepPct) => {
        const split = { prefillSmPct: x, decodeSmPct: y };
        const snapshot = starved({ limits: given, current: { split, kvQuotaPct: 100, generation: 1 } });
        const guards = { ...DEFAULT_GUARDS, maxStepPct };
        const decision = ask(snapshot, search, guards);
        expectLegal(decision, split, given);
        const stored = JSON.parse(JSON.stringify(snapshot)) as Snapshot;
        expect(sameDecision(ask(stored, search, guards), decision)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});
