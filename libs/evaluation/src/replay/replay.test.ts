import { readFileSync } from "node:fs";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS } from "@fulcrum/core/defaults.js";
import { sampleWindow } from "@fulcrum/core/fixtures.js";
import { type Allocation, UNCONTROLLED, WIDEST_LIMITS, type Window } from "@fulcrum/core/nouns.js";
import { parseProfile } from "@fulcrum/simulator/profile.js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { placed, rebuiltRequests, speedOf } from "./rebuild.js";
import { replayInstance, type ReplayInput } from "./replay.js";
import { recordedLane } from "../testing/recorded-lane.js";

const SLO = {
  ttft: { percentile: 0.9, boundMs: 400 },
  tpot: { percentile: 0.9, boundMs: 60 },
  attainmentShare: 0.9,
};
const NARROW: Allocation = { split: { prefillSmPct: 30, decodeSmPct: 70 }, kvQuotaPct: 100 };
const profile = parseProfile(
  JSON.parse(
    readFileSync(new URL("../../../../apps/engine-sim/data/llama3-8b-a100.json", import.meta.url), "utf8"),
  ),
  "llama3-8b-a100",
);

function inputOf(windows: readonly Window[], over: Partial<ReplayInput> = {}): ReplayInput {
  return {
    windows,
    allocationOf: (generation) => (generation === 1 ? UNCONTROLLED : NARROW),
    profile,
    slo: SLO,
    guards: DEFAULT_GUARDS,
    limits: WIDEST_LIMITS,
    controlIntervalMs: 5_000,
    rolloutMs: 2_000,
    seed: 1,
    ran: { policy: { name: "static", params: { allocation: UNCONTROLLED } }, slo: SLO },
    other: null,
    ...over,
  };
}

describe("requests made again from windows", () => {
  const window = fc
    .record({
      arrivals: fc.integer({ min: 0, max: 40 }),
      mean: fc.integer({ min: 5, max: 2_000 }),
      cv: fc.double({ min: 0, max: 2, noNaN: true }),
      finished: fc.integer({ min: 0, max: 40 }),
    })
    .map(({ arrivals, mean, cv, finished }) => ({
      arrivals,
      promptTokens: arrivals * mean,
      finished,
      outputTokens: finished * 100,
      squares: arrivals * mean ** 2 * (1 + cv ** 2),
    }));
  const windowsOf = (parts: readonly { squares: number }[]) =>
    parts.map(({ squares, ...part }, i) => {
      const work = { promptTokensSq: squares, maxPromptTokens: null, finishedOutputTokens: null };
      const endAtMs = 10_000_000 + (i + 1) * 5_000;
      return sampleWindow({ seq: i + 1, endAtMs, ...part, work: work as unknown as Window["work"] });
    });

  it("are as many as arrived, within their windows, with the prompt tokens that came, and the same every time", () => {
    fc.assert(
      fc.property(fc.array(window, { maxLength: 20 }), fc.integer({ min: 0, max: 99 }), (parts, seed) => {
        const windows = placed(windowsOf(parts));
        const requests = rebuiltRequests(windows, seed);
        expect(requests).toEqual(rebuiltRequests(windows, seed));
        for (const { window: each, fromMs, toMs } of windows) {
          const mine = requests.filter(({ arrivalMs }) => arrivalMs >= fromMs && arrivalMs < toMs);
          expect(mine).toHaveLength(each.arrivals);
          const tokens = mine.reduce((sum, { promptTokens }) => sum + promptTokens, 0);
          // Rounding costs half a token each, and none may have less than one.
          expect(Math.abs(tokens - each.promptTokens)).toBeLessThanOrEqual(each.arrivals);
        }
        for (const { promptTokens, outputTokens } of requests) {
          expect(promptTokens).toBeGreaterThanOrEqual(1);
          expect(outputTokens).toBeGreaterThanOrEqual(1);
        }
      }),
    );
  });

  it("go on by the engine's own clock, over gaps and repeats too", () => {
    const at = (seq: number, startAtMs: number) =>
      sampleWindow({ seq, startAtMs, endAtMs: startAtMs + 1_000, durationMs: 8_000 });
    const windows = [at(3, 13_000), at(1, 10_000), at(1, 10_000), at(2, 11_000)];
    expect(speedOf([at(1, 0)])).toBe(8);
    expect(placed(windows).map(({ fromMs, toMs }) => [fromMs, toMs])).toEqual([
      [0, 8_000],
      [8_000, 16_000],
      [24_000, 32_000],
    ]);
  });
});

describe("what the simulator itself made, recorded and played again", () => {
  const record = recordedLane({
    profile,
    slo: SLO,
    durationMs: 600_000,
    ratePerS: 5,
    promptTokens: 800,
    outputTokens: 150,
    plan: [
      { fromMs: 0, allocation: UNCONTROLLED },
      { fromMs: 300_000, allocation: NARROW },
    ],
  });

  it("comes out within 6 points, and a better fixed split is seen to be better", () => {
    const result = replayInstance(
      inputOf(record, {
        other: { policy: { name: "static", params: { allocation: UNCONTROLLED } }, slo: SLO },
        ran: { policy: { name: "static", params: { allocation: NARROW } }, slo: SLO },
      }),
    )!;
    const { measured, asRecorded, ran, other } = result;
    expect(Math.abs(asRecorded.attainmentShare! - measured.attainmentShare!)).toBeLessThan(0.06);
    expect(asRecorded.moves).toBe(1);
    expect(measured.moves).toBe(1);
    expect(Math.abs(asRecorded.tpotMs! / measured.tpotMs! - 1)).toBeLessThan(0.15);
    expect(other!.attainmentShare!).toBeGreaterThan(ran.attainmentShare! + 0.1);
  });

  it("is judged by the SLO asked for, in every row", () => {
    const strict = { ...SLO, ttft: { percentile: 0.9, boundMs: 1 } };
    const driver = { policy: { name: "feedback" as const, params: DEFAULT_FEEDBACK }, slo: strict };
    const result = replayInstance(inputOf(record, { slo: strict, ran: driver, other: driver }))!;
    expect(result.measured.attainmentShare).toBe(0);
    expect(result.asRecorded.attainmentShare).toBe(0);
    expect(result.ran).toEqual(result.other);
  });

  it("needs arrivals and one allocation that is known", () => {
    expect(replayInstance(inputOf([]))).toBeNull();
    expect(replayInstance(inputOf(record, { allocationOf: () => null }))).toBeNull();
  });
});
