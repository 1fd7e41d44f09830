import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decide } from "../decide.js";
import type { PolicyConfig, PolicyState, Snapshot } from "../decision.js";
import { DEFAULT_GUARDS, DEFAULT_SEARCH } from "../defaults.js";
import { SAMPLE_NOW_MS, sampleSnapshot } from "../fixtures.js";
import { GENERIC_PRIOR, priorBelief } from "../model/plant-params.js";
import { WIDEST_LIMITS } from "../nouns.js";
import { sameDecision } from "../same-decision.js";
import { LIGHT_CHAT, LONG_PROMPTS, SCENE_SLO } from "../search-fixtures.js";
import { play } from "../search-scene.js";
import type { Tick } from "../search-scene.js";
import { freshMemory, readMemory, writeMemory } from "./search-memory.js";

const search: PolicyConfig = { name: "search", params: DEFAULT_SEARCH };
const PRIOR = priorBelief(null);
const throughJson = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** Ten minutes of loads that change their kind: moves, silences, and all that is remembered of them. */
const ticks: readonly Tick[] = play({
  policy: search,
  load: (atMs) => (Math.floor(atMs / 120_000) % 2 === 0 ? LONG_PROMPTS : { ...LIGHT_CHAT, ratePerS: 0.5 }),
  durationMs: 600_000,
});
const states = ticks.map(({ decision }) => decision.state!);
const last = states.at(-1)!;

/** The evaluation after a tick, with a state. */
function nextAfter(tick: Tick, state: PolicyState | null): Snapshot {
  const endMs = SAMPLE_NOW_MS + tick.atMs;
  const { queue, kv, ttft, tpot, busy, work, arrivals, promptTokens, finished, outputTokens } = tick.window;
  const counts = { durationMs: 5_000, arrivals, promptTokens, finished, outputTokens };
  const span = { freshness: "fresh" as const, windows: 1, fromAtMs: endMs, toAtMs: endMs + 5_000 };
  const signal = { ...span, ...counts, ttft, tpot, busy, queue, kv, work };
  return sampleSnapshot({
    slo: SCENE_SLO,
    limits: WIDEST_LIMITS,
    current: { split: tick.running, kvQuotaPct: 100, generation: 1 },
    lastChangeAtMs: null,
    signal,
    latest: { ...signal, generation: 1 },
    state,
  });
}

const decideAfter = (tick: Tick, state: PolicyState | null) =>
  decide(nextAfter(tick, state), search, DEFAULT_GUARDS, SAMPLE_NOW_MS + tick.atMs + 5_000);

describe("what is carried", () => {
  test("a state that was stored gives the next decision that the state itself gives", () => {
    for (const [i, tick] of ticks.entries()) {
      const state = states[i]!;
      expect(throughJson(state)).toEqual(state);
      if (i % 3 > 0) continue;
      const direct = decideAfter(tick, state);
      expect(sameDecision(decideAfter(tick, throughJson(state)), direct)).toBe(true);
    }
  });

  test("it matters: without it the decisions are others", () => {
    const some = [5, 15, 25, 40, 60, 80, 100, 119];
    const differ = some.filter((i) => {
      const [remembering, forgetful] = [states[i]!, null].map((state) => decideAfter(ticks[i]!, state));
      return remembering!.message !== forgetful!.message;
    });
    expect(differ.length).toBeGreaterThan(some.length / 2);
  });

  test("reading and writing again changes nothing", () => {
    for (const state of states) expect(writeMemory(readMemory(state, PRIOR))).toEqual(state);
  });

  test("it stays under 4 KB, however long it goes on and however its numbers come out", () => {
    for (const state of states) expect(JSON.stringify(state).length).toBeLessThan(4_096);
    const odd = PRIOR.mean.map((_, i) => -1.234567891e-7 / (i + 1));
    const widest = {
      ...readMemory(last, PRIOR),
      learntToMs: SAMPLE_NOW_MS + 0.123456789,
      belief: {
        mean: odd,
        covariance: odd.map((a) => odd.map((b) => a * b)),
      },
      tpotSpread: 0.123456789,
      tpotBias: -0.123456789,
      waitBias: -0.123456789,
      learntS: 123456.789,
    };
    expect(JSON.stringify(writeMemory(widest)).length).toBeLessThan(4_096);
  });
});

