import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { effectiveShare } from "./effective-share.js";
import { TPOT_PRIOR, TTFT_PRIOR, fitLatency, latencyAt } from "./latency-fit.js";
import { MAX_POINTS, NOTHING_LEARNT, readLearned, rememberPoint, writeLearned } from "./learned.js";
import type { OperatingPoint } from "./learned.js";
import { blend, lambdaShareOf, serviceMsFrom } from "./prefill-load.js";

const pct = fc.integer({ min: 1, max: 100 });
const share = fc.double({ min: 0, max: 1, noNaN: true });

describe("effectiveShare", () => {
  test.each([
    { x: 60, y: 40, busy: 1, prefill: 0.6, decode: 0.4 },
    { x: 30, y: 30, busy: 1, prefill: 0.3, decode: 0.3 },
    { x: 100, y: 100, busy: 1, prefill: 0.5, decode: 0.5 },
    { x: 100, y: 100, busy: 0, prefill: 1, decode: 1 },
    { x: 80, y: 100, busy: 1, prefill: 0.4, decode: 0.6 },
    { x: 80, y: 100, busy: 0.5, prefill: 0.6, decode: 0.8 },
  ])("($x, $y), other busy $busy: $prefill and $decode", ({ x, y, busy, prefill, decode }) => {
    const split = { prefillSmPct: x, decodeSmPct: y };
    expect(effectiveShare(split, "prefill", busy)).toBeCloseTo(prefill);
    expect(effectiveShare(split, "decode", busy)).toBeCloseTo(decode);
  });

  test("two busy phases never get more than one GPU, and (100,100) is not (50,50) to a phase that is alone", () => {
    fc.assert(
      fc.property(pct, pct, share, (x, y, busy) => {
        const split = { prefillSmPct: x, decodeSmPct: y };
        const both = effectiveShare(split, "prefill", 1) + effectiveShare(split, "decode", 1);
        expect(both).toBeLessThanOrEqual(1 + 1e-9);
        const alone = effectiveShare(split, "prefill", busy);
        expect(alone).toBeLessThanOrEqual(x / 100 + 1e-9);
        expect(alone).toBeGreaterThan(0);
      }),
    );
  });
});

