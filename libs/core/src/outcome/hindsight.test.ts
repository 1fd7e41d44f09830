import { describe, expect, it } from "vitest";
import { decide } from "../decide.js";
import type { PolicyConfig, Signal } from "../decision.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS, DEFAULT_SEARCH, DEFAULT_SEMI_PD } from "../defaults.js";
import { histogramAt, SAMPLE_NOW_MS, sampleSnapshot } from "../fixtures.js";
import type { Allocation, Split, Window } from "../nouns.js";
import { WIDEST_LIMITS } from "../nouns.js";
import { LIGHT_CHAT, type Load, LONG_PROMPTS, SCENE_SLO, SmallEngine } from "../search-fixtures.js";
import { latestSignal, summarise } from "../signal/summarise.js";
import { figuresOf } from "./attainment.js";
import { judgeHindsight, type Recorded } from "./hindsight.js";

const OPEN: Split = { prefillSmPct: 100, decodeSmPct: 100 };
const SEARCH: PolicyConfig = { name: "search", params: DEFAULT_SEARCH };
const BEFORE_MS = 60_000;
const TRIAL_MS = 120_000;

const at = (prefillSmPct: number, decodeSmPct: number): Allocation => ({
  split: { prefillSmPct, decodeSmPct },
  kvQuotaPct: 100,
});

type Served = Omit<Window, "seq" | "generation">;

function signalOf(window: Served, nowMs: number): Signal {
  const context = { sinceMs: null, currentGeneration: 1, lookbackMs: 600_000, guards: DEFAULT_GUARDS };
  return summarise([{ ...window, seq: 1, generation: 1 }], context, nowMs);
}

/** A minute of a load at (100,100), what was decided on it, and two minutes of another load at the same split. */
function recorded(
  load: Load,
  {
    later = load,
    move,
    policy = SEARCH,
    seed = 1,
  }: Partial<{ later: Load; move: Allocation; policy: PolicyConfig; seed: number }> = {},
): Recorded & { truth: (allocation: Allocation) => number } {
  const engine = new SmallEngine(seed, SAMPLE_NOW_MS - BEFORE_MS);
  const before = engine.run(OPEN, load, BEFORE_MS);
  const latest = latestSignal(
    [{ ...before, seq: 1, generation: 1 }],
    0,
    { lookbackMs: 120_000 },
    SAMPLE_NOW_MS,
  );
  const snapshot = sampleSnapshot({
    slo: SCENE_SLO,
    limits: WIDEST_LIMITS,
    current: { split: OPEN, kvQuotaPct: 100, generation: 1 },
    lastChangeAtMs: null,
    signal: signalOf(before, SAMPLE_NOW_MS),
    latest,
  });
  const decision = decide(snapshot, policy, DEFAULT_GUARDS, SAMPLE_NOW_MS);
  const truth = ({ split }: Allocation) => {
    const again = new SmallEngine(seed, SAMPLE_NOW_MS - BEFORE_MS);
    again.run(OPEN, load, BEFORE_MS);
    const after = signalOf(again.run(split, later, TRIAL_MS), SAMPLE_NOW_MS + TRIAL_MS);
    return figuresOf(after, SCENE_SLO)!.attainmentShare;
  };
  return {
    snapshot,
    policy,
    state: decision.state,
    move: move ?? decision.allocation,
    after: signalOf(engine.run(OPEN, later, TRIAL_MS), SAMPLE_NOW_MS + TRIAL_MS),
    minSamples: 30,
    truth,
  };
}

describe("a move that was only recorded", () => {
  it("away from a prefill that drowns would have helped, and it would", () => {
    const { truth, ...given } = recorded(LONG_PROMPTS);
    const found = judgeHindsight(given);
    expect(found).toMatchObject({ verdict: "would_have_helped", move: given.move });
    expect(found.gainShare!).toBeGreaterThan(found.errorShare!);
    expect(truth(given.move)).toBeGreaterThan(truth(at(100, 100)));
  });

  it("where every split serves the load would not, nor one that starves a phase", () => {
    expect(judgeHindsight(recorded(LIGHT_CHAT, { move: at(70, 100) })).verdict).toBe("would_not");
    const starving = judgeHindsight(recorded(LIGHT_CHAT, { move: at(100, 5) }));
    expect(starving.verdict).toBe("would_not");
    expect(starving.gainShare!).toBeLessThan(0);
  });

  it("is judged by the load that came, not by that on which it was decided", () => {
    const { move } = recorded(LONG_PROMPTS);
    expect(judgeHindsight(recorded(LONG_PROMPTS, { move, later: LIGHT_CHAT, seed: 2 })).verdict).not.toBe(
      "would_have_helped",
    );
  });

  it("says what the model was off by on what did happen", () => {
    const found = judgeHindsight(recorded(LONG_PROMPTS));
    expect(found.message).toMatch(
      /^The move would have helped: with the load that came the model has [\d.]+ % of requests within both bounds at prefill \d+ %, decode \d+ % and [\d.]+ % for staying; [\d.]+ % were observed, so it was off by [\d.]+ points on what did happen\.$/,
    );
  });
});

describe("it cannot be told", () => {
  const cases: [string, Partial<Recorded>, string][] = [
    ["of too few requests", { minSamples: 100_000 }, "fewer than the 100000 that are needed"],
    ["of a quota alone", { move: { split: OPEN, kvQuotaPct: 60 } }, "moved the KV quota alone"],
    [
      "where the policy knows no model",
      { policy: { name: "static", params: { allocation: at(60, 40) } } },
      "policy static had no model",
    ],
    [
      "nor with semi-pd",
      { policy: { name: "semi-pd", params: DEFAULT_SEMI_PD } },
      "policy semi-pd had no model",
    ],
    [
      "before feedback has learnt",
      { policy: { name: "feedback", params: DEFAULT_FEEDBACK }, state: null },
      "policy feedback had no model",
    ],
  ];
  it.each(cases)("%s", (_what, over, why) => {
    const found = judgeHindsight({ ...recorded(LONG_PROMPTS), move: at(60, 40), ...over });
    expect(found).toMatchObject({ verdict: "cannot_tell", gainShare: null });
    expect(found.message).toContain(why);
  });

  it("where the model was further off than the gain", () => {
    const given = recorded(LIGHT_CHAT, { move: at(90, 100) });
    // What it says is well served came late all the same: something is the matter that it does not know of.
    const late = { ...given.after, ttft: histogramAt(30_000, given.after.finished) };
    const found = judgeHindsight({ ...given, after: late });
    expect(found).toMatchObject({ verdict: "cannot_tell", move: given.move });
    expect(found.errorShare!).toBeGreaterThan(0.9);
    expect(found.message).toContain(
      "Whether the move would have helped cannot be told: with the load that came",
    );
  });
});

describe("feedback's model", () => {
  it("speaks of the load that came too", () => {
    const policy: PolicyConfig = { name: "feedback", params: DEFAULT_FEEDBACK };
    const found = judgeHindsight(recorded(LIGHT_CHAT, { policy, move: at(90, 100) }));
    expect(found.message).toContain("points on what did happen");
  });
});
