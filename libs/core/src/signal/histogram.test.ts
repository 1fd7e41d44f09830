import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Histogram } from "../nouns.js";
import {
  HistogramBoundsError,
  MAX_BUCKETS,
  addHistograms,
  emptyHistogram,
  histogramFault,
  meanMs,
  okShare,
  percentile,
  sampleCount,
  subtractHistograms,
} from "./histogram.js";

const boundsMs = [100, 200, 400];
const histogram = (counts: number[], sumMs = 0): Histogram => ({ boundsMs, counts, sumMs });

const anyHistogram = fc
  .uniqueArray(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 20 })
  .map((bounds) => bounds.sort((a, b) => a - b))
  .chain((bounds) =>
    fc.record({
      boundsMs: fc.constant(bounds as readonly number[]),
      counts: fc.array(fc.nat(1000), { minLength: bounds.length + 1, maxLength: bounds.length + 1 }),
      sumMs: fc.nat(1_000_000),
    }),
  );

describe("percentile, as histogram_quantile does it", () => {
  test.each([
    { name: "inside a bucket", counts: [0, 10, 0, 0], q: 0.5, want: { ms: 150, overflow: false } },
    {
      name: "the first bucket starts at 0",
      counts: [10, 0, 0, 0],
      q: 0.5,
      want: { ms: 50, overflow: false },
    },
    { name: "rank on a bucket's end", counts: [5, 5, 0, 0], q: 0.5, want: { ms: 100, overflow: false } },
    {
      name: "empty buckets are passed over",
      counts: [5, 0, 5, 0],
      q: 0.75,
      want: { ms: 300, overflow: false },
    },
    {
      name: "overflow gives the highest bound",
      counts: [1, 0, 0, 9],
      q: 0.9,
      want: { ms: 400, overflow: true },
    },
    {
      name: "q = 1 is the last used bucket's end",
      counts: [5, 5, 0, 0],
      q: 1,
      want: { ms: 200, overflow: false },
    },
    {
      name: "q = 0 is where the first used bucket starts",
      counts: [0, 5, 0, 0],
      q: 0,
      want: { ms: 100, overflow: false },
    },
    { name: "no samples", counts: [0, 0, 0, 0], q: 0.9, want: null },
  ])("$name", ({ counts, q, want }) => {
    expect(percentile(histogram(counts), q)).toEqual(want);
  });

  test("never falls as q rises, and stays within the bounds", () => {
    fc.assert(
      fc.property(
        anyHistogram,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (h, a, b) => {
          const low = percentile(h, Math.min(a, b));
          const high = percentile(h, Math.max(a, b));
          if (low === null || high === null) return sampleCount(h) === 0;
          return low.ms <= high.ms + 1e-9 && high.ms <= (h.boundsMs.at(-1) ?? 0) && low.ms >= 0;
        },
      ),
    );
  });
});

describe("okShare", () => {
  test.each([
    { name: "a bucket bound is exact", counts: [3, 1, 4, 2], bound: 200, want: { share: 0.4, exact: true } },
    {
      name: "inside a bucket it is interpolated",
      counts: [0, 10, 0, 0],
      bound: 150,
      want: { share: 0.5, exact: false },
    },
    {
      name: "inside an empty bucket it is exact",
      counts: [5, 0, 5, 0],
      bound: 150,
      want: { share: 0.5, exact: true },
    },
    { name: "below the first bound", counts: [10, 0, 0, 0], bound: 25, want: { share: 0.25, exact: false } },
    {
      name: "the highest bound is exact",
      counts: [0, 0, 6, 4],
      bound: 400,
      want: { share: 0.6, exact: true },
    },
    {
      name: "above it, overflow counts as not within",
      counts: [0, 0, 6, 4],
      bound: 500,
      want: { share: 0.6, exact: false },
    },
    { name: "above it without overflow", counts: [0, 0, 6, 0], bound: 500, want: { share: 1, exact: true } },
    { name: "no samples", counts: [0, 0, 0, 0], bound: 200, want: null },
  ])("$name", ({ counts, bound, want }) => {
    expect(okShare(histogram(counts), bound)).toEqual(want);
  });

  test("agrees with percentile: the share within the p-th percentile is p", () => {
    fc.assert(
      fc.property(anyHistogram, fc.double({ min: 0.05, max: 0.95, noNaN: true }), (h, q) => {
        const p = percentile(h, q);
        if (p === null || p.overflow) return true;
        const share = okShare(h, p.ms)?.share ?? 0;
        return share >= q - 1e-6;
      }),
    );
  });
});

