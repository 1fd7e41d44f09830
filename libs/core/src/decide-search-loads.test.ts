/** The search policy over minutes of a small engine's load (search-scene.ts). */
import { describe, expect, test } from "vitest";
import type { PolicyConfig } from "./decision.js";
import { DEFAULT_SEARCH } from "./defaults.js";
import { LIGHT_CHAT, LONG_PROMPTS, NO_WORK, SCENE_SLO } from "./search-fixtures.js";
import { play } from "./search-scene.js";
import type { Scene, Tick } from "./search-scene.js";
import { okShare, sampleCount } from "./signal/histogram.js";

const search: PolicyConfig = { name: "search", params: DEFAULT_SEARCH };
const OPEN = { prefillSmPct: 100, decodeSmPct: 100 };

const movesOf = (ticks: readonly Tick[]) => ticks.filter(({ decision }) => decision.kind === "move");

/** Share of first tokens within the bound, of the windows that end after so many ms. */
function ttftShareAfter(ticks: readonly Tick[], fromMs: number): number {
  let [ok, all] = [0, 0];
  for (const { atMs, window } of ticks) {
    if (atMs <= fromMs) continue;
    const count = sampleCount(window.ttft);
    ok += count * (okShare(window.ttft, SCENE_SLO.ttft.boundMs)?.share ?? 0);
    all += count;
  }
  return ok / all;
}

describe("loads and rhythms", () => {
  const scene = (load: Scene["load"], over: Partial<Scene> = {}): Tick[] =>
    play({ policy: search, load, durationMs: 300_000, ...over });

  test.each([1, 2, 5, 15, 30, 60])("every %i s: it helps long prompts, and does not wander", (seconds) => {
    const times = { intervalMs: 1_000 * seconds, durationMs: Math.max(120_000, 8_000 * seconds) };
    const ticks = scene(() => LONG_PROMPTS, times);
    const fixed: PolicyConfig = { name: "static", params: { allocation: { split: OPEN, kvQuotaPct: 100 } } };
    const untouched = play({ policy: fixed, load: () => LONG_PROMPTS, ...times });
    const later = times.durationMs / 2;
    expect(ttftShareAfter(ticks, later)).toBeGreaterThan(ttftShareAfter(untouched, later) + 0.4);
    expect(movesOf(ticks).length).toBeLessThanOrEqual(4);
    expect(ticks.every(({ fault }) => fault === null)).toBe(true);
  });

  test.each([
    [8, 12],
    [16, 8],
    [24, 16],
  ])(
    "%i/s under a TPOT bound of %i ms that no split keeps: first tokens are not given up for it",
    (ratePerS, boundMs) => {
      const slo = { ...SCENE_SLO, tpot: { ...SCENE_SLO.tpot, boundMs } };
      const ticks = [1, 2, 3].flatMap((seed) => scene(() => ({ ...LIGHT_CHAT, ratePerS }), { slo, seed }));
      expect(ttftShareAfter(ticks, 60_000)).toBeGreaterThan(0.95);
    },
  );

  test.each([1, 2])("one request in a window or two is no reason to move, seed %i", (seed) => {
    const ticks = scene(() => ({ ...LIGHT_CHAT, ratePerS: 0.3 }), { seed });
    expect(movesOf(ticks).length).toBeLessThanOrEqual(1);
  });

  test("bursts of a second once a minute do not make it flap", () => {
    const burst = { ...LIGHT_CHAT, ratePerS: 60 };
    const ticks = scene((atMs) => (atMs % 60_000 === 30_000 ? burst : LIGHT_CHAT), {
      intervalMs: 1_000,
      durationMs: 200_000,
    });
    expect(movesOf(ticks).length).toBeLessThanOrEqual(3);
  });

  test("200 s of silence: it holds, and serves what comes then", () => {
    const silent = { ...LONG_PROMPTS, ratePerS: 0 };
    const ticks = scene((atMs) => (atMs >= 100_000 && atMs < 300_000 ? silent : LONG_PROMPTS), {
      durationMs: 450_000,
    });
    const during = ticks.filter(({ atMs }) => atMs > 130_000 && atMs <= 300_000);
    expect(movesOf(during)).toEqual([]);
    expect(ttftShareAfter(ticks, 350_000)).toBeGreaterThan(0.7);
  });

  test.each<{ name: string; retell: Scene["retell"] }>([
    { name: "with no word of its workers", retell: (window) => ({ ...window, work: null }) },
    { name: "with every word of them null", retell: (window) => ({ ...window, work: NO_WORK }) },
    {
      name: "that tells latencies and counts only",
      retell: (window) => ({
        ...window,
        work: NO_WORK,
        busy: { prefillShare: null, decodeShare: null },
        queue: { prefillWaiting: null, decodeRunning: null },
        kv: { totalTokens: null, usedTokens: null, preemptions: null },
      }),
    },
  ])("an engine $name is no worse off than alone", ({ retell }) => {
    const light = scene(() => LIGHT_CHAT, { retell });
    expect(movesOf(light).length).toBeLessThanOrEqual(1);
    expect(ttftShareAfter(light, 0)).toBeGreaterThan(0.95);
    const long = scene(() => LONG_PROMPTS, { retell });
    const fixed: PolicyConfig = { name: "static", params: { allocation: { split: OPEN, kvQuotaPct: 100 } } };
    const untouched = play({ policy: fixed, load: () => LONG_PROMPTS, durationMs: 300_000 });
    expect(ttftShareAfter(long, 150_000)).toBeGreaterThan(ttftShareAfter(untouched, 150_000) - 0.02);
  });
});
