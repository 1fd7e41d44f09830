/** The semi-PD policy through decide(): what is carried, what holds it, what it moves. */
import { describe, expect, test } from "vitest";
import { decide } from "./decide.js";
import type { Decision, GuardConfig, LatestSignal, PolicyConfig, PolicyState, Snapshot } from "./decision.js";
import { DEFAULT_GUARDS, DEFAULT_SEMI_PD } from "./defaults.js";
import {
  EXCLUSIVE_LIMITS,
  SAMPLE_NOW_MS,
  SAMPLE_SLO,
  histogramWithPercentile,
  sampleSignal,
  sampleSnapshot,
} from "./fixtures.js";
import { WIDEST_LIMITS } from "./nouns.js";
import { sameDecision } from "./same-decision.js";
import { LONG_PROMPTS } from "./search-fixtures.js";
import { play } from "./search-scene.js";
import { emptySignal } from "./signal/summarise.js";

const semiPd: PolicyConfig = { name: "semi-pd", params: DEFAULT_SEMI_PD };
const INTERVAL_MS = 20_000;

/** The n-th interval's windows: `finished` requests whose p90s are these. */
function interval(n: number, ttftMs: number, tpotMs: number, finished = 150): LatestSignal {
  const signal = sampleSignal({
    windows: 4,
    fromAtMs: SAMPLE_NOW_MS + n * INTERVAL_MS,
    toAtMs: SAMPLE_NOW_MS + (n + 1) * INTERVAL_MS,
    finished,
    ttft: histogramWithPercentile(ttftMs, 0.9, finished),
    tpot: histogramWithPercentile(tpotMs, 0.9, finished),
  });
  return { ...signal, generation: 1 };
}

function evaluate(
  latest: LatestSignal,
  state: PolicyState | null,
  over: Partial<Snapshot> = {},
  guards: GuardConfig = DEFAULT_GUARDS,
): Decision {
  const snapshot = sampleSnapshot({
    slo: SAMPLE_SLO,
    limits: WIDEST_LIMITS,
    current: { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 70, generation: 1 },
    lastChangeAtMs: null,
    signal: { ...latest, fromAtMs: null },
    latest,
    state,
    ...over,
  });
  const decision = decide(snapshot, semiPd, guards, latest.toAtMs ?? SAMPLE_NOW_MS);
  const stored = decide(JSON.parse(JSON.stringify(snapshot)), semiPd, guards, latest.toAtMs ?? SAMPLE_NOW_MS);
  expect(sameDecision(stored, decision)).toBe(true);
  return decision;
}

/** Evaluations in a row, each with what the one before answered. */
function run(
  count: number,
  ttftMs: number,
  tpotMs: number,
  over: (n: number) => Partial<Snapshot> = () => ({}),
) {
  let state: PolicyState | null = null;
  return Array.from({ length: count }, (_, n) => {
    const decision = evaluate(interval(n, ttftMs, tpotMs), state, over(n));
    ({ state } = decision);
    return decision;
  });
}

test("counts to 400 over evaluations, decides, and counts anew", () => {
  const decisions = run(6, 900, 50);
  expect(decisions.map(({ reason }) => reason)).toEqual([
    "THIN_SIGNAL",
    "THIN_SIGNAL",
    "TTFT_MISSED",
    "THIN_SIGNAL",
    "THIN_SIGNAL",
    "TTFT_MISSED",
  ]);
  expect(decisions[2]).toMatchObject({
    kind: "move",
    allocation: { split: { prefillSmPct: 100, decodeSmPct: 94 }, kvQuotaPct: 70 },
    policy: { name: "semi-pd" },
  });
  expect(decisions[2]?.predicted?.ttftMs).toBeGreaterThan(0);
  expect(decisions[2]?.candidates.filter(({ verdict }) => verdict === "chosen")).toHaveLength(1);
  for (const { state } of decisions) expect(JSON.stringify(state).length).toBeLessThan(4_096);
});

test("both met: it holds and says so", () => {
  expect(run(3, 100, 50)[2]).toMatchObject({ kind: "hold", reason: "BOTH_MET" });
});

