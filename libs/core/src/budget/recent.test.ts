import fc from "fast-check";
import { expect, test } from "vitest";
import { BUCKET_MS, BURN_PAIRS, type Count } from "./burn.js";
import { AGE_EDGES_MS, countWithin } from "./recent.js";

const NOW_MS = 1_800_000_000_000 + 123_456;
const WINDOWS_MS = BURN_PAIRS.flatMap(({ longMs, shortMs }) => [longMs, shortMs]);

/** As Postgres' width_bucket does. */
function byAgeOf(buckets: readonly (Count & { fromMs: number })[], nowMs: number): Count[] {
  const sums: Count[] = [];
  for (const { fromMs, requests, within } of buckets) {
    const age = AGE_EDGES_MS.filter((edge) => edge <= nowMs - fromMs).length;
    const sum = sums[age] ?? { requests: 0, within: 0 };
    sums[age] = { requests: sum.requests + requests, within: sum.within + within };
  }
  return sums;
}

test("a window counts what lies in it, and of the bucket that it begins in the part that does", () => {
  const bucket = fc.record({
    back: fc.integer({ min: 0, max: 900 }),
    requests: fc.integer({ min: 0, max: 1_000 }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  const later = fc.integer({ min: 0, max: BUCKET_MS - 1 });
  fc.assert(
    fc.property(
      fc.array(bucket, { maxLength: 60 }),
      fc.constantFrom(...WINDOWS_MS),
      later,
      (given, windowMs, ms) => {
        const nowMs = NOW_MS + ms;
        const last = Math.floor(nowMs / BUCKET_MS) * BUCKET_MS;
        const buckets = given.map(({ back, requests, share }) => ({
          fromMs: last - back * BUCKET_MS,
          requests,
          within: requests * share,
        }));
        let requests = 0;
        let within = 0;
        for (const one of buckets) {
          const inside = Math.max(
            0,
            Math.min(one.fromMs + BUCKET_MS, last + BUCKET_MS) - Math.max(one.fromMs, nowMs - windowMs),
          );
          requests += one.requests * (inside / BUCKET_MS);
          within += one.within * (inside / BUCKET_MS);
        }
        const found = countWithin(byAgeOf(buckets, nowMs), windowMs, nowMs);
        expect(found.requests).toBeCloseTo(requests, 6);
        expect(found.within).toBeCloseTo(within, 6);
      },
    ),
  );
});

test("of a window that no pair has nothing can be told", () => {
  expect(() => countWithin([], 60_000, NOW_MS)).toThrow("60000");
});