describe("arithmetic", () => {
  test("adding and subtracting are inverse", () => {
    fc.assert(
      fc.property(anyHistogram, fc.nat(1000), (h, extra) => {
        const more = { ...h, counts: h.counts.map((c) => c + extra), sumMs: h.sumMs + 7 };
        const sum = addHistograms(h, more);
        expect(subtractHistograms(sum, more)).toEqual(h);
        expect(sampleCount(sum)).toBe(sampleCount(h) + sampleCount(more));
      }),
    );
  });

  test("a count that fell is a restart, not a difference", () => {
    expect(subtractHistograms(histogram([5, 5, 5, 5]), histogram([5, 6, 0, 0]))).toBeNull();
  });

  test("different bounds are refused and named", () => {
    const other: Histogram = { boundsMs: [100, 250, 400], counts: [0, 0, 0, 0], sumMs: 0 };
    expect(() => addHistograms(histogram([0, 0, 0, 0]), other)).toThrow(HistogramBoundsError);
    expect(() => subtractHistograms(histogram([0, 0, 0, 0]), other)).toThrow(/250/);
  });

  test("the mean is of the sum, and null without samples", () => {
    expect(meanMs(histogram([1, 1, 0, 0], 300))).toBe(150);
    expect(meanMs(emptyHistogram(boundsMs))).toBeNull();
  });
});

describe("histogramFault names the field and the bound", () => {
  test.each([
    { give: null, want: "ttft" },
    { give: { boundsMs: [], counts: [0], sumMs: 0 }, want: "ttft.boundsMs" },
    { give: { boundsMs: [1, 2], counts: [0, 0], sumMs: 0 }, want: "ttft.counts" },
    { give: { boundsMs: [2, 1], counts: [0, 0, 0], sumMs: 0 }, want: "ttft.boundsMs[1]" },
    { give: { boundsMs: [1, 1], counts: [0, 0, 0], sumMs: 0 }, want: "ttft.boundsMs[1]" },
    { give: { boundsMs: [1, NaN], counts: [0, 0, 0], sumMs: 0 }, want: "ttft.boundsMs[1]" },
    { give: { boundsMs: [1, 2], counts: [0, -1, 0], sumMs: 0 }, want: "ttft.counts[1]" },
    { give: { boundsMs: [1, 2], counts: [0, 0.5, 0], sumMs: 0 }, want: "ttft.counts[1]" },
    { give: { boundsMs: [1, 2], counts: [0, 0, 2e12], sumMs: 0 }, want: "ttft.counts[2]" },
    { give: { boundsMs: [1, 2], counts: [0, 0, 0], sumMs: Infinity }, want: "ttft.sumMs" },
    { give: emptyHistogram(Array.from({ length: MAX_BUCKETS }, (_, i) => i + 1)), want: "ttft.boundsMs" },
  ])("$want", ({ give, want }) => {
    expect(histogramFault("ttft", give)?.field).toBe(want);
  });

  test("the most buckets that are allowed are fine", () => {
    const most = emptyHistogram(Array.from({ length: MAX_BUCKETS - 1 }, (_, i) => i + 1));
    expect(histogramFault("ttft", most)).toBeNull();
  });
});