describe("what holds it", () => {
  test.each<{ name: string; over: Partial<Snapshot>; reason: string }>([
    { name: "a pin", over: { hold: { pinned: { untilAtMs: null }, frozen: false } }, reason: "PINNED" },
    { name: "a freeze", over: { hold: { pinned: null, frozen: true } }, reason: "FROZEN" },
    { name: "a cool-down", over: { coolDownUntilMs: SAMPLE_NOW_MS + 1e6 }, reason: "COOL_DOWN" },
    { name: "a dwell", over: { lastChangeAtMs: SAMPLE_NOW_MS + 3 * INTERVAL_MS - 1_000 }, reason: "DWELL" },
  ])("$name: $reason; requests are counted on meanwhile", ({ over, reason }) => {
    const [, , third, fourth] = run(4, 900, 50, (n) => (n === 2 ? over : {}));
    expect(third).toMatchObject({ kind: "hold", reason });
    expect(third?.allocation).toEqual({ split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 70 });
    // A sample that was full while it was held is thrown away, as the original's is at every decision.
    expect(fourth?.reason).toBe("THIN_SIGNAL");
    expect(third?.state?.values.countedToMs).toBe(SAMPLE_NOW_MS + 3 * INTERVAL_MS);
  });

  test("a rollout: requests of a moment between two splits are not counted", () => {
    const [, , third, fourth] = run(4, 900, 50, (n) => (n === 2 ? { rolloutGeneration: 2 } : {}));
    expect(third).toMatchObject({ kind: "hold", reason: "ROLLOUT_OPEN" });
    expect(fourth?.reason).toBe("TTFT_MISSED");
  });

  test("a signal that cannot be true: what was counted is kept as it is", () => {
    const [first] = run(1, 900, 50);
    const mad = evaluate({ ...interval(1, 900, 50), finished: -1 }, first!.state);
    expect(mad).toMatchObject({ kind: "hold", reason: "MAD_SIGNAL" });
    expect(mad.state).toEqual(first!.state);
  });

  test("silence: nothing is counted and nothing moves", () => {
    const [, second] = run(2, 900, 50);
    const nowMs = SAMPLE_NOW_MS + 4 * INTERVAL_MS;
    const snapshot = sampleSnapshot({ signal: emptySignal("missing"), latest: null, state: second!.state });
    const decision = decide(snapshot, semiPd, DEFAULT_GUARDS, nowMs);
    expect(decision).toMatchObject({ kind: "hold", reason: "THIN_SIGNAL" });
    expect(decision.state).toEqual(second!.state);
  });
});

describe("bounds are not its own", () => {
  test("caps that may not overlap are brought back within their sum", () => {
    const half = { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 70, generation: 1 };
    const third = run(3, 900, 50, () => ({ limits: EXCLUSIVE_LIMITS, current: half }))[2]!;
    const { prefillSmPct, decodeSmPct } = third.allocation.split;
    expect(third.kind).toBe("move");
    expect(prefillSmPct).toBeGreaterThan(50);
    expect(prefillSmPct + decodeSmPct).toBeLessThanOrEqual(100);
    expect(third.guards.map(({ guard }) => guard)).toContain("sum");
  });

  test("the step guard and the grid cut what it wants", () => {
    let state: PolicyState | null = null;
    const guards = { ...DEFAULT_GUARDS, maxStepPct: 5 };
    for (let n = 0; n < 2; n++) ({ state } = evaluate(interval(n, 900, 50), state, {}, guards));
    const cut = evaluate(interval(2, 900, 50), state, {}, guards);
    expect(cut.wanted?.split.decodeSmPct).toBe(94);
    expect(cut.allocation.split.decodeSmPct).toBe(95);
    const coarse = evaluate(interval(2, 900, 50), state, {
      limits: { ...WIDEST_LIMITS, granularityPct: 6.1 },
    });
    expect(coarse.allocation.split.decodeSmPct).toBeCloseTo(91.5, 6);
  });
});

test("in a closed loop it walks to its floor by steps of six, and stays there", () => {
  const params = { ...DEFAULT_SEMI_PD, requestsPerDecision: 50 };
  const ticks = play({ policy: { name: "semi-pd", params }, load: () => LONG_PROMPTS, durationMs: 300_000 });
  const moves = ticks.filter(({ decision }) => decision.kind === "move");
  expect(moves.length).toBeGreaterThan(2);
  for (const { decision, running } of moves) {
    const { split } = decision.allocation;
    expect(split.prefillSmPct).toBe(100);
    expect(running.decodeSmPct - split.decodeSmPct).toBeGreaterThan(0);
    expect(running.decodeSmPct - split.decodeSmPct).toBeLessThanOrEqual(6);
  }
  expect(ticks.at(-1)?.running.decodeSmPct).toBe(DEFAULT_SEMI_PD.floorPct);
});
