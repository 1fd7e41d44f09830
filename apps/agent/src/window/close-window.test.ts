import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkWindow } from "@fulcrum/core/signal/window.js";
import { window as windowSchema } from "@fulcrum/contracts/windows.js";
import type { Snapshot, WorkCounters } from "../reader/engine-reader.js";
import { closeWindow, type Edge, type Mark } from "./close-window.js";

interface Change {
  readonly atMs?: number;
  readonly monotonicMs?: number;
  readonly engineClockMs?: number | null;
  readonly counters?: Partial<Snapshot["counters"]>;
  readonly gauges?: Partial<Snapshot["gauges"]>;
  readonly ttft?: Snapshot["ttft"];
  readonly tpot?: Snapshot["tpot"];
  readonly tpotBasis?: Snapshot["tpotBasis"];
  readonly series?: Snapshot["series"];
}

const BOUNDS = [100, 300];

const NO_WORK: WorkCounters = {
  promptTokensSq: null,
  finishedOutputTokens: null,
  prefillBatches: null,
  prefillTokens: null,
  decodeSteps: null,
  decodeSequences: null,
  decodeContextTokenMs: null,
  overlapMs: null,
  prefillGpuMs: null,
  decodeGpuMs: null,
};

function edge(change: Change = {}, mark: Mark = { generation: 3, bootId: "a" }): Edge {
  return {
    mark,
    snapshot: {
      atMs: 1_000,
      monotonicMs: 0,
      engineClockMs: null,
      ttft: { boundsMs: BOUNDS, counts: [1, 2, 3], sumMs: 1_500 },
      tpot: { boundsMs: [20], counts: [5, 0], sumMs: 50 },
      tpotBasis: "request",
      series: new Map(),
      ...change,
      counters: {
        finished: 10,
        promptTokens: 1_000,
        promptRequests: null,
        outputTokens: 500,
        aborted: null,
        arrivals: null,
        arrivedPromptTokens: null,
        preemptions: null,
        prefillBusyMs: null,
        decodeBusyMs: null,
        ...NO_WORK,
        ...change.counters,
      },
      gauges: {
        waiting: 2,
        running: 3,
        kvTotalTokens: null,
        kvUsedTokens: null,
        prefillWaitingTokens: null,
        oldestWaitMs: null,
        decodeWaiting: null,
        maxSequences: null,
        maxBatchTokens: null,
        ...change.gauges,
      },
    },
  };
}

const later = { atMs: 2_000, monotonicMs: 1_000 };

function windowOf(from: Edge, to: Edge) {
  const closed = closeWindow(from, to);
  if (closed.kind !== "window") throw new Error(`got ${closed.kind}`);
  return closed.window;
}

