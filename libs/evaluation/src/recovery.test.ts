import { describe, expect, it } from "vitest";
import { changesOf, recoveryMs, settledLevel } from "./recovery.js";
import { scenarioOf } from "./scenarios.js";

const change = { atMs: 100_000, untilMs: 200_000 };

/** Ten requests a bin; the shares that are within both bounds, from the change on; all before. */
function bins(...after: number[]): { requests: number[]; ok: number[] } {
  const shares = [...Array.from({ length: 10 }, () => 1), ...after];
  return { requests: shares.map(() => 10), ok: shares.map((share) => 10 * share) };
}

describe("time to recover", () => {
  it.each([
    { what: "nothing was lost", after: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1], wantedMs: 10_000 },
    { what: "two bins were lost", after: [0, 0, 1, 1, 1, 1, 1, 1, 1, 1], wantedMs: 30_000 },
    { what: "one good bin is no recovery", after: [0, 1, 0, 0, 1, 1, 1, 1, 1, 1], wantedMs: 50_000 },
    { what: "nearly back is back", after: [0, 0.9, 1, 1, 1, 1, 1, 1, 1, 1], wantedMs: 20_000 },
    { what: "it never comes back", after: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], wantedMs: 100_000 },
  ])("$what", ({ after, wantedMs }) => {
    expect(recoveryMs(bins(...after), change, 1)).toBe(wantedMs);
  });

  it("is measured against what the oracle settles at, not against all", () => {
    const oracle = bins(0, 0, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6);
    expect(settledLevel(oracle, change)).toBeCloseTo(0.6, 9);
    expect(recoveryMs(oracle, change, 0.6)).toBe(50_000);
  });

  it("does not count where nothing came", () => {
    const silent = { requests: Array.from({ length: 20 }, () => 0), ok: Array.from({ length: 20 }, () => 0) };
    expect(settledLevel(silent, change)).toBeNull();
  });

  it("knows the changes of a scenario, and that a silence is not one", () => {
    expect(changesOf(scenarioOf("changing-kinds"))).toEqual([
      { atMs: 300_000, untilMs: 600_000 },
      { atMs: 600_000, untilMs: 900_000 },
    ]);
    expect(changesOf(scenarioOf("silences")).map(({ atMs }) => atMs)).toEqual([320_000, 640_000]);
    expect(changesOf(scenarioOf("chat-tight"))).toEqual([]);
  });
});
