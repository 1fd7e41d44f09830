import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FeedbackParams, Snapshot } from "../decision.js";
import { DEFAULT_FEEDBACK } from "../defaults.js";
import {
  EXCLUSIVE_LIMITS,
  SAMPLE_NOW_MS,
  histogramWithPercentile,
  sampleSignal,
  sampleSnapshot,
} from "../fixtures.js";
import { NOTHING_LEARNT } from "../model/learned.js";
import { learn, loadOf } from "../model/learn.js";
import { predictorOf } from "../model/predictor.js";
import { WIDEST_LIMITS } from "../nouns.js";
import { see } from "../signal/observe.js";
import { feedbackPolicy } from "./feedback.js";
import { grow } from "./grow.js";
import { kvQuota } from "./kv-quota.js";
import { staticPolicy } from "./static.js";

const at = (prefillSmPct: number, decodeSmPct: number, kvQuotaPct = 100) => ({
  split: { prefillSmPct, decodeSmPct },
  kvQuotaPct,
  generation: 1,
});
const latencies = (ttftMs: number, tpotMs: number, over = {}) =>
  sampleSignal({
    ttft: histogramWithPercentile(ttftMs, 0.9, 200),
    tpot: histogramWithPercentile(tpotMs, 0.9, 200),
    ...over,
  });

function ask(snapshot: Snapshot, over: Partial<FeedbackParams> = {}) {
  const sight = see(snapshot.signal, snapshot.slo);
  const { split } = snapshot.current;
  const learned = learn(NOTHING_LEARNT, split, snapshot.signal, sight, snapshot.slo, SAMPLE_NOW_MS);
  const predictor = predictorOf(snapshot, learned, loadOf(snapshot.signal, learned), sight, SAMPLE_NOW_MS);
  const params = { ...DEFAULT_FEEDBACK, ...over };
  return { ...feedbackPolicy(snapshot, params, sight, predictor, learned.answerTokens), predictor };
}

describe("grow (listing fault 4)", () => {
  const params = { stepPct: 5, floorPct: 10 };
  test.each([
    { name: "own cap first", x: 60, y: 80, side: "prefill", limits: WIDEST_LIMITS, want: [65, 80] },
    { name: "own cap up to 100", x: 98, y: 80, side: "prefill", limits: WIDEST_LIMITS, want: [100, 80] },
    {
      name: "then the other one falls",
      x: 100,
      y: 80,
      side: "prefill",
      limits: WIDEST_LIMITS,
      want: [100, 75],
    },
    { name: "down to the floor", x: 100, y: 12, side: "prefill", limits: WIDEST_LIMITS, want: [100, 10] },
    { name: "and no further", x: 100, y: 10, side: "prefill", limits: WIDEST_LIMITS, want: [100, 10] },
    { name: "decode likewise", x: 80, y: 100, side: "decode", limits: WIDEST_LIMITS, want: [75, 100] },
    {
      name: "exclusive: the other pays",
      x: 50,
      y: 50,
      side: "decode",
      limits: EXCLUSIVE_LIMITS,
      want: [45, 55],
    },
    {
      name: "exclusive: unused share first",
      x: 40,
      y: 40,
      side: "prefill",
      limits: EXCLUSIVE_LIMITS,
      want: [45, 40],
    },
    {
      name: "exclusive: the floor stops it",
      x: 88,
      y: 12,
      side: "prefill",
      limits: EXCLUSIVE_LIMITS,
      want: [90, 10],
    },
    {
      name: "a step is at least one granule",
      x: 48,
      y: 48,
      side: "prefill",
      limits: { ...EXCLUSIVE_LIMITS, granularityPct: 8 },
      want: [56, 44],
    },
  ] as const)("$name: ($x, $y) to $want", ({ x, y, side, limits, want }) => {
    const next = grow({ prefillSmPct: x, decodeSmPct: y }, side, params, limits);
    expect([next.prefillSmPct, next.decodeSmPct]).toEqual(want);
  });

  test("never shrinks its own side, never grows the other, and ends", () => {
    const pct = fc.integer({ min: 5, max: 95 });
    fc.assert(
      fc.property(pct, fc.constantFrom("prefill", "decode"), fc.boolean(), (x, side, wide) => {
        const limits = wide ? WIDEST_LIMITS : EXCLUSIVE_LIMITS;
        let split = { prefillSmPct: x, decodeSmPct: 100 - x };
        for (let i = 0; i < 60; i++) {
          const next = grow(split, side, params, limits);
          const own = next.prefillSmPct - split.prefillSmPct;
          const other = next.decodeSmPct - split.decodeSmPct;
          expect((side === "prefill" ? own : other) >= 0 && (side === "prefill" ? other : own) <= 0).toBe(
            true,
          );
          split = next;
        }
        expect(grow(split, side, params, limits)).toEqual(split);
      }),
    );
  });
});