describe("a window", () => {
  test("is the difference of counters and buckets, with the gauges of its end", () => {
    const to = edge({
      ...later,
      counters: { finished: 14, promptTokens: 1_600, outputTokens: 900, preemptions: 2 },
      gauges: { waiting: 0, running: 4, kvTotalTokens: 9_000, kvUsedTokens: 800 },
      ttft: { boundsMs: BOUNDS, counts: [2, 5, 3], sumMs: 2_100 },
    });
    expect(windowOf(edge(), to)).toMatchObject({
      startAtMs: 1_000,
      endAtMs: 2_000,
      durationMs: 1_000,
      generation: 3,
      finished: 4,
      outputTokens: 400,
      ttft: { boundsMs: BOUNDS, counts: [1, 3, 0], sumMs: 600 },
      queue: { prefillWaiting: 0, decodeRunning: 4 },
      kv: { totalTokens: 9_000, usedTokens: 800, preemptions: 2 },
      busy: { prefillShare: null, decodeShare: null },
    });
  });

  test("estimates arrivals by the balance of what finished, was aborted and is inside, at the mean prompt", () => {
    const to = edge({
      ...later,
      counters: { finished: 14, promptTokens: 1_800, aborted: 1 },
      gauges: { waiting: 4, running: 3 },
    });
    // 4 finished + 1 aborted + (7 - 5) inside; mean prompt of the finished 200.
    expect(windowOf(edge(), to)).toMatchObject({ arrivals: 7, promptTokens: 1_400 });
  });

  test("takes counted arrivals before estimated ones", () => {
    const from = edge({ counters: { arrivals: 15, arrivedPromptTokens: 1_500 } });
    const to = edge({ ...later, counters: { arrivals: 18, arrivedPromptTokens: 1_950, finished: 14 } });
    expect(windowOf(from, to)).toMatchObject({ arrivals: 3, promptTokens: 450 });
  });

  test("with nothing finished takes the mean prompt of all that ever did", () => {
    const to = edge({ ...later, gauges: { waiting: 5, running: 3 } });
    expect(windowOf(edge(), to)).toMatchObject({ arrivals: 3, promptTokens: 300, finished: 0 });
  });

  test("lasts as long as the engine's clock says, and busy shares are of that time", () => {
    const from = edge({ engineClockMs: 5_000, counters: { prefillBusyMs: 100, decodeBusyMs: 0 } });
    const to = edge({
      ...later,
      engineClockMs: 15_000,
      counters: { prefillBusyMs: 2_600, decodeBusyMs: 10_050 },
    });
    expect(windowOf(from, to)).toMatchObject({
      durationMs: 10_000,
      busy: { prefillShare: 0.25, decodeShare: 1 },
    });
  });

  test("bridges a missed scrape by being longer", () => {
    const to = edge({ atMs: 4_000, monotonicMs: 3_000, counters: { finished: 40, promptTokens: 4_000 } });
    expect(windowOf(edge(), to)).toMatchObject({ durationMs: 3_000, finished: 30 });
  });

  test("does not run backwards when the wall clock was set back", () => {
    const window = windowOf(edge({ atMs: 90_000 }), edge({ atMs: 50_000, monotonicMs: 1_000 }));
    expect(window).toMatchObject({ startAtMs: 49_000, endAtMs: 50_000, durationMs: 1_000 });
  });

  test("of an engine that has just observed its first requests counts from zero", () => {
    const from = edge({
      ttft: null,
      tpot: null,
      counters: { finished: 0, promptTokens: 0, outputTokens: 0 },
    });
    expect(windowOf(from, edge(later)).ttft.counts).toEqual([1, 2, 3]);
    const quiet = windowOf(
      from,
      edge({ ...later, ttft: null, tpot: null, counters: from.snapshot.counters }),
    );
    expect(quiet.ttft.counts.every((count) => count === 0)).toBe(true);
    expect(windowSchema.safeParse({ seq: 1, ...quiet }).success).toBe(true);
  });

  test.each<[string, Mark, Mark, number | null]>([
    ["the same at both ends", { generation: 3, bootId: "a" }, { generation: 3, bootId: "a" }, 3],
    ["another at the end", { generation: 3, bootId: "a" }, { generation: 4, bootId: "a" }, null],
    [
      "a switch under way at the start",
      { generation: null, bootId: "a" },
      { generation: 4, bootId: "a" },
      null,
    ],
    [
      "a switch under way at the end",
      { generation: 3, bootId: "a" },
      { generation: null, bootId: "a" },
      null,
    ],
    ["a driver that was silent", { generation: 3, bootId: "a" }, { generation: null, bootId: null }, null],
  ])("carries a generation only if it ran throughout: %s", (_what, start, end, want) => {
    expect(windowOf(edge({}, start), edge(later, end)).generation).toBe(want);
  });
});

describe("one of several ranks began anew", () => {
  const rank = (value: number, createdS: number | null = null) => ({ value, createdS });
  const requests = (...values: readonly (readonly [string, ReturnType<typeof rank>])[]) => new Map(values);

  test.each([
    [
      "its counter fell while the sum over all ranks grew",
      requests(["dp0", rank(900)], ["dp1", rank(800)]),
      requests(["dp0", rank(990)], ["dp1", rank(20)]),
      "dp1",
    ],
    ["its series is gone", requests(["dp0", rank(9)], ["dp1", rank(8)]), requests(["dp0", rank(10)]), "dp1"],
    [
      "it has counted further than before already, but was created later",
      requests(["dp0", rank(10, 1.5)]),
      requests(["dp0", rank(90, 77)]),
      "dp0",
    ],
  ])("%s: no window across it", (_what, before, after, what) => {
    const to = edge({ ...later, series: after, counters: { finished: 1_000 } });
    expect(closeWindow(edge({ series: before }), to)).toEqual({ kind: "reset", what });
  });

  test("a rank that is new, or one that never counted anything, is none", () => {
    const before = requests(["dp0", rank(10, 1.5)], ["unused", rank(0)]);
    const after = requests(["dp0", rank(11, 1.5)], ["dp1", rank(5)]);
    expect(closeWindow(edge({ series: before }), edge({ ...later, series: after })).kind).toBe("window");
  });

  test("TPOT of tokens before and of requests now are not subtracted, though the bounds are the same", () => {
    const to = edge({ ...later, tpot: { boundsMs: [20], counts: [9, 0], sumMs: 90 } });
    expect(closeWindow(edge({ tpotBasis: "token" }), to)).toEqual({ kind: "reset", what: "tpot" });
  });
});

