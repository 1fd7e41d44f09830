import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { windowWork } from "@fulcrum/contracts/windows.js";
import { GpuShareReading, readWork } from "./read-work.js";

/** As the protocol describes it: seconds and tokens. */
const LINE = {
  gpu: { maxBatch: 256, maxBatchedTokens: 8_192 },
  arrivals: { count: 20, promptTokens: 5_000, promptTokensSq: 2_400_000, maxPrompt: 1_900, perSecond: [4] },
  prefill: { batches: 11, tokens: 4_800, busyFrac: 0.4, gpuFrac: 0.2 },
  decode: {
    steps: 150,
    tokens: 9_000,
    finished: 18,
    outputTokensFinished: 5_400,
    busyFrac: 0.98,
    gpuFrac: 0.6,
    overlapFrac: 0.39,
    stepMeanS: 0.0325,
    batchMean: 60.5,
    ctxMean: 42_000.25,
  },
  queue: { prefillWaiting: 2, prefillWaitingTokens: 700, oldestWaitS: 0.125, decodeReady: 3 },
};

const seen = (line: Record<string, unknown>, prefillBusyShare: number | null, decodeBusyShare = 1) => ({
  work: readWork(line),
  prefillBusyShare,
  decodeBusyShare,
});
const gpu = (prefill: number | null, decode: number | null) => ({
  prefill: { gpuFrac: prefill },
  decode: { gpuFrac: decode },
});
const sharesOf = (reading: GpuShareReading, line: Record<string, unknown>, busy: number | null) => {
  const work = reading.workOf(seen(line, busy));
  return [work?.prefillGpuShare, work?.decodeGpuShare];
};

test("the fields of an observation become milliseconds and tokens", () => {
  expect(new GpuShareReading().workOf(seen(LINE, 0.4, 0.98))).toEqual({
    promptTokensSq: 2_400_000,
    maxPromptTokens: 1_900,
    finishedOutputTokens: 5_400,
    prefillBatches: 11,
    prefillTokens: 4_800,
    decodeSteps: 150,
    decodeStepMeanMs: 32.5,
    decodeBatchMean: 60.5,
    decodeContextMean: 42_000.25,
    overlapShare: 0.39,
    prefillGpuShare: 0.2,
    decodeGpuShare: 0.6,
    prefillWaitingTokens: 700,
    oldestWaitMs: 125,
    decodeWaiting: 3,
    maxSequences: 256,
    maxBatchTokens: 8_192,
  });
});

test("a line that tells nothing of the work has none, and one field alone is kept", () => {
  expect(new GpuShareReading().workOf(seen({ arrivals: null, decode: 7 }, 0.5))).toBeNull();
  const one = new GpuShareReading().workOf(seen({ decode: { steps: 0 } }, 0.5));
  expect(one).toMatchObject({ decodeSteps: 0, decodeStepMeanMs: null, prefillTokens: null });
});

test("whatever stands in the fields, the work is one that the wire would take", () => {
  const field = fc.oneof(
    fc.double(),
    fc.integer(),
    fc.constantFrom(null, "12", true, [], {}, 1e300, -1, 0.5),
    fc.double({ min: 0, max: 1, noNaN: true }),
  );
  const part = fc.oneof(
    field,
    fc.record({
      promptTokensSq: field,
      maxPrompt: field,
      batches: field,
      tokens: field,
      steps: field,
      gpuFrac: field,
      overlapFrac: field,
      stepMeanS: field,
      batchMean: field,
      ctxMean: field,
      outputTokensFinished: field,
      prefillWaitingTokens: field,
      oldestWaitS: field,
      decodeReady: field,
      maxBatch: field,
      maxBatchedTokens: field,
    }),
  );
  const line = fc.record({ arrivals: part, prefill: part, decode: part, queue: part, gpu: part });
  const busy = fc.option(fc.double({ min: 0, max: 1, noNaN: true }));
  fc.assert(
    fc.property(fc.array(fc.tuple(line, busy), { maxLength: 4 }), (lines) => {
      const reading = new GpuShareReading();
      for (const [observation, busyShare] of lines) {
        const work = reading.workOf(seen(observation, busyShare));
        if (work !== null) expect(windowWork.safeParse(work).error?.issues).toBeUndefined();
      }
    }),
  );
});

describe("gpuFrac", () => {
  test("is taken as it is while no phase had more of the GPU than it was busy", () => {
    const reading = new GpuShareReading();
    expect(sharesOf(reading, gpu(0.3, 1), 0.3)).toEqual([0.3, 1]);
    // Rounding is no proof.
    expect(sharesOf(reading, gpu(0.31, 0.5), 0.3)).toEqual([0.31, 0.5]);
  });

  test("is multiplied by the busy share from the first window on that shows more, for both phases", () => {
    const reading = new GpuShareReading();
    expect(sharesOf(reading, gpu(0.2, 0.8), 0.4)).toEqual([0.2, 0.8]);
    const shown = reading.workOf({ ...seen(gpu(0.9, 0.5), 0.4, 0.8) });
    expect([shown?.prefillGpuShare, shown?.decodeGpuShare]).toEqual([
      expect.closeTo(0.36),
      expect.closeTo(0.4),
    ]);
    // And in windows that would fit the other reading as well.
    expect(sharesOf(reading, gpu(0.2, 0.8), 0.4)).toEqual([expect.closeTo(0.08), 0.8]);
  });

  test("without a busy share proves nothing, and once it is of the busy time cannot be told", () => {
    const reading = new GpuShareReading();
    expect(sharesOf(reading, gpu(0.9, 0.9), null)).toEqual([0.9, 0.9]);
    sharesOf(reading, gpu(0.9, 0.9), 0.1);
    expect(sharesOf(reading, gpu(0.9, 0.9), null)).toEqual([null, 0.9]);
  });

  test("of one session says nothing of another", () => {
    sharesOf(new GpuShareReading(), gpu(0.9, 0.9), 0.1);
    expect(sharesOf(new GpuShareReading(), gpu(0.2, 0.2), 0.4)).toEqual([0.2, 0.2]);
  });

  test("in percent is no share", () => {
    expect(sharesOf(new GpuShareReading(), gpu(40, 0.5), 0.4)).toEqual([null, 0.5]);
  });
});
