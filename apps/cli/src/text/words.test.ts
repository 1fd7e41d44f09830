import { describe, expect, it } from "vitest";
import {
  ageWords,
  agoOf,
  allocationWords,
  latencyWords,
  percentileWords,
  shareWords,
  sloWords,
} from "./words.js";

const NOW_MS = Date.parse("2026-11-22T12:00:00.000Z");

describe("ageWords", () => {
  it.each([
    [0, "just now"],
    [999, "just now"],
    [1_000, "1 s ago"],
    [59_999, "59 s ago"],
    [60_000, "1 min ago"],
    [3_600_000, "1 h ago"],
    [86_400_000, "1 day ago"],
    [40 * 86_400_000, "40 days ago"],
    [-7_199_950, "in 2 h"],
    [-30_000, "in 30 s"],
  ])("%d ms is %s", (ms, want) => expect(ageWords(NOW_MS - ms, NOW_MS)).toBe(want));

  it("says never for what never was", () => {
    expect(agoOf(null, NOW_MS)).toBe("never");
    expect(agoOf("2026-11-22T11:58:00.000Z", NOW_MS)).toBe("2 min ago");
  });
});

it.each([
  [null, "-"],
  [3.06, "3.1 ms"],
  [99.96, "100 ms"],
  [312.4, "312 ms"],
  [1_240, "1.24 s"],
  [12_340, "12.3 s"],
])("the latency %s is %s", (ms, want) => expect(latencyWords(ms)).toBe(want));

it("writes shares, percentiles, allocations and SLOs as people do", () => {
  expect(shareWords(0.9307)).toBe("93.1 %");
  expect(shareWords(null)).toBe("-");
  expect(percentileWords(0.999)).toBe("p99.9");
  expect(allocationWords({ split: { prefillSmPct: 60, decodeSmPct: 94.444 }, kvQuotaPct: 80 })).toBe(
    "60/94.44 kv 80",
  );
  expect(
    sloWords({
      ttft: { percentile: 0.9, boundMs: 300 },
      tpot: { percentile: 0.95, boundMs: 1_500 },
      attainmentShare: 0.9,
    }),
  ).toBe("TTFT p90 < 300 ms, TPOT p95 < 1.50 s, 90 % of requests");
});