describe("a state that makes no sense is as good as none", () => {
  const fresh = freshMemory(PRIOR);
  const dented = (values: object): PolicyState => ({ ...last, values: { ...last.values, ...values } });
  const row = PRIOR.mean.map(() => 0);
  const { demand } = last.values as { demand: { slow: object; fast: object } };

  test.each<{ name: string; state: unknown }>([
    { name: "none", state: null },
    { name: "of another policy", state: { ...last, policy: "feedback" } },
    { name: "of another version", state: { ...last, version: last.version + 1 } },
    { name: "without values", state: { ...last, values: null } },
    { name: "a belief about fewer numbers", state: dented({ mean: [0, 0] }) },
    { name: "a belief that means nothing", state: dented({ mean: row.map(() => 1e9) }) },
    { name: "a belief that is null", state: dented({ mean: row.map(() => null) }) },
    { name: "a covariance with rows missing", state: dented({ covariance: [[1]] }) },
    { name: "a variance of nothing", state: dented({ covariance: row.map((_, i) => row.slice(0, i + 1)) }) },
    {
      name: "a covariance that hangs together more than it scatters",
      state: dented({
        covariance: row.map((_, i) => row.slice(0, i + 1).map((__, j) => (i === j ? 0.01 : 1e3))),
      }),
    },
    { name: "no demand", state: dented({ demand: null }) },
    {
      name: "a demand of less than nothing",
      state: dented({ demand: { ...demand, slow: { ...demand.slow, ms: -1 } } }),
    },
    {
      name: "a demand beyond all counting",
      state: dented({ demand: { ...demand, fast: { ...demand.fast, promptTokens: 1e300 } } }),
    },
    { name: "a spread that is a word", state: dented({ tpotSpread: "wide" }) },
    { name: "no word of what it has learnt from", state: dented({ learntToMs: null }) },
  ])("$name", ({ state }) => {
    expect(readMemory(state, PRIOR)).toEqual(fresh);
  });

  test("anything at all is read, as none or as something with which a decision can be made", () => {
    const keys = Object.keys(last.values);
    const values = fc.dictionary(fc.constantFrom(...keys), fc.anything());
    fc.assert(
      fc.property(fc.anything(), values, fc.boolean(), (junk, over, whole) => {
        const state = (whole ? junk : dented(over)) as PolicyState;
        const memory = readMemory(state, PRIOR);
        const numbers = [memory.tpotSpread, memory.tpotBias, memory.waitBias, memory.learntS, memory.regret];
        expect(numbers.every(Number.isFinite)).toBe(true);
        expect(memory.belief.mean).toHaveLength(PRIOR.mean.length);
        expect(() => JSON.stringify(writeMemory(memory))).not.toThrow();
        const decision = decideAfter(ticks[3]!, state);
        expect(sameDecision(throughJson(decision), decision)).toBe(true);
        expect(decision.reason).not.toBe("MAD_SIGNAL");
      }),
      { numRuns: 150 },
    );
  });

  test("biases that have wandered off are brought back", () => {
    const memory = readMemory(
      dented({ tpotSpread: 1e9, tpotBias: -1e9, waitBias: 1e9, regret: -5, learntS: -1 }),
      PRIOR,
    );
    expect(memory.tpotSpread).toBeLessThan(10);
    expect(memory.tpotBias).toBeGreaterThan(-10);
    expect(memory.waitBias).toBeLessThan(10);
    expect([memory.regret, memory.learntS]).toEqual([0, 0]);
  });

  test("a belief about another prior's numbers is kept: a new profile does not forget what was measured", () => {
    const told = priorBelief(GENERIC_PRIOR);
    expect(readMemory(last, told).belief).toEqual(readMemory(last, PRIOR).belief);
  });
});
