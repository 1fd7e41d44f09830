import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SAMPLE_NOW_MS, histogramAt, sampleWindow } from "../fixtures.js";
import type { Window } from "../nouns.js";
import { sampleCount } from "./histogram.js";
import { ENOUGH_FACTOR, MAX_FOLDED_WINDOWS, summarise } from "./summarise.js";

const guards = { minSamples: 30, staleAfterMs: 15_000 };
const options = { sinceMs: null, currentGeneration: 1, lookbackMs: 120_000, guards };
const ago = (ms: number, over: Partial<Window> = {}) =>
  sampleWindow({ seq: 1_000_000 - ms, endAtMs: SAMPLE_NOW_MS - ms, ...over });
const fold = (windows: readonly Window[], over: Partial<typeof options> | { sinceMs: number } = {}) =>
  summarise(windows, { ...options, ...over }, SAMPLE_NOW_MS);

describe("freshness", () => {
  test.each([
    { name: "no windows at all", give: [], want: "missing" },
    { name: "none within the lookback", give: [ago(120_001)], want: "missing" },
    { name: "only ones that cannot be believed", give: [ago(0, { arrivals: -1 })], want: "missing" },
    { name: "the newest is old", give: [ago(15_001)], want: "stale" },
    { name: "too few first tokens", give: [ago(0, { ttft: histogramAt(200, 29) })], want: "thin" },
    { name: "too few finished", give: [ago(0, { tpot: histogramAt(80, 29) })], want: "thin" },
    { name: "all of another generation", give: [ago(0, { generation: 2 })], want: "thin" },
    { name: "switching all the time", give: [ago(0, { generation: null })], want: "thin" },
    { name: "enough of both", give: [ago(0)], want: "fresh" },
    {
      name: "enough only together",
      give: [ago(0, { ttft: histogramAt(1, 15) }), ago(5_000, { ttft: histogramAt(1, 15) })],
      want: "fresh",
    },
  ])("$name is $want", ({ give, want }) => {
    expect(fold(give).freshness).toBe(want);
  });
});

describe("what is folded", () => {
  test("counts are summed, gauges are of the latest, busy shares weighted by time", () => {
    const signal = fold([
      ago(0, {
        durationMs: 1_000,
        busy: { prefillShare: 1, decodeShare: null },
        queue: { prefillWaiting: 9, decodeRunning: 8 },
      }),
      ago(5_000, {
        durationMs: 3_000,
        busy: { prefillShare: 0.2, decodeShare: 0.5 },
        kv: { totalTokens: 9, usedTokens: 1, preemptions: 4 },
      }),
    ]);
    expect(signal).toMatchObject({
      windows: 2,
      durationMs: 4_000,
      arrivals: 100,
      finished: 100,
      promptTokens: 25_000,
      outputTokens: 30_000,
      fromAtMs: SAMPLE_NOW_MS - 10_000,
      toAtMs: SAMPLE_NOW_MS,
      busy: { decodeShare: 0.5 },
      queue: { prefillWaiting: 9, decodeRunning: 8 },
      kv: { totalTokens: 440_000, usedTokens: 100_000, preemptions: 4 },
    });
    expect(signal.busy.prefillShare).toBeCloseTo(0.4);
  });

  test("an engine that says nothing stays unknown, never zero", () => {
    const silent = {
      busy: { prefillShare: null, decodeShare: null },
      kv: { totalTokens: null, usedTokens: null, preemptions: null },
    };
    const signal = fold([ago(0, silent), ago(5_000, silent)]);
    expect(signal.busy).toEqual({ prefillShare: null, decodeShare: null });
    expect(signal.kv.preemptions).toBeNull();
  });

  test("windows that started before the last change are left out", () => {
    const windows = [ago(0), ago(5_000), ago(10_000)];
    expect(fold(windows, { sinceMs: SAMPLE_NOW_MS - 10_000 }).windows).toBe(2);
    expect(fold(windows, { sinceMs: SAMPLE_NOW_MS - 9_999 }).windows).toBe(1);
  });

  test("windows of other generations are left out, whatever lies between", () => {
    const windows = [ago(0), ago(5_000, { generation: null }), ago(10_000, { generation: 0 }), ago(15_000)];
    expect(fold(windows).windows).toBe(2);
  });

  test("a repeated sequence number counts once", () => {
    expect(fold([ago(0), ago(0), ago(0)]).windows).toBe(1);
  });

  test("buckets that changed: only windows with the newest buckets are added up", () => {
    const other = histogramAt(200, 50, [100, 300, 900]);
    const signal = fold([ago(0, { ttft: other }), ago(5_000), ago(10_000, { ttft: other })]);
    expect(signal.windows).toBe(2);
    expect(signal.ttft?.boundsMs).toEqual([100, 300, 900]);
  });

  test("a window that ends in the future is not believed, a clock a little ahead is", () => {
    expect(fold([ago(-60_000)]).freshness).toBe("missing");
    expect(fold([ago(-3_000)]).freshness).toBe("fresh");
  });

  test("a busy instance is judged by its newest windows", () => {
    const windows = Array.from({ length: 20 }, (_, i) => ago(i * 5_000));
    const signal = fold(windows);
    expect(signal.windows).toBe(Math.ceil((ENOUGH_FACTOR * guards.minSamples) / 50));
    expect(signal.toAtMs).toBe(SAMPLE_NOW_MS);
  });

  test("never folds more than its bound", () => {
    const quiet = { ttft: histogramAt(1, 0), tpot: histogramAt(1, 0) };
    const windows = Array.from({ length: 2_000 }, (_, i) =>
      ago(i, { ...quiet, startAtMs: SAMPLE_NOW_MS - i - 1 }),
    );
    expect(fold(windows).windows).toBe(MAX_FOLDED_WINDOWS);
  });
});

test("order, gaps, overlaps and repeats do not matter", () => {
  const some = fc.uniqueArray(fc.integer({ min: 0, max: 200_000 }), { maxLength: 12 });
  fc.assert(
    fc.property(some, fc.infiniteStream(fc.nat()), (ages, shuffle) => {
      const windows = ages.map((age) => ago(age, { ttft: histogramAt(200, 3), tpot: histogramAt(80, 3) }));
      const order = windows.map((w) => ({ w, key: shuffle.next().value ?? 0 }));
      const shuffled = order.sort((a, b) => a.key - b.key).map(({ w }) => w);
      expect(fold([...shuffled, ...shuffled])).toEqual(fold(windows));
      const signal = fold(windows);
      expect(signal.ttft === null ? 0 : sampleCount(signal.ttft)).toBe(3 * signal.windows);
    }),
  );
});