describe("fitLatency", () => {
  test("finds the paper's own curve from points on it (Fig 10)", () => {
    const points = [0.2, 0.3, 0.5, 0.7, 1].map((f) => ({
      u: 1 / f,
      latencyMs: 100 * (0.6284 / f + 0.3818),
      weight: 1,
    }));
    const fit = fitLatency(points, TPOT_PRIOR);
    expect(fit?.aMs).toBeCloseTo(62.84, 1);
    expect(fit?.bMs).toBeCloseTo(38.18, 1);
    expect(fit?.confidence).toBeGreaterThan(0.9);
  });

  test("one point gives the prior's shape through that point, and no confidence", () => {
    const fit = fitLatency([{ u: 2, latencyMs: 100, weight: 1 }], TPOT_PRIOR);
    expect(fit?.confidence).toBe(0);
    expect(fit && latencyAt(fit, 2)).toBeCloseTo(100);
    expect((fit?.aMs ?? 0) / (fit?.bMs ?? 1)).toBeCloseTo(TPOT_PRIOR.a / TPOT_PRIOR.b);
  });

  test("points that are steeper than the prior pull the slope up", () => {
    const steep = [
      { u: 2, latencyMs: 100, weight: 1 },
      { u: 4, latencyMs: 190, weight: 1 },
    ];
    const fit = fitLatency(steep, { a: 0.1, b: 1 });
    expect(fit?.aMs).toBeGreaterThan(25);
    expect(fit?.bMs).toBeGreaterThanOrEqual(0);
  });

  test("points that lie about the sign of the slope do not get their way", () => {
    const upsideDown = [
      { u: 2, latencyMs: 200, weight: 1 },
      { u: 4, latencyMs: 50, weight: 1 },
    ];
    const fit = fitLatency(upsideDown, TTFT_PRIOR);
    expect(fit?.aMs).toBeGreaterThan(0);
  });

  test("no points, or no weight, is no fit", () => {
    expect(fitLatency([], TPOT_PRIOR)).toBeNull();
    expect(fitLatency([{ u: 1, latencyMs: 1, weight: 0 }], TPOT_PRIOR)).toBeNull();
  });

  test("coefficients are never negative and a larger share is never slower", () => {
    const point = fc.record({
      u: fc.double({ min: 1, max: 50, noNaN: true }),
      latencyMs: fc.double({ min: 0.1, max: 1e6, noNaN: true }),
      weight: fc.double({ min: 0.001, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(point, { minLength: 1, maxLength: MAX_POINTS }), (points) => {
        const fit = fitLatency(points, TTFT_PRIOR);
        expect(fit).not.toBeNull();
        expect(fit?.aMs).toBeGreaterThan(0);
        expect(fit?.bMs).toBeGreaterThanOrEqual(0);
        expect(fit?.confidence).toBeGreaterThanOrEqual(0);
        expect(fit?.confidence).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe("prefill load (eq. 2 and 3)", () => {
  const measured = { busyShare: null, share: 0.5, arrivalPerS: 10, servedPerS: 10, meanTtftMs: null };

  test("from the busy share: work per request served", () => {
    expect(serviceMsFrom({ ...measured, busyShare: 0.6 })).toBeCloseTo(30);
  });

  test("under overload it is the served rate that counts, so lambda passes the share", () => {
    const serviceMs = serviceMsFrom({ ...measured, busyShare: 1, arrivalPerS: 20, servedPerS: 10 });
    expect(serviceMs).toBeCloseTo(50);
    expect(lambdaShareOf(serviceMs, 20)).toBeCloseTo(1);
  });

  test("without a busy share, eq. 2 is solved with the mean TTFT and finds the l100 that made it", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 5, max: 80, noNaN: true }),
        fc.double({ min: 0.2, max: 1, noNaN: true }),
        fc.double({ min: 0.05, max: 0.9, noNaN: true }),
        (l100, f, load) => {
          const arrivalPerS = (1000 * f * load) / l100;
          const meanTtftMs = l100 / (f - (arrivalPerS * l100) / 1000);
          const found = serviceMsFrom({ ...measured, share: f, arrivalPerS, servedPerS: 0, meanTtftMs });
          expect(found).toBeCloseTo(l100, 6);
        },
      ),
    );
  });

  test("without either it cannot be told", () => {
    expect(serviceMsFrom(measured)).toBeNull();
    expect(lambdaShareOf(null, 10)).toBeNull();
  });

  test("an exponential mean takes the first value whole and later ones by the time that passed", () => {
    expect(blend(null, 40, 0)).toBe(40);
    expect(blend(20, 40, 0)).toBeCloseTo(21);
    expect(blend(20, 40, 3_600_000)).toBe(30);
    expect(blend(20, 40, -5)).toBeCloseTo(21);
  });
});

describe("what is remembered", () => {
  const point = (over: Partial<OperatingPoint> = {}): OperatingPoint => ({
    atMs: 1,
    prefillSmPct: 50,
    decodeSmPct: 50,
    arrivalPerS: 10,
    prefillShare: 0.5,
    decodeShare: 0.5,
    lambdaShare: 0.3,
    ttftMs: 200,
    tpotMs: 80,
    ...over,
  });

  test("the same split at nearly the same load is one point", () => {
    const merged = rememberPoint([point()], point({ arrivalPerS: 11, ttftMs: 300, tpotMs: null, atMs: 5 }));
    expect(merged).toHaveLength(1);
    expect(merged[0]).toMatchObject({ atMs: 5, tpotMs: 80 });
    expect(merged[0]?.ttftMs).toBeCloseTo(230);
  });

  test("another split, or another load, is another point", () => {
    expect(rememberPoint([point()], point({ prefillSmPct: 55 }))).toHaveLength(2);
    expect(rememberPoint([point()], point({ arrivalPerS: 13 }))).toHaveLength(2);
    expect(rememberPoint([point()], point({ arrivalPerS: 0 }))).toHaveLength(2);
  });

  test("the oldest is forgotten", () => {
    let points: readonly OperatingPoint[] = [];
    for (let i = 1; i <= MAX_POINTS + 5; i++) points = rememberPoint(points, point({ prefillSmPct: i }));
    expect(points).toHaveLength(MAX_POINTS);
    expect(points[0]?.prefillSmPct).toBe(6);
  });

  test("a state is read back as it was written, and stays small", () => {
    const points = Array.from({ length: MAX_POINTS }, (_, i) =>
      point({ prefillSmPct: i + 1, atMs: 1_700_000_000_000 }),
    );
    const learned = { ...NOTHING_LEARNT, learntToMs: 5, serviceMs: 30, answerTokens: 300, points };
    const state = writeLearned(learned, "feedback", 1);
    const text = JSON.stringify(state);
    expect(readLearned(JSON.parse(text), "feedback", 1)).toEqual(learned);
    expect(text.length).toBeLessThan(4_096);
  });

  test.each([
    null,
    undefined,
    7,
    { policy: "search", version: 1, values: {} },
    { policy: "feedback", version: 2, values: {} },
    { policy: "feedback", version: 1, values: [] },
  ])("a state of something else is as good as none: %j", (state) => {
    expect(readLearned(state, "feedback", 1)).toEqual(NOTHING_LEARNT);
  });

  test("a state that makes no sense is read as far as it does", () => {
    const values = {
      serviceMs: -4,
      answerTokens: "300",
      learntToMs: NaN,
      points: [1, null, { ...point(), prefillShare: 7 }, point()],
    };
    const read = readLearned({ policy: "feedback", version: 1, values }, "feedback", 1);
    expect(read).toEqual({ ...NOTHING_LEARNT, points: [point()] });
  });
});
