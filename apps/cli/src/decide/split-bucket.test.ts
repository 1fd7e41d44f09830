import { sampleCount } from "@fulcrum/core/signal/histogram.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { splitBucket } from "./split-bucket.js";

const histogram = { boundsMs: [100, 200, 400], counts: [5, 3, 10, 2], sumMs: 4_000 };

test.each([
  { boundMs: 200, within: 8, boundsMs: [100, 200, 400], counts: [5, 3, 10, 2] },
  { boundMs: 300, within: 9, boundsMs: [100, 200, 300, 400], counts: [5, 3, 1, 9, 2] },
  { boundMs: 300, within: null, boundsMs: [100, 200, 300, 400], counts: [5, 3, 5, 5, 2] },
  { boundMs: 50, within: 4, boundsMs: [50, 100, 200, 400], counts: [4, 1, 3, 10, 2] },
  { boundMs: 900, within: 19, boundsMs: [100, 200, 400, 900], counts: [5, 3, 10, 1, 1] },
  // A count that contradicts the buckets is held to them.
  { boundMs: 300, within: 2, boundsMs: [100, 200, 300, 400], counts: [5, 3, 0, 10, 2] },
  { boundMs: 300, within: 99, boundsMs: [100, 200, 300, 400], counts: [5, 3, 10, 0, 2] },
])("$boundMs ms with $within within", ({ boundMs, within, boundsMs, counts }) => {
  expect(splitBucket(histogram, boundMs, within)).toEqual({ boundsMs, counts, sumMs: 4_000 });
});

test("no sample is lost, and none comes out of nothing", () => {
  fc.assert(
    fc.property(fc.double({ min: 1, max: 1e4, noNaN: true }), fc.option(fc.nat(50)), (boundMs, within) => {
      const split = splitBucket(histogram, boundMs, within);
      expect(sampleCount(split)).toBe(20);
      expect(split.counts.every((n) => Number.isInteger(n) && n >= 0)).toBe(true);
      expect([...split.boundsMs].sort((a, b) => a - b)).toEqual(split.boundsMs);
    }),
  );
});