test("the mean prompt is of the requests whose prompts were counted, where these are not those that finished", () => {
  const from = edge({ counters: { promptRequests: 12 } });
  const to = edge({ ...later, counters: { finished: 14, promptTokens: 2_200, promptRequests: 18 } });
  // 4 finished, as many inside as before; 1,200 tokens of 6 prompts.
  expect(windowOf(from, to)).toMatchObject({ arrivals: 4, promptTokens: 800 });
});

describe("the work of a window", () => {
  const counted = {
    promptTokensSq: 1e12,
    finishedOutputTokens: 400,
    prefillBatches: 7,
    prefillTokens: 900,
    decodeSteps: 100,
    decodeSequences: 5_000,
    decodeContextTokenMs: 3e9,
    overlapMs: 50,
    prefillGpuMs: 60,
    decodeGpuMs: 700,
    decodeBusyMs: 1_000,
  };
  const workOf = (counters: Partial<Snapshot["counters"]>, gauges: Change["gauges"] = {}) =>
    windowOf(
      edge({ engineClockMs: 1_000, counters: counted }),
      edge({ ...later, engineClockMs: 3_000, counters: { ...counted, ...counters }, gauges }),
    ).work;

  test("is what grew, means over steps and over decode's busy time, and shares of the engine's time", () => {
    const grown = {
      promptTokensSq: 1e12 + 90_000,
      finishedOutputTokens: 700,
      prefillBatches: 9,
      prefillTokens: 1_300,
      decodeSteps: 140,
      // 30 steps of 50 sequences and 10 of 90.
      decodeSequences: 5_000 + 30 * 50 + 10 * 90,
      // 800 ms at 40,000 context tokens, 400 ms at 70,000.
      decodeContextTokenMs: 3e9 + 800 * 40_000 + 400 * 70_000,
      decodeBusyMs: 1_000 + 1_200,
      overlapMs: 150,
      prefillGpuMs: 260,
      decodeGpuMs: 1_700,
    };
    const gauges = {
      prefillWaitingTokens: 800,
      oldestWaitMs: 45.5,
      decodeWaiting: 2,
      maxSequences: 256,
      maxBatchTokens: 8_192,
    };
    expect(workOf(grown, gauges)).toEqual({
      promptTokensSq: 90_000,
      maxPromptTokens: null,
      finishedOutputTokens: 300,
      prefillBatches: 2,
      prefillTokens: 400,
      decodeSteps: 40,
      decodeStepMeanMs: 30,
      decodeBatchMean: 60,
      decodeContextMean: 50_000,
      overlapShare: 0.05,
      prefillGpuShare: 0.1,
      decodeGpuShare: 0.5,
      ...gauges,
    });
  });

  test("without an iteration counts none, and has no mean of nothing", () => {
    expect(workOf({})).toMatchObject({
      decodeSteps: 0,
      decodeStepMeanMs: null,
      decodeBatchMean: null,
      decodeContextMean: null,
      decodeGpuShare: 0,
    });
  });

  test("of an engine that tells latencies only is null, and of one that counts iterations just that", () => {
    expect(windowOf(edge(), edge(later)).work).toBeNull();
    const from = edge({ counters: { decodeSteps: 10 } });
    const window = windowOf(from, edge({ ...later, counters: { decodeSteps: 42, prefillTokens: 128 } }));
    expect(window.work).toMatchObject({
      decodeSteps: 32,
      // Exposed once it was used: began at 0.
      prefillTokens: 128,
      decodeStepMeanMs: null,
      overlapShare: null,
    });
  });

  test("in windows in a row adds up, however its iterations are cut", () => {
    const gauge = fc.nat(1_000);
    const cut = fc.record({ steps: fc.nat(40), sequences: fc.nat(64), busyMs: fc.nat(1_000), gauge });
    fc.assert(
      fc.property(fc.array(cut, { minLength: 1, maxLength: 10 }), (cuts) => {
        let last = edge({ engineClockMs: 0, counters: { ...counted } });
        const start = last;
        const sums = { steps: 0, ms: 0, sequences: 0 };
        for (const { steps, sequences, busyMs, gauge } of cuts) {
          const was = last.snapshot.counters;
          const to = edge({
            atMs: last.snapshot.atMs + 1_000,
            engineClockMs: (last.snapshot.engineClockMs ?? 0) + 1_000,
            gauges: { oldestWaitMs: gauge },
            counters: {
              ...was,
              decodeSteps: (was.decodeSteps ?? 0) + steps,
              decodeSequences: (was.decodeSequences ?? 0) + steps * sequences,
              decodeBusyMs: (was.decodeBusyMs ?? 0) + (steps > 0 ? busyMs : 0),
            },
          });
          const window = windowOf(last, to);
          expect(windowSchema.safeParse({ seq: 1, ...window }).success).toBe(true);
          const { decodeSteps, decodeStepMeanMs, decodeBatchMean } = window.work ?? {};
          sums.steps += decodeSteps ?? 0;
          sums.ms += (decodeSteps ?? 0) * (decodeStepMeanMs ?? 0);
          sums.sequences += (decodeSteps ?? 0) * (decodeBatchMean ?? 0);
          last = to;
        }
        const grown = (key: keyof Snapshot["counters"]) =>
          (last.snapshot.counters[key] ?? 0) - (start.snapshot.counters[key] ?? 0);
        expect(sums.steps).toBe(grown("decodeSteps"));
        expect(sums.ms).toBeCloseTo(grown("decodeBusyMs"), 6);
        expect(sums.sequences).toBeCloseTo(grown("decodeSequences"), 6);
      }),
    );
  });
});

