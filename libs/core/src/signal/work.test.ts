import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SAMPLE_NOW_MS, sampleWindow } from "../fixtures.js";
import type { Window, WindowWork } from "../nouns.js";
import { NO_WORK } from "../search-fixtures.js";
import { latestSignal } from "./summarise.js";
import { foldWork } from "./work.js";

const windowOf = (work: Partial<WindowWork> | null | undefined, over: Partial<Window> = {}): Window =>
  sampleWindow({ ...over, work: work === null || work === undefined ? work : { ...NO_WORK, ...work } });

describe("what workers did in several windows", () => {
  test("counts are summed, the longest prompt is the longest, gauges are the newest window's", () => {
    const newest = windowOf({
      promptTokensSq: 5e6,
      maxPromptTokens: 900,
      finishedOutputTokens: 1_000,
      prefillBatches: 10,
      prefillTokens: 4_000,
      decodeSteps: 100,
      prefillWaitingTokens: 70,
      oldestWaitMs: 5,
      decodeWaiting: 0,
      maxSequences: 256,
      maxBatchTokens: 2048,
    });
    const older = windowOf({
      promptTokensSq: 3e6,
      maxPromptTokens: 1200,
      finishedOutputTokens: 500,
      prefillBatches: 4,
      prefillTokens: 1_000,
      decodeSteps: 50,
      prefillWaitingTokens: 9_000,
      oldestWaitMs: 900,
      decodeWaiting: 40,
      maxSequences: 8,
      maxBatchTokens: 1,
    });
    expect(foldWork([newest, older])).toMatchObject({
      promptTokensSq: 8e6,
      maxPromptTokens: 1200,
      finishedOutputTokens: 1500,
      prefillBatches: 14,
      prefillTokens: 5_000,
      decodeSteps: 150,
      prefillWaitingTokens: 70,
      oldestWaitMs: 5,
      decodeWaiting: 0,
      maxSequences: 256,
      maxBatchTokens: 2048,
    });
  });

  test("means of iterations are weighed by iterations, shares by time", () => {
    const short = windowOf(
      {
        decodeSteps: 300,
        decodeStepMeanMs: 20,
        decodeBatchMean: 10,
        decodeContextMean: 1_000,
        overlapShare: 1,
      },
      { durationMs: 1_000 },
    );
    const long = windowOf(
      {
        decodeSteps: 100,
        decodeStepMeanMs: 60,
        decodeBatchMean: 50,
        decodeContextMean: 5_000,
        overlapShare: 0.2,
      },
      { durationMs: 3_000 },
    );
    const folded = foldWork([short, long])!;
    expect(folded.decodeStepMeanMs).toBeCloseTo(30, 9);
    expect(folded.decodeBatchMean).toBeCloseTo(20, 9);
    expect(folded.decodeContextMean).toBeCloseTo(2_000, 9);
    expect(folded.overlapShare).toBeCloseTo(0.4, 9);
  });

  test("a window that does not say is skipped; what none says is null", () => {
    const silent = windowOf({}, { durationMs: 60_000 });
    const telling = windowOf({ prefillBatches: 7, decodeSteps: 10, decodeStepMeanMs: 30, overlapShare: 0.5 });
    const folded = foldWork([silent, telling, windowOf(null), windowOf(undefined)]);
    expect(folded).toMatchObject({ prefillBatches: 7, decodeStepMeanMs: 30, overlapShare: 0.5 });
    expect(folded).toMatchObject({ promptTokensSq: null, prefillGpuShare: null, maxPromptTokens: null });
    expect(foldWork([windowOf(null), windowOf(undefined)])).toBeNull();
    expect(foldWork([])).toBeNull();
  });

  test("iterations of no length and windows without one give no mean, not a NaN", () => {
    const idle = windowOf({ decodeSteps: 0, decodeStepMeanMs: 0, decodeBatchMean: 0 });
    expect(foldWork([idle, idle])).toMatchObject({
      decodeSteps: 0,
      decodeStepMeanMs: null,
      decodeBatchMean: null,
    });
  });

  test("windows folded in two halves give what all of them give", () => {
    const count = fc.integer({ min: 0, max: 1_000 });
    const work = fc.record({
      promptTokensSq: count,
      prefillBatches: count,
      prefillTokens: count,
      finishedOutputTokens: count,
      maxPromptTokens: fc.option(count, { nil: null }),
      overlapShare: fc.double({
        min: 0,
        max: 1,
        noNaN: true,
      }),
    });
    fc.assert(
      fc.property(fc.array(work, { minLength: 2, maxLength: 6 }), (given) => {
        const windows = given.map((each) => windowOf(each));
        const whole = foldWork(windows)!;
        const half = (part: readonly Window[]): Window => ({
          ...sampleWindow({ work: foldWork(part) }),
          durationMs: part.reduce((sum, each) => sum + each.durationMs, 0),
        });
        const halves = foldWork([half(windows.slice(0, 1)), half(windows.slice(1))])!;
        expect(halves.overlapShare).toBeCloseTo(whole.overlapShare!, 9);
        expect({ ...halves, overlapShare: 0 }).toEqual({ ...whole, overlapShare: 0 });
      }),
    );
  });
});

describe("the windows since the last evaluation", () => {
  const ago = (ms: number, over: Partial<Window> = {}) =>
    sampleWindow({ seq: 1_000_000 - ms, endAtMs: SAMPLE_NOW_MS - ms, ...over });
  const since = (windows: readonly Window[], afterMs: number) =>
    latestSignal(windows, afterMs, { lookbackMs: 120_000 }, SAMPLE_NOW_MS);

  test("only those that lie after it, each once", () => {
    const windows = [ago(0), ago(5_000), ago(10_000), ago(5_000)];
    const latest = since(windows, SAMPLE_NOW_MS - 10_000);
    expect(latest).toMatchObject({ windows: 2, fromAtMs: SAMPLE_NOW_MS - 10_000, toAtMs: SAMPLE_NOW_MS });
    expect(since(windows, SAMPLE_NOW_MS)).toBeNull();
    expect(since([], 0)).toBeNull();
  });

  test("one that began before it would be counted twice; a start that is off by rounding is not one", () => {
    const began = (ms: number) => since([ago(0, { startAtMs: SAMPLE_NOW_MS - ms })], SAMPLE_NOW_MS - 10_000);
    expect(began(20_000)).toBeNull();
    expect(began(10_000.5)).not.toBeNull();
  });

  test("whatever generation they ran at: all of one, or of none", () => {
    const of = (...generations: (number | null)[]) =>
      since(
        generations.map((generation, i) => ago(5_000 * i, { generation })),
        0,
      );
    expect(of(2, 2)?.generation).toBe(2);
    expect(of(2, 1)?.generation).toBeNull();
    expect(of(2, null)?.generation).toBeNull();
    expect(of(2, 1)?.arrivals).toBe(100);
  });

  test("one that cannot be believed is left out", () => {
    const latest = since([ago(0, { arrivals: -1 }), ago(5_000)], 0);
    expect(latest).toMatchObject({ windows: 1, toAtMs: SAMPLE_NOW_MS - 5_000 });
  });

  test("what their workers did comes along", () => {
    const work = { ...NO_WORK, prefillBatches: 3 };
    expect(since([ago(0, { work }), ago(5_000, { work })], 0)?.work?.prefillBatches).toBe(6);
  });
});