describe("feedback", () => {
  test("both met: holds", () => {
    expect(ask(sampleSnapshot())).toMatchObject({
      reason: "BOTH_MET",
      wanted: { split: { prefillSmPct: 50 } },
    });
  });

  test("TTFT missed: takes the fewest steps that are predicted to reach it", () => {
    const out = ask(sampleSnapshot({ signal: latencies(340, 60) }));
    expect(out.reason).toBe("TTFT_MISSED");
    expect(out.wanted.split).toEqual({ prefillSmPct: 55, decodeSmPct: 45 });
    expect(out.predictor.ttftMs(out.wanted.split)).toBeLessThanOrEqual(300);
    expect(out.candidates.map((c) => c.verdict)).toEqual(["chosen"]);
  });

  test("TPOT missed: decode grows, TTFT pays within its target", () => {
    const out = ask(sampleSnapshot({ signal: latencies(120, 165) }));
    expect(out.reason).toBe("TPOT_MISSED");
    expect(out.wanted.split.decodeSmPct).toBeGreaterThan(50);
    expect(out.predictor.ttftMs(out.wanted.split)).toBeLessThanOrEqual(300);
  });

  test("a target out of reach: the loop ends at maxSteps, and the chosen step is still a miss (faults 1, 6)", () => {
    const out = ask(sampleSnapshot({ signal: latencies(900, 40) }), { maxSteps: 4 });
    expect(out.candidates).toHaveLength(4);
    expect(out.wanted.split.prefillSmPct).toBe(70);
    expect(out.candidates.at(-1)?.ttftMs).toBeGreaterThan(300);
    expect(out.candidates.map((c) => c.verdict)).toEqual(["misses", "misses", "misses", "chosen"]);
  });

  test("would break TPOT: stops before (fault 5)", () => {
    const out = ask(sampleSnapshot({ signal: latencies(900, 149) }));
    expect(out).toMatchObject({ reason: "WOULD_BREAK_OTHER", wanted: { split: { prefillSmPct: 50 } } });
    expect(out.candidates.map((c) => c.verdict)).toEqual(["breaks-other"]);
    expect(out.why).toContain("TPOT");
  });

  test("breaks TPOT at the second step: keeps the first", () => {
    const out = ask(sampleSnapshot({ signal: latencies(900, 133) }));
    expect(out.wanted.split).toEqual({ prefillSmPct: 55, decodeSmPct: 45 });
    expect(out.candidates.map((c) => c.verdict)).toEqual(["chosen", "breaks-other"]);
  });

  test("growing decode never takes prefill to where it is unstable", () => {
    const signal = latencies(290, 400, { busy: { prefillShare: 0.93, decodeShare: 1 } });
    const out = ask(sampleSnapshot({ signal }));
    expect(out.reason).toBe("WOULD_BREAK_OTHER");
    expect(out.candidates[0]?.ttftMs).toBeNull();
  });

  test("no room: both caps are where the limits end", () => {
    const current = at(90, 10);
    const out = ask(sampleSnapshot({ current, signal: latencies(900, 40) }));
    expect(out.reason).toBe("NO_ROOM");
    expect(out.wanted).toEqual({ split: current.split, kvQuotaPct: 100 });
  });

  test("a relief too small to be worth a switch", () => {
    const out = ask(sampleSnapshot({ signal: latencies(310, 60) }), { minBenefitShare: 0.5 });
    expect(out.reason).toBe("NOT_WORTH_IT");
    expect(out.wanted.split.prefillSmPct).toBe(50);
  });

  test("(100,100) with decode idle: a smaller decode cap frees nothing, and is not asked for (fault 7)", () => {
    const signal = latencies(900, 40, { busy: { prefillShare: 0.9, decodeShare: 0 } });
    const out = ask(sampleSnapshot({ current: at(100, 100), limits: WIDEST_LIMITS, signal }));
    expect(out.reason).toBe("NOT_WORTH_IT");
  });

  test("(100,100) with decode always busy: a smaller decode cap does", () => {
    const out = ask(
      sampleSnapshot({ current: at(100, 100), limits: WIDEST_LIMITS, signal: latencies(400, 40) }),
    );
    expect(out.reason).toBe("TTFT_MISSED");
    expect(out.wanted.split.prefillSmPct).toBe(100);
    expect(out.wanted.split.decodeSmPct).toBeLessThan(100);
  });

  test("histograms that end below the bound cannot tell", () => {
    const ttft = { boundsMs: [50, 100], counts: [10, 10, 180], sumMs: 1e5 };
    const out = ask(sampleSnapshot({ signal: sampleSignal({ ttft }) }));
    expect(out.reason).toBe("CANNOT_TELL");
    expect(out.why).toContain("100 ms");
  });

  test("histograms that end at the bound can", () => {
    const ttft = { boundsMs: [100, 300], counts: [10, 10, 180], sumMs: 1e5 };
    expect(ask(sampleSnapshot({ signal: sampleSignal({ ttft }) })).reason).toBe("TTFT_MISSED");
  });
});

