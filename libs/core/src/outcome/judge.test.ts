import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Signal } from "../decision.js";
import { SAMPLE_SLO, sampleSignal, sampleWindow } from "../fixtures.js";
import { emptySignal } from "../signal/summarise.js";
import { attainmentOf, clumpingOf, LEAST_CLUMPING, predictedAttainment } from "./attainment.js";
import { judge, OUTCOME_RULES, type Trial } from "./judge.js";

const RULES = { ...OUTCOME_RULES, minSamples: 30 };
const BOUNDS = [150, 300, 600];

/** `requests` of which so large a share keeps either bound, in ten windows of two seconds. */
function signalAt(ttftOk: number, tpotOk: number, requests: number, over: Partial<Signal> = {}): Signal {
  const histogram = (share: number, boundsMs: readonly number[]) => {
    const within = Math.round(share * requests);
    return { boundsMs, counts: [0, within, requests - within, 0], sumMs: 0 };
  };
  return sampleSignal({
    windows: 10,
    durationMs: 20_000,
    arrivals: 200,
    promptTokens: 50_000,
    finished: requests,
    queue: { prefillWaiting: 0, decodeRunning: 10 },
    ttft: histogram(ttftOk, BOUNDS),
    tpot: histogram(tpotOk, [75, 150, 300]),
    ...over,
  });
}

function trial(over: Partial<Trial> = {}): Trial {
  return {
    subject: "move",
    slo: SAMPLE_SLO,
    before: signalAt(0.9, 1, 400),
    clumping: LEAST_CLUMPING,
    predicted: null,
    predictedStay: null,
    after: signalAt(0.9, 1, 400),
    over: null,
    ...over,
  };
}

/** A prediction by which the share within the TTFT bound stays what it was. */
const AS_IT_WAS = { ttftMs: 300, tpotMs: 142.5 };

it("tells what was promised of moving and of staying by one reckoning: the move was made for their difference", () => {
  // The policy thought that staying would come to three times the TTFT of what had just been measured.
  const stay = { ttftMs: 900, tpotMs: AS_IT_WAS.tpotMs };
  const found = judge(trial({ predicted: AS_IT_WAS, predictedStay: stay }), {
    ...OUTCOME_RULES,
    minSamples: 30,
  });
  expect(found?.predicted?.attainmentShare).toBeCloseTo(0.9, 1);
  expect(found?.predicted?.stayingShare).toBeLessThan(0.2);
  const alone = judge(trial({ predicted: AS_IT_WAS }), { ...OUTCOME_RULES, minSamples: 30 });
  expect(alone?.predicted?.stayingShare).toBeNull();
});

describe("a change that was made", () => {
  const half = { before: signalAt(0.5, 1, 400) };
  it.each<{ name: string; over: Partial<Trial>; verdict: string | null; worseThan?: string }>([
    {
      name: "fell by 50 points",
      over: { after: signalAt(0.4, 1, 400) },
      verdict: "worse",
      worseThan: "before",
    },
    {
      name: "fell by 8 points, which is within the margin",
      over: { after: signalAt(0.82, 1, 400) },
      verdict: null,
    },
    {
      name: "fell in the other phase",
      over: { after: signalAt(0.9, 0.4, 400) },
      verdict: "worse",
      worseThan: "before",
    },
    {
      name: "fell by 15 points, of too few requests to be sure",
      over: { after: signalAt(0.75, 1, 40) },
      verdict: null,
    },
    {
      name: "rose from a half, nothing being predicted",
      over: { ...half, after: signalAt(0.95, 1, 400) },
      verdict: "better",
    },
    { name: "came as predicted", over: { predicted: AS_IT_WAS }, verdict: "as_predicted" },
    {
      name: "rose, but not to what was predicted",
      over: { ...half, predicted: { ttftMs: 100, tpotMs: 80 }, after: signalAt(0.62, 1, 400) },
      verdict: "worse",
      worseThan: "predicted",
    },
    {
      name: "fell, and a half more requests came",
      over: { after: signalAt(0.4, 1, 400, { arrivals: 300, promptTokens: 75_000 }) },
      verdict: null,
    },
    {
      name: "fell, and prompts were twice as long",
      over: { after: signalAt(0.4, 1, 400, { promptTokens: 100_000 }) },
      verdict: null,
    },
    {
      name: "fell, and a queue had been waiting when it was made",
      over: {
        before: signalAt(0.9, 1, 400, { queue: { prefillWaiting: 80, decodeRunning: 10 } }),
        after: signalAt(0.4, 1, 400),
      },
      verdict: null,
    },
    {
      name: "rose, and half as many came",
      over: { ...half, after: signalAt(0.95, 1, 400, { arrivals: 100, promptTokens: 25_000 }) },
      verdict: null,
    },
    { name: "29 requests", over: { after: signalAt(0, 0, 29) }, verdict: null },
    { name: "one window", over: { after: signalAt(0, 0, 400, { windows: 1 }) }, verdict: null },
    { name: "nothing at all", over: { after: emptySignal("missing") }, verdict: null },
  ])("$name: $verdict", ({ over, verdict, worseThan }) => {
    const found = judge(trial(over), RULES);
    expect(found?.verdict ?? null).toBe(verdict);
    expect(found?.worseThan ?? undefined).toBe(worseThan);
    // What cannot be told yet is told when the trial is over: that it cannot.
    const last = judge(trial({ ...over, over: "5 minutes are over" }), RULES);
    expect(last?.verdict).toBe(verdict ?? "cannot_tell");
  });

  it("is told in one sentence with its numbers", () => {
    const fallen = judge(trial({ after: signalAt(0.4, 1, 400), predicted: AS_IT_WAS }), RULES);
    expect(fallen?.message).toBe(
      "Worse than before: 40 % of 400 requests were within both bounds, 90 % before, 90 % predicted.",
    );
    const more = signalAt(0.4, 1, 400, { arrivals: 300, promptTokens: 75_000 });
    expect(judge(trial({ after: more, over: "5 minutes are over" }), RULES)?.message).toBe(
      "Cannot tell: 40 % of 400 requests were within both bounds, 90 % before (1.5 times the requests and 1.5 times " +
        "the prompt tokens per second came, so the change is not to blame; 5 minutes are over).",
    );
    expect(judge(trial({ after: signalAt(1, 1, 3), over: "generation 8 came" }), RULES)?.message).toBe(
      "Cannot tell: 100 % of 3 requests were within both bounds, 90 % before (3 finished requests in 10 windows are " +
        "fewer than the 30 in 2 that are needed; generation 8 came).",
    );
  });
});

