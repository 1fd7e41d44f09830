import { describe, expect, test } from "vitest";
import { SAMPLE_NOW_MS, histogramAt, sampleWindow } from "../fixtures.js";
import type { Window } from "../nouns.js";
import { MAX_CLOCK_AHEAD_MS, MAX_WINDOW_MS, checkWindow, describeWindowFault } from "./window.js";

const bad = (over: object): Window => ({ ...sampleWindow(), ...over });

describe("checkWindow", () => {
  test.each([
    { give: { seq: 1.5 }, want: "seq" },
    { give: { seq: -1 }, want: "seq" },
    { give: { seq: 2 ** 53 }, want: "seq" },
    { give: { startAtMs: NaN }, want: "startAtMs" },
    { give: { endAtMs: Infinity }, want: "endAtMs" },
    { give: { startAtMs: SAMPLE_NOW_MS, endAtMs: SAMPLE_NOW_MS }, want: "endAtMs" },
    { give: { startAtMs: SAMPLE_NOW_MS, endAtMs: SAMPLE_NOW_MS - 1 }, want: "endAtMs" },
    { give: { startAtMs: SAMPLE_NOW_MS - MAX_WINDOW_MS - 1 }, want: "endAtMs" },
    { give: { endAtMs: SAMPLE_NOW_MS + MAX_CLOCK_AHEAD_MS + 1 }, want: "endAtMs" },
    { give: { durationMs: 0 }, want: "durationMs" },
    { give: { durationMs: -5 }, want: "durationMs" },
    { give: { durationMs: MAX_WINDOW_MS + 1 }, want: "durationMs" },
    { give: { generation: 0.5 }, want: "generation" },
    { give: { arrivals: -3 }, want: "arrivals" },
    { give: { arrivals: 2e12 }, want: "arrivals" },
    { give: { promptTokens: NaN }, want: "promptTokens" },
    { give: { finished: 1.5 }, want: "finished" },
    { give: { outputTokens: -Infinity }, want: "outputTokens" },
    { give: { ttft: { ...histogramAt(10, 1), counts: [1] } }, want: "ttft.counts" },
    { give: { tpot: { ...histogramAt(10, 1), sumMs: -1 } }, want: "tpot.sumMs" },
    { give: { queue: { prefillWaiting: -1, decodeRunning: null } }, want: "queue.prefillWaiting" },
    { give: { queue: { prefillWaiting: 0, decodeRunning: NaN } }, want: "queue.decodeRunning" },
    { give: { kv: { totalTokens: 10, usedTokens: 11, preemptions: 0 } }, want: "kv.usedTokens" },
    { give: { kv: { totalTokens: 10, usedTokens: 1, preemptions: -1 } }, want: "kv.preemptions" },
    { give: { busy: { prefillShare: 1.2, decodeShare: 0 } }, want: "busy.prefillShare" },
    { give: { busy: { prefillShare: 0, decodeShare: -0.1 } }, want: "busy.decodeShare" },
  ])("$want: $give", ({ give, want }) => {
    expect(checkWindow(bad(give), SAMPLE_NOW_MS)?.field).toBe(want);
  });

  test.each([
    { name: "a healthy one", give: {} },
    {
      name: "nothing happened",
      give: { arrivals: 0, finished: 0, ttft: histogramAt(1, 0), tpot: histogramAt(1, 0) },
    },
    {
      name: "an engine that says nothing",
      give: {
        generation: null,
        queue: { prefillWaiting: null, decodeRunning: null },
        kv: { totalTokens: null, usedTokens: null, preemptions: null },
        busy: { prefillShare: null, decodeShare: null },
      },
    },
    { name: "a clock a little ahead", give: { endAtMs: SAMPLE_NOW_MS + MAX_CLOCK_AHEAD_MS } },
    { name: "busy a little over 1", give: { busy: { prefillShare: 1.01, decodeShare: 1 } } },
  ])("believes $name", ({ give }) => {
    expect(checkWindow(bad(give), SAMPLE_NOW_MS)).toBeNull();
  });

  test("the sentence names the window, the field, the value and the bound", () => {
    const fault = checkWindow(bad({ arrivals: -3 }), SAMPLE_NOW_MS);
    expect(fault && describeWindowFault(7, fault)).toBe(
      "window 7: arrivals is -3, must be a whole number from 0 to 1000000000000",
    );
  });

  test("without a usable clock nothing is believed", () => {
    expect(checkWindow(sampleWindow(), NaN)?.field).toBe("endAtMs");
  });
});