describe("both missed (fault 3)", () => {
  const signal = latencies(900, 200);
  test.each([
    {
      name: "hold",
      bothMissed: "hold",
      current: at(50, 50),
      limits: WIDEST_LIMITS,
      reason: "BOTH_MISSED_HOLD",
      want: [50, 50],
    },
    {
      name: "open",
      bothMissed: "open",
      current: at(50, 50),
      limits: WIDEST_LIMITS,
      reason: "BOTH_MISSED",
      want: [100, 100],
    },
    {
      name: "open already",
      bothMissed: "open",
      current: at(100, 100),
      limits: WIDEST_LIMITS,
      reason: "BOTH_MISSED_HOLD",
      want: [100, 100],
    },
    {
      name: "open, caps exclusive",
      bothMissed: "open",
      current: at(50, 50),
      limits: EXCLUSIVE_LIMITS,
      reason: "BOTH_MISSED_HOLD",
      want: [50, 50],
    },
    {
      name: "open, share unused",
      bothMissed: "open",
      current: at(30, 50),
      limits: EXCLUSIVE_LIMITS,
      reason: "BOTH_MISSED",
      want: [40, 60],
    },
    {
      name: "worst first",
      bothMissed: "worst-first",
      current: at(50, 50),
      limits: EXCLUSIVE_LIMITS,
      reason: "BOTH_MISSED",
      want: [65, 35],
    },
  ] as const)("$name", ({ bothMissed, current, limits, reason, want }) => {
    const out = ask(sampleSnapshot({ current, limits, signal }), { bothMissed });
    expect(out.reason).toBe(reason);
    expect([out.wanted.split.prefillSmPct, out.wanted.split.decodeSmPct]).toEqual(want);
  });

  test("worst first stops where the other becomes the worse one", () => {
    const out = ask(sampleSnapshot({ signal: latencies(320, 159) }), { bothMissed: "worst-first" });
    expect(out.reason).toBe("BOTH_MISSED_HOLD");
  });

  test("worst first helps a prefill that no allowed step makes stable", () => {
    const overload = latencies(20_000, 200, { arrivals: 360, busy: { prefillShare: 1, decodeShare: 1 } });
    const out = ask(sampleSnapshot({ signal: overload }), { bothMissed: "worst-first" });
    expect(out.reason).toBe("BOTH_MISSED");
    expect(out.wanted.split.prefillSmPct).toBe(65);
  });
});

