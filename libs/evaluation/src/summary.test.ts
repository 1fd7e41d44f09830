import { describe, expect, it } from "vitest";
import type { RequestOutcome } from "./outcome.js";
import { spreadOf } from "./statistics.js";
import { summarise } from "./summary.js";
import { slo } from "./testing/kit.js";

function outcome(arrivalMs: number, ttftMs: number | null, tpotMs: number | null = 20): RequestOutcome {
  const ok = ttftMs !== null && ttftMs <= 300 && (tpotMs ?? 0) <= 50;
  return { arrivalMs, ttftMs, tpotMs, finishedAtMs: ttftMs === null ? null : arrivalMs + 1000, ok };
}

const of = (outcomes: readonly RequestOutcome[]) =>
  summarise({ outcomes, switches: [], preemptions: 0 }, slo(300, 50), 100_000);

describe("a lane's summary", () => {
  it("leaves out what arrived near the ends, but not from the bins", () => {
    const summary = of([outcome(1_000, 9_000), outcome(50_000, 100), outcome(99_000, 9_000)]);
    expect(summary).toMatchObject({ requests: 1, bothOk: 1 });
    expect(summary.bins.requests).toEqual([1, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    expect(summary.bins.ok).toEqual([0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
  });

  it("counts a request that never got its first token against every bound, and in no percentile", () => {
    const summary = of([outcome(40_000, 100), outcome(50_000, null, null)]);
    expect(summary).toMatchObject({ bothOk: 0.5, ttftOk: 0.5, tpotOk: 0.5 });
    expect(summary.ttftMs.p99).toBe(100);
  });

  it("tells goodput over the time that counts", () => {
    const many = Array.from({ length: 140 }, (_, i) => outcome(15_000 + 500 * i, i % 2 === 0 ? 100 : 400));
    expect(of(many).goodputPerS).toBeCloseTo(1, 9);
  });
});

describe("a spread over seeds", () => {
  it("has the middle, the ends, and none without values", () => {
    expect(spreadOf([3, 1, 2, 10])).toEqual({ median: 2.5, least: 1, greatest: 10, count: 4 });
    expect(spreadOf([])).toBeNull();
  });
});
