import { histogramAt, SAMPLE_SLO, sampleWindow } from "@fulcrum/core/fixtures.js";
import { addHistograms, okShare, percentile } from "@fulcrum/core/signal/histogram.js";
import { expect, test } from "vitest";
import { foldWindow, perS, sightOf } from "./fold.js";
import { RecentSteps, STEP_MS } from "./recent-steps.js";

/** As a sparkline shows it. */
const shown = (ms: number) => Math.round(ms * 10) / 10;

const fast = histogramAt(100, 30);
const slow = histogramAt(900, 20);

test("whatever the order of the windows: sums are the same, gauges are those of the one that ended last", () => {
  const early = sampleWindow({
    seq: 1,
    endAtMs: 1_000_000_000,
    ttft: fast,
    queue: { prefillWaiting: 1, decodeRunning: 10 },
  });
  const late = sampleWindow({
    seq: 2,
    endAtMs: 1_000_001_000,
    ttft: slow,
    queue: { prefillWaiting: 7, decodeRunning: 70 },
  });
  const inOrder = foldWindow(foldWindow(null, early), late);
  expect(foldWindow(foldWindow(null, late), early)).toEqual(inOrder);
  expect(inOrder).toMatchObject({
    prefillWaiting: 7,
    decodeRunning: 70,
    arrivals: 100,
    durationMs: 10_000,
    endAtMs: 1_000_001_000,
  });
  expect(inOrder.ttft).toEqual(addHistograms(slow, fast));
  expect(perS(inOrder.arrivals, inOrder.durationMs)).toBe(10);
});

test("without samples of both phases there is no attainment, and without any no percentile", () => {
  const none = { ttftMs: null, tpotMs: null, attainmentShare: null };
  expect(sightOf(null, null, SAMPLE_SLO)).toEqual(none);
  const one = sightOf(fast, null, SAMPLE_SLO);
  expect(one).toEqual({ ...none, ttftMs: percentile(fast, 0.9)!.ms });
  const both = sightOf(slow, fast, SAMPLE_SLO);
  expect(both.attainmentShare).toBe(okShare(slow, 300)!.share * okShare(fast, 150)!.share);
});

test("two minutes are kept, the newest step last; what is older is forgotten", () => {
  const recent = new RecentSteps();
  const nowMs = 1_000_000_000;
  for (let second = 0; second < 200; second += 1)
    recent.add("i", sampleWindow({ seq: second, endAtMs: nowMs - second * 1_000, ttft: fast, tpot: fast }));
  const { spark, ttftMs } = recent.view("i", SAMPLE_SLO, 30_000, nowMs);
  expect(spark.ttftMs).toHaveLength(60);
  expect(new Set(spark.ttftMs)).toEqual(new Set([shown(percentile(fast, 0.9)!.ms)]));
  expect(ttftMs).toBe(percentile(fast, 0.9)!.ms);
  recent.prune(nowMs + 118_000);
  const later = recent.view("i", SAMPLE_SLO, 30_000, nowMs + 118_000);
  expect(later.spark.ttftMs.filter((value) => value !== null)).toHaveLength(1);
  expect(later.spark.ttftMs.at(0)).not.toBeNull();
  expect(later.ttftMs).toBeNull();
  recent.prune(nowMs + 118_000 + STEP_MS);
  expect(
    recent.view("i", SAMPLE_SLO, 30_000, nowMs + 120_000).spark.ttftMs.every((value) => value === null),
  ).toBe(true);
});

test("a step that gets another window is read anew, and so is one under another SLO", () => {
  const recent = new RecentSteps();
  const nowMs = 1_000_000_000;
  const p50 = { ...SAMPLE_SLO, ttft: { percentile: 0.5, boundMs: 300 } };
  const last = (slo = SAMPLE_SLO) => recent.view("i", slo, 30_000, nowMs).spark.ttftMs.at(-1);
  recent.add("i", sampleWindow({ seq: 1, endAtMs: nowMs, ttft: fast }));
  expect(last()).toBe(shown(percentile(fast, 0.9)!.ms));
  recent.add("i", sampleWindow({ seq: 2, endAtMs: nowMs + 1, ttft: slow }));
  const both = addHistograms(slow, fast);
  expect([last(), last(p50), last()]).toEqual([0.9, 0.5, 0.9].map((q) => shown(percentile(both, q)!.ms)));
});