describe("KV quota", () => {
  const kv = (usedTokens: number | null, preemptions: number | null = 0) => ({
    totalTokens: 440_000,
    usedTokens,
    preemptions,
  });
  const quotaOf = (quotaPct: number, over: object, answerTokens: number | null = 300) =>
    kvQuota(sampleSnapshot({ current: at(50, 50, quotaPct), signal: sampleSignal(over) }), answerTokens);

  test.each([
    { name: "no pressure leaves it open", now: 100, give: { kv: kv(100_000) }, want: [100, null] },
    // 100 decodes x 300 / 2 = 15,000 tokens are 3.4 %: 90 - 3.4 is 86.6, floored to 85.
    { name: "use and growth beyond 90 %", now: 100, give: { kv: kv(400_000) }, want: [85, "KV_PRESSURE"] },
    {
      name: "more growth leaves less",
      now: 100,
      give: { kv: kv(300_000), queue: { prefillWaiting: 0, decodeRunning: 1000 } },
      want: [55, "KV_PRESSURE"],
    },
    { name: "between the marks nothing moves", now: 60, give: { kv: kv(360_000) }, want: [60, null] },
    { name: "a small tightening is not worth it", now: 90, give: { kv: kv(400_000) }, want: [90, null] },
    { name: "relief goes by 20 points", now: 60, give: { kv: kv(200_000) }, want: [80, "KV_RELIEF"] },
    {
      name: "relief ends at the greatest quota",
      now: 95,
      give: { kv: kv(200_000) },
      want: [100, "KV_RELIEF"],
    },
    {
      name: "a preemption is pressure, whatever the sum says",
      now: 60,
      give: { kv: kv(200_000, 3) },
      want: [55, "KV_PRESSURE"],
    },
    { name: "the floor holds under preemptions", now: 5, give: { kv: kv(430_000, 3) }, want: [5, null] },
    { name: "an engine that does not say", now: 60, give: { kv: kv(null) }, want: [60, null] },
    {
      name: "an unknown decode batch",
      now: 60,
      give: { queue: { prefillWaiting: 0, decodeRunning: null } },
      want: [60, null],
    },
  ] as const)("$name", ({ now, give, want }) => {
    const out = quotaOf(now, give);
    expect([out.quotaPct, out.reason]).toEqual(want);
  });

  test("without a learnt answer length it leaves the quota alone", () => {
    expect(quotaOf(100, { kv: kv(430_000) }, null).reason).toBeNull();
  });

  test("does not hunt: under constant load the quota settles", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 440_000 }),
        fc.integer({ min: 0, max: 2_000 }),
        (used, running) => {
          let quota = 100;
          for (let i = 0; i < 40; i++) {
            quota = quotaOf(quota, {
              kv: kv(used),
              queue: { prefillWaiting: 0, decodeRunning: running },
            }).quotaPct;
            expect(quota >= 5 && quota <= 100).toBe(true);
          }
          expect(
            quotaOf(quota, { kv: kv(used), queue: { prefillWaiting: 0, decodeRunning: running } }).reason,
          ).toBeNull();
        },
      ),
    );
  });

  test("moves with the split, or alone, or not at all", () => {
    const pressed = { kv: kv(400_000) };
    expect(ask(sampleSnapshot({ signal: sampleSignal(pressed) }))).toMatchObject({
      reason: "KV_PRESSURE",
      wanted: { kvQuotaPct: 85 },
    });
    const both = ask(sampleSnapshot({ signal: latencies(340, 60, pressed) }));
    expect(both).toMatchObject({
      reason: "TTFT_MISSED",
      wanted: { kvQuotaPct: 85, split: { prefillSmPct: 55 } },
    });
    expect(ask(sampleSnapshot({ signal: sampleSignal(pressed) }), { moveKvQuota: false }).reason).toBe(
      "BOTH_MET",
    );
  });
});

describe("static", () => {
  test("wants its target, or rests on it", () => {
    const allocation = { split: { prefillSmPct: 80, decodeSmPct: 100 }, kvQuotaPct: 60 };
    expect(staticPolicy(sampleSnapshot(), { allocation })).toMatchObject({
      reason: "STATIC_TARGET",
      wanted: allocation,
    });
    expect(staticPolicy(sampleSnapshot({ current: at(80, 100, 60) }), { allocation }).reason).toBe(
      "AT_TARGET",
    );
  });
});