describe("staying, where nothing may be changed", () => {
  const stay = (over: Partial<Trial>) => judge(trial({ subject: "stay", ...over }), RULES);

  it("is held against what was predicted of it, never against before", () => {
    const fallen = signalAt(0.4, 1, 400);
    expect(stay({ after: fallen, predicted: AS_IT_WAS })).toMatchObject({
      verdict: "worse",
      worseThan: "predicted",
    });
    expect(stay({ after: fallen })).toBeNull();
    expect(stay({ predicted: AS_IT_WAS })?.message).toContain("where nothing was changed");
  });
});

describe("what predicted percentiles mean as a share", () => {
  it("is what was measured when nothing is to change, more when latencies shrink, less when they grow", () => {
    const before = signalAt(0.9, 1, 400);
    const at = (ttftMs: number) =>
      predictedAttainment(before, { ttftMs, tpotMs: 142.5 }, SAMPLE_SLO, 8)?.share;
    expect(at(300)).toBeCloseTo(0.9);
    expect(at(150)).toBeCloseTo(1);
    expect(at(450)!).toBeLessThan(0.5);
  });

  it("is unknown without a prediction, or where the percentile lies above the highest bucket", () => {
    const before = signalAt(0.9, 1, 400);
    expect(predictedAttainment(before, { ttftMs: null, tpotMs: 80 }, SAMPLE_SLO, 8)).toBeNull();
    const above = { ...before, ttft: { boundsMs: BOUNDS, counts: [0, 0, 0, 400], sumMs: 0 } };
    expect(predictedAttainment(above, AS_IT_WAS, SAMPLE_SLO, 8)).toBeNull();
  });
});

describe("how much shares scatter", () => {
  const windowOf = (ttftOk: number, seq: number) => {
    const { ttft, tpot } = signalAt(ttftOk, 1, 20);
    return sampleWindow({ seq, ttft: ttft!, tpot: tpot! });
  };
  const windowsOf = (oks: readonly number[]) => oks.map(windowOf);

  it("is taken for no less than a queue's usual clumps, also where little is known", () => {
    expect(clumpingOf([], SAMPLE_SLO)).toBe(LEAST_CLUMPING);
    expect(clumpingOf(windowsOf([1, 0, 1]), SAMPLE_SLO)).toBe(LEAST_CLUMPING);
    expect(clumpingOf(windowsOf(Array.from({ length: 80 }, () => 0.9)), SAMPLE_SLO)).toBe(LEAST_CLUMPING);
  });

  it("is great where a queue wanders for minutes, and then a fall of 50 points is no proof", () => {
    const wandering = windowsOf(Array.from({ length: 80 }, (_, i) => (Math.floor(i / 20) % 2 === 0 ? 1 : 0)));
    const clumping = clumpingOf(wandering, SAMPLE_SLO);
    expect(clumping).toBeGreaterThan(100);
    expect(judge(trial({ after: signalAt(0.4, 1, 400), clumping }), RULES)).toBeNull();
  });
});

describe("for any numbers", () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  const requests = fc.integer({ min: 0, max: 2_000 });
  const signal = fc
    .tuple(share, share, requests, fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 1_000 }))
    .map(([a, b, n, windows, arrivals]) => signalAt(a, b, n, { windows, arrivals }));

  it("a change is held against none that was no worse than before by the margin", () => {
    fc.assert(
      fc.property(signal, signal, fc.option(fc.constant(AS_IT_WAS)), (before, after, predicted) => {
        const found = judge(trial({ before, after, predicted, over: "over" }), RULES);
        expect(found).not.toBeNull();
        if (found?.worseThan !== "before") return;
        const fall = found.before!.attainmentShare - found.observed!.attainmentShare;
        expect(fall).toBeGreaterThan(RULES.marginShare);
        expect(after.finished).toBeGreaterThanOrEqual(RULES.minSamples);
        expect(after.arrivals).toBeLessThanOrEqual(before.arrivals * RULES.loadFactor);
      }),
    );
  });

  it("a share is known the better the more requests it is of", () => {
    fc.assert(
      fc.property(share, fc.integer({ min: 10, max: 1_000 }), (ok, n) => {
        const errorOf = (samples: number) =>
          attainmentOf(signalAt(ok, 1, samples), SAMPLE_SLO, LEAST_CLUMPING)!.standardError;
        expect(errorOf(4 * n)).toBeLessThan(errorOf(n) + 0.05);
        expect(errorOf(n)).toBeLessThan(0.5);
      }),
    );
  });
});
