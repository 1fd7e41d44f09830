/** The search policy where an SLO has classes, through decide(). */
import { describe, expect, test } from "vitest";
import { decide } from "./decide.js";
import type { Decision, PolicyConfig } from "./decision.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS, DEFAULT_SEARCH } from "./defaults.js";
import { SAMPLE_NOW_MS, sampleSnapshot } from "./fixtures.js";
import type { SloClass, SloTarget, Window } from "./nouns.js";
import { sameDecision } from "./same-decision.js";
import { LIGHT_CHAT, LONG_PROMPTS, SCENE_SLO } from "./search-fixtures.js";
import { play } from "./search-scene.js";
import { emptyHistogram } from "./signal/histogram.js";

const search: PolicyConfig = { name: "search", params: DEFAULT_SEARCH };

/** Prefill and decode cannot both have what these two promises ask for. */
const FIRST_TOKENS = {
  ttft: { percentile: 0.9, boundMs: 2_000 },
  tpot: { percentile: 0.9, boundMs: 10_000 },
  attainmentShare: 0.9,
};
const TOKENS = {
  ttft: { percentile: 0.9, boundMs: 600_000 },
  tpot: { percentile: 0.9, boundMs: 24 },
  attainmentShare: 0.9,
};
const named = (name: string, promise: Omit<SloClass, "name">): SloClass => ({ name, ...promise });

const lastOf = (slo: SloTarget, load = LONG_PROMPTS) =>
  play({ policy: search, load: () => load, durationMs: 240_000, slo }).at(-1)!;
const decisionsOf = (slo: SloTarget) =>
  play({ policy: search, load: () => LONG_PROMPTS, durationMs: 120_000, slo }).map(
    ({ decision }) => decision,
  );

test("without classes and with none the decisions are the same, and no row tells of classes", () => {
  const without = decisionsOf(SCENE_SLO);
  expect(decisionsOf({ ...SCENE_SLO, classes: [] })).toEqual(without);
  for (const { candidates, observed } of without) {
    expect(observed).not.toHaveProperty("classes");
    for (const candidate of candidates) expect(candidate).not.toHaveProperty("classes");
  }
});

describe("two promises that cannot both be kept", () => {
  test("the order decides whose part of the GPU grows", () => {
    const first = lastOf({ ...FIRST_TOKENS, classes: [named("tokens", TOKENS)] }).running;
    const second = lastOf({ ...TOKENS, classes: [named("first-tokens", FIRST_TOKENS)] }).running;
    expect(first.prefillSmPct - first.decodeSmPct).toBeGreaterThan(second.prefillSmPct - second.decodeSmPct);
  });

  test("the row tells of each promise what is expected, what was seen, and says so in words", () => {
    const { decision } = lastOf({ ...FIRST_TOKENS, classes: [named("tokens", TOKENS)] });
    expect(decision.candidates.length).toBeGreaterThan(1);
    for (const { share, classes } of decision.candidates) {
      expect(classes?.map(({ name }) => name)).toEqual([null, "tokens"]);
      expect(classes?.[0]?.share).toBe(share);
      for (const each of classes ?? []) expect(each.share).toBeGreaterThanOrEqual(0);
    }
    expect(decision.observed.classes?.map(({ name, own }) => [name, own])).toEqual([
      [null, false],
      ["tokens", false],
    ]);
    expect(decision.message).toContain("for tokens");
  });
});

test("promises that are all kept hold the split, though another would serve more", () => {
  const easy = { ...FIRST_TOKENS, attainmentShare: 0.5 };
  const ticks = play({
    policy: search,
    load: () => LIGHT_CHAT,
    durationMs: 120_000,
    slo: { ...easy, classes: [named("batch", { ...easy, attainmentShare: 0.3 })] },
  });
  expect(ticks.every(({ decision }) => decision.kind === "hold")).toBe(true);
});