describe("no window", () => {
  test.each<[string, Change, Change, string]>([
    ["a counter fell", {}, { counters: { finished: 3 } }, "finished"],
    ["tokens fell while requests did not", {}, { counters: { outputTokens: 0 } }, "outputTokens"],
    ["a bucket fell", {}, { ttft: { boundsMs: BOUNDS, counts: [9, 1, 9], sumMs: 9e3 } }, "ttft"],
    ["the buckets changed", {}, { tpot: { boundsMs: [25], counts: [9, 9], sumMs: 9e3 } }, "tpot"],
    ["a histogram went away", {}, { tpot: null }, "tpot"],
    ["the engine's clock went back", { engineClockMs: 50 }, { engineClockMs: 20 }, "engineClockMs"],
    ["a counter of work fell", { counters: { overlapMs: 70 } }, { counters: { overlapMs: 3 } }, "overlapMs"],
    [
      "a counter in use went away",
      { counters: { arrivals: 5 } },
      { counters: { arrivals: null } },
      "arrivals",
    ],
  ])("across a reset: %s", (_what, before, after, what) => {
    expect(closeWindow(edge(before), edge({ ...later, ...after }))).toEqual({ kind: "reset", what });
  });

  test("across a restart, even of an engine that had counted nothing", () => {
    const closed = closeWindow(
      edge({}, { generation: 0, bootId: "a" }),
      edge(later, { generation: 0, bootId: "b" }),
    );
    expect(closed).toEqual({ kind: "reset", what: "bootId" });
  });

  test("while the engine's clock stands still, nor over more than an hour", () => {
    expect(closeWindow(edge({ engineClockMs: 7 }), edge({ ...later, engineClockMs: 7 })).kind).toBe(
      "no_time",
    );
    expect(closeWindow(edge(), edge({ atMs: 9e6, monotonicMs: 3_600_001 })).kind).toBe("too_long");
  });
});

test("whatever the windows' borders, they add up to what was counted", () => {
  const growth = fc.tuple(fc.nat(50), fc.nat(5_000), fc.nat(9), fc.nat(9), fc.nat(9));
  fc.assert(
    fc.property(fc.array(growth, { minLength: 1, maxLength: 12 }), (steps) => {
      const edges = [edge()];
      for (const [finished, tokens, ...buckets] of steps) {
        const last = edges.at(-1)?.snapshot ?? edge().snapshot;
        const counts = (last.ttft?.counts ?? []).map((count, i) => count + (buckets[i] ?? 0));
        edges.push(
          edge({
            atMs: last.atMs + 1_000,
            monotonicMs: last.monotonicMs + 1_000,
            counters: {
              finished: last.counters.finished + finished,
              promptTokens: last.counters.promptTokens + tokens,
              outputTokens: last.counters.outputTokens + tokens,
            },
            ttft: { boundsMs: BOUNDS, counts, sumMs: (last.ttft?.sumMs ?? 0) + tokens },
          }),
        );
      }
      const windows = edges.slice(1).map((to, i) => windowOf(edges[i] ?? edge(), to));
      const total = (of: (w: (typeof windows)[number]) => number) =>
        windows.reduce((sum, w) => sum + of(w), 0);
      const end = edges.at(-1)?.snapshot ?? edge().snapshot;
      expect(total((w) => w.finished)).toBe(end.counters.finished - 10);
      expect(total((w) => w.outputTokens)).toBe(end.counters.outputTokens - 500);
      expect(total((w) => w.ttft.counts[1] ?? 0)).toBe((end.ttft?.counts[1] ?? 0) - 2);
      // Of an engine that does not count arrivals, too: what is estimated is still a window that is believed.
      for (const w of windows) {
        expect(windowSchema.safeParse({ seq: 1, ...w }).success).toBe(true);
        expect(checkWindow({ seq: 1, ...w }, w.endAtMs)).toBeNull();
      }
    }),
  );
});
