import * as fc from "fast-check";
import { createRandom } from "@fulcrum/simulator/random.js";
import { describe, expect, it } from "vitest";
import { gapOf } from "./gamma.js";
import { cutOf, requestsOf, type LoadPhase, type Stream } from "./load.js";
import { lengths } from "./testing/kit.js";

const sources = { chat: lengths.chat.source, documents: lengths.documents.source };

function stream(fromPerS: number, toPerS = fromPerS, cv = 1): Stream {
  return { kind: "chat", fromPerS, toPerS, cv };
}

function phase(durationMs: number, streams: readonly Stream[], bursts: LoadPhase["bursts"] = []): LoadPhase {
  return { name: "phase", durationMs, streams, bursts };
}

describe("gaps between arrivals", () => {
  it.each([0.3, 0.7, 1, 2, 3])("have mean 1 and the coefficient of variation %d", (cv) => {
    const random = createRandom(7, 0);
    const gaps = Array.from({ length: 40_000 }, () => gapOf(random, cv));
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    // Five standard errors of the mean; the deviation of a heavy-tailed sample scatters by a few percent.
    expect(Math.abs(mean - 1)).toBeLessThan((5 * cv) / 200);
    expect(Math.abs(Math.sqrt(variance) / cv - 1)).toBeLessThan(0.08);
  });
});

describe("a load", () => {
  it("follows a rate that drifts", () => {
    const requests = requestsOf([phase(200_000, [stream(0, 20)])], sources, 3);
    const early = requests.filter((request) => request.arrivalMs < 100_000).length;
    // 500 and 1500 are expected; five standard deviations of a Poisson count.
    expect(Math.abs(early - 500)).toBeLessThan(112);
    expect(Math.abs(requests.length - early - 1500)).toBeLessThan(194);
  });

  it("keeps phases apart, has nothing in a silence and a burst where it was asked for", () => {
    const burst = { kind: "documents", atMs: 5_000, overMs: 1_000, requests: 60 };
    const load = [phase(10_000, [stream(5)]), phase(200_000, []), phase(10_000, [stream(5)], [burst])];
    const requests = requestsOf(load, sources, 1);
    expect(requests.filter(({ arrivalMs }) => arrivalMs > 10_000 && arrivalMs < 210_000)).toEqual([]);
    const long = requests.filter(({ promptTokens }) => promptTokens > 2_000);
    expect(long).toHaveLength(60);
    expect(long.every(({ arrivalMs }) => arrivalMs >= 215_000 && arrivalMs < 216_000)).toBe(true);
  });

  it("is in order, numbered from 0, and the same for the same seed", () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.double({ min: 0.5, max: 30, noNaN: true }), (seed, rate) => {
        const load = [phase(20_000, [stream(rate), stream(2, 6, 2)])];
        const requests = requestsOf(load, sources, seed);
        expect(requests.map((request) => request.id)).toEqual(requests.map((_, i) => i));
        const inOrder = requests.every((r, i) => i === 0 || r.arrivalMs >= (requests[i - 1]?.arrivalMs ?? 0));
        expect(inOrder).toBe(true);
        expect(requestsOf(load, sources, seed)).toEqual(requests);
      }),
    );
  });

  it("draws the same lengths and stretched gaps at another rate, so that rates compare", () => {
    const slow = requestsOf([phase(40_000, [stream(5)])], sources, 9);
    const fast = requestsOf([phase(40_000, [stream(10)])], sources, 9);
    for (const [i, request] of slow.entries()) {
      expect(fast[i]?.promptTokens).toBe(request.promptTokens);
      expect(fast[i]?.arrivalMs).toBeCloseTo(request.arrivalMs / 2, 6);
    }
  });

  it("names a kind that it has no lengths of", () => {
    const unknown = { ...stream(5), kind: "video" };
    expect(() => requestsOf([phase(1000, [unknown])], sources, 1)).toThrow("video");
  });
});

describe("a cut of a trace", () => {
  const trace = Array.from({ length: 100 }, (_, i) => ({
    // Gaps of 10, 20, 10, 20... ms.
    atMs: 15 * i + (i % 2 === 0 ? 0 : -5),
    promptTokens: i + 1,
    outputTokens: 5,
  }));

  it("has the wanted rate, in the trace's order, and goes on at its start", () => {
    const requests = cutOf(trace, { from: 0.95, durationMs: 10_000, ratePerS: 2 });
    expect(requests.map((request) => request.promptTokens)).toEqual([
      96, 97, 98, 99, 100, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    ]);
    expect(requests[0]?.arrivalMs).toBe(0);
    expect(requests.every((r, i) => i === 0 || r.arrivalMs > (requests[i - 1]?.arrivalMs ?? 0))).toBe(true);
    expect(requests.at(-1)?.arrivalMs).toBeLessThan(10_000);
  });

  it("keeps the clumps: gaps stay in proportion", () => {
    const requests = cutOf(trace, { from: 0, durationMs: 10_000, ratePerS: 2 });
    const gaps = requests.slice(1).map((r, i) => r.arrivalMs - (requests[i]?.arrivalMs ?? 0));
    expect((gaps[1] ?? 0) / (gaps[0] ?? 1)).toBeCloseTo(2, 6);
  });
});