describe("where the engine tells classes", () => {
  /** Half of the requests are documents; theirs are the late first tokens. */
  const told = (window: Omit<Window, "seq" | "generation">): Omit<Window, "seq" | "generation"> => {
    const arrivals = Math.floor(window.arrivals / 2);
    const late = emptyHistogram(window.ttft.boundsMs);
    const counts = window.ttft.counts.map((count, i) => (i > 12 ? count : 0));
    const documents = {
      name: "documents",
      arrivals,
      promptTokens: Math.min(window.promptTokens, 4_000 * arrivals),
      promptTokensSq: 16e6 * arrivals,
      ttft: { ...late, counts },
      tpot: window.tpot,
    };
    return { ...window, classes: [documents] };
  };
  const slo = {
    ...SCENE_SLO,
    classes: [named("documents", { ...SCENE_SLO, ttft: { percentile: 0.9, boundMs: 9_000 } })],
  };
  const last = play({ policy: search, load: () => LONG_PROMPTS, durationMs: 60_000, slo, retell: told }).at(
    -1,
  )!;

  test("each promise is held against its own requests", () => {
    const [own, documents] = last.decision.observed.classes ?? [];
    expect([own?.own, documents?.own]).toEqual([true, true]);
    expect(last.decision.state?.values).toHaveProperty("demand.classes.documents");
    expect(last.fault).toBeNull();
  });

  test("a class of which no request comes is kept by any split", () => {
    const none = { ...slo, classes: [named("nobody", { ...SCENE_SLO, attainmentShare: 0.99 })] };
    const tick = play({
      policy: search,
      load: () => LONG_PROMPTS,
      durationMs: 60_000,
      slo: none,
      retell: told,
    }).at(-1)!;
    for (const { classes } of tick.decision.candidates)
      expect(classes?.[1]).toEqual({ name: "nobody", share: 1 });
  });

  test("histograms of other bounds than the window's are not believed", () => {
    const odd = (window: Omit<Window, "seq" | "generation">) => {
      const given = told(window);
      const ttft = { boundsMs: [7], counts: [0, 0], sumMs: 0 };
      return { ...given, classes: given.classes?.map((each) => ({ ...each, ttft })) ?? [] };
    };
    const ticks = play({ policy: search, load: () => LONG_PROMPTS, durationMs: 10_000, slo, retell: odd });
    expect(ticks.map(({ fault }) => fault?.field)).toEqual(["classes[0].ttft", "classes[0].ttft"]);
  });
});

test("policies that look at percentiles hold the first promise, and the row shows the others", () => {
  const feedback: PolicyConfig = { name: "feedback", params: DEFAULT_FEEDBACK };
  const at = (slo: SloTarget) => decide(sampleSnapshot({ slo }), feedback, DEFAULT_GUARDS, SAMPLE_NOW_MS);
  const with_ = at({ ...SCENE_SLO, classes: [named("batch", TOKENS)] });
  const { observed, ...rest } = at(SCENE_SLO);
  expect(with_).toMatchObject(rest);
  expect(with_.observed).toMatchObject(observed);
  expect(with_.observed.classes).toHaveLength(2);
});

describe("classes that make no sense hold the split and are named", () => {
  const batch = named("batch", TOKENS);
  test.each([
    ["too many", Array.from({ length: 5 }, (_, i) => named(`c${i}`, TOKENS)), "slo.classes"],
    ["one name twice", [batch, batch], "slo.classes[1]"],
    [
      "a bound of nothing",
      [{ ...batch, tpot: { percentile: 0.9, boundMs: 0 } }],
      "slo.classes[0].tpot.boundMs",
    ],
    ["a share above all", [{ ...batch, attainmentShare: 1.5 }], "slo.classes[0].attainmentShare"],
  ])("%s", (_what, classes, field) => {
    const decision = decide(
      sampleSnapshot({ slo: { ...SCENE_SLO, classes } }),
      search,
      DEFAULT_GUARDS,
      SAMPLE_NOW_MS,
    );
    expect(decision).toMatchObject({ kind: "hold", reason: "MAD_SIGNAL" });
    expect(decision.message).toContain(field);
  });
});

describe("decisions stored before candidates told a share", () => {
  const decision = lastOf(SCENE_SLO).decision;
  const older: Decision = {
    ...decision,
    candidates: decision.candidates.map((each) => {
      const { share: _, ...rest } = each;
      return rest;
    }),
  };

  test("are the same as those of today, read back from their rows", () => {
    expect(decision.candidates[0]?.share).toBeGreaterThan(0);
    expect(sameDecision(decision, JSON.parse(JSON.stringify(older)) as Decision)).toBe(true);
  });

  test("differ where anything else differs, and shares differ where both have them", () => {
    const [first, ...rest] = older.candidates;
    const slower = { ...older, candidates: [{ ...first!, tpotMs: 1 }, ...rest] };
    expect(sameDecision(decision, slower)).toBe(false);
    const [told, ...others] = decision.candidates;
    expect(sameDecision(decision, { ...decision, candidates: [{ ...told!, share: 0.001 }, ...others] })).toBe(
      false,
    );
  });
});
