import { sampleWindow } from "@fulcrum/core/fixtures.js";
import type { WindowWork } from "@fulcrum/core/nouns.js";
import { describe, expect, test } from "vitest";

import { ProblemError } from "../http/problem-error.js";
import { checkReport } from "./check-report.js";

const NOW_MS = 1_800_000_000_000;
const DAY_MS = 86_400_000;

type Json = Record<string, unknown>;

function window(over: Json = {}): Json {
  return { ...sampleWindow({ endAtMs: NOW_MS }), ...over };
}

const WORK = {
  promptTokensSq: 4e16,
  maxPromptTokens: null,
  finishedOutputTokens: 700,
  prefillBatches: 9,
  prefillTokens: 12_500,
  decodeSteps: 40,
  decodeStepMeanMs: 31.25,
  decodeBatchMean: 60.5,
  decodeContextMean: 50_000.5,
  overlapShare: 0.4,
  prefillGpuShare: 0.2,
  decodeGpuShare: 1.01,
  prefillWaitingTokens: 0,
  oldestWaitMs: 12.5,
  decodeWaiting: 0,
  maxSequences: 256,
  maxBatchTokens: null,
} satisfies WindowWork;

/** One value past the bound of each part. */
const WORST_WORK: Readonly<Record<keyof WindowWork, unknown>> = {
  promptTokensSq: 1.1e18,
  maxPromptTokens: 0.5,
  finishedOutputTokens: -1,
  prefillBatches: "9",
  prefillTokens: 1e12 + 1,
  decodeSteps: 2.5,
  decodeStepMeanMs: 3_600_001,
  decodeBatchMean: -0.1,
  decodeContextMean: 1e13,
  overlapShare: 1.2,
  prefillGpuShare: 20,
  decodeGpuShare: -0.1,
  prefillWaitingTokens: Number.NaN,
  oldestWaitMs: Infinity,
  decodeWaiting: true,
  maxSequences: 0.5,
  maxBatchTokens: [],
};

function entry(over: Json = {}): Json {
  const observed = { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100, generation: 1 };
  return { instance: "i-1", windows: [window()], observed, ...over };
}

function body(over: Json = {}): Json {
  return { agent: "a-1", sentAtMs: NOW_MS, instances: [entry()], ...over };
}

test("a report that is right is taken whole, and conditions may be left out", () => {
  const checked = checkReport(body());
  expect(checked).toMatchObject({ agent: "a-1", sentAtMs: NOW_MS, rejected: [] });
  expect(checked.instances).toMatchObject([{ instance: "i-1", conditions: [], windows: [{ seq: 1 }] }]);
});

test("work is taken as it is, part by part, and an agent that does not know of it is taken too", () => {
  const none = Object.fromEntries(Object.keys(WORK).map((part) => [part, null]));
  const windows = [
    window({ seq: 1, work: WORK }),
    window({ seq: 2, work: none }),
    window({ seq: 3, work: null }),
    window({ seq: 4 }),
  ];
  const { instances, rejected } = checkReport(body({ instances: [entry({ windows })] }));
  expect(rejected).toEqual([]);
  expect(instances[0]?.windows.map(({ work }) => work)).toEqual([WORK, none, null, undefined]);
});

test("an instance may have nothing to report, and an agent no instance", () => {
  expect(checkReport(body({ instances: [entry({ windows: [], observed: null })] })).rejected).toEqual([]);
  expect(checkReport(body({ instances: [] }))).toMatchObject({ instances: [], rejected: [] });
});

describe("an envelope that is wrong is refused whole", () => {
  const cases: [string, unknown, string][] = [
    ["no object", null, "(body)"],
    ["a list", [], "(body)"],
    ["text", "report", "(body)"],
    ["no agent", { sentAtMs: 1, instances: [] }, "agent"],
    ["an agent with a space", body({ agent: "a 1" }), "agent"],
    ["no time", { agent: "a", instances: [] }, "sentAtMs"],
    ["a time before 1970", body({ sentAtMs: -1 }), "sentAtMs"],
    ["half a millisecond", body({ sentAtMs: 0.5 }), "sentAtMs"],
    ["a time that no calendar has", body({ sentAtMs: 1e300 }), "sentAtMs"],
    ["instances as an object", body({ instances: {} }), "instances"],
    ["257 instances", body({ instances: Array.from({ length: 257 }, () => entry()) }), "instances"],
    ["an unknown field", body({ extra: 1 }), "extra"],
  ];
  test.each(cases)("%s", (_what, given, field) => {
    let error: unknown;
    try {
      checkReport(given);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(ProblemError);
    expect((error as ProblemError).errors?.map((one) => one.field)).toEqual([field]);
  });
});

describe("an entry that is wrong is refused alone, with its field", () => {
  const histogram = { boundsMs: [1, 2], counts: [1, 1, 1], sumMs: 4 };
  const cases: [string, unknown, string][] = [
    ["no object", 7, "(body)"],
    ["no instance", { windows: [], observed: null }, "instance"],
    ["a name too long", entry({ instance: "i".repeat(64) }), "instance"],
    ["33 windows", entry({ windows: Array.from({ length: 33 }, () => window()) }), "windows"],
    [
      "observed at 0 %",
      entry({ observed: { split: { prefillSmPct: 0, decodeSmPct: 50 }, kvQuotaPct: 100, generation: 1 } }),
      "observed.split.prefillSmPct",
    ],
    ["observed left out", { instance: "i-1", windows: [] }, "observed"],
    ["a condition in lower case", entry({ conditions: ["sad"] }), "conditions.0"],
    ["17 conditions", entry({ conditions: Array.from({ length: 17 }, () => "Sad") }), "conditions"],
    ["infinite arrivals", entry({ windows: [window({ arrivals: Infinity })] }), "windows.0.arrivals"],
    ["NaN arrivals", entry({ windows: [window({ arrivals: Number.NaN })] }), "windows.0.arrivals"],
    ["arrivals as text", entry({ windows: [window({ arrivals: "12" })] }), "windows.0.arrivals"],
    [
      "a trillion and one arrivals",
      entry({ windows: [window({ arrivals: 1e12 + 1 })] }),
      "windows.0.arrivals",
    ],
    ["a negative sequence number", entry({ windows: [window({ seq: -1 })] }), "windows.0.seq"],
    ["a sequence number past 2^53", entry({ windows: [window({ seq: 2 ** 53 })] }), "windows.0.seq"],
    [
      "the second window wrong",
      entry({ windows: [window(), window({ finished: -1 })] }),
      "windows.1.finished",
    ],
    ["an hour and a bit", entry({ windows: [window({ durationMs: 3_600_001 })] }), "windows.0.durationMs"],
    [
      "a busy share of 2",
      entry({ windows: [window({ busy: { prefillShare: 2, decodeShare: null } })] }),
      "windows.0.busy.prefillShare",
    ],
    [
      "65 bounds",
      entry({
        windows: [window({ ttft: { ...histogram, boundsMs: Array.from({ length: 65 }, (_, i) => i + 1) } })],
      }),
      "windows.0.ttft.boundsMs",
    ],
    [
      "half a sample",
      entry({ windows: [window({ ttft: { ...histogram, counts: [0.5, 1, 1] } })] }),
      "windows.0.ttft.counts.0",
    ],
    [
      "a negative sum",
      entry({ windows: [window({ tpot: { ...histogram, sumMs: -1 } })] }),
      "windows.0.tpot.sumMs",
    ],
    [
      "five seconds and one ahead",
      entry({ windows: [window({ endAtMs: NOW_MS + 5_001 })] }),
      "windows.0.endAtMs",
    ],
    [
      "a week and a bit old",
      entry({ windows: [window({ startAtMs: NOW_MS - 7 * DAY_MS - 1, endAtMs: NOW_MS - 7 * DAY_MS })] }),
      "windows.0.startAtMs",
    ],
    ["work as a number", entry({ windows: [window({ work: 3 })] }), "windows.0.work"],
    [
      "work without a part",
      entry({ windows: [window({ work: { decodeSteps: 1 } })] }),
      "windows.0.work.promptTokensSq",
    ],
    [
      "work with a part too many",
      entry({ windows: [window({ work: { ...WORK, joules: 1 } })] }),
      "windows.0.work.joules",
    ],
    ...Object.entries(WORST_WORK).map(([part, value]): [string, unknown, string] => [
      `${part} of ${String(value)}`,
      entry({ windows: [window({ work: { ...WORK, [part]: value } })] }),
      `windows.0.work.${part}`,
    ]),
    ["a generation past 2^31", entry({ windows: [window({ generation: 2 ** 31 })] }), "windows.0.generation"],
  ];
  test.each(cases)("%s", (_what, given, field) => {
    const good = entry({ instance: "i-2" });
    const { instances, rejected } = checkReport(body({ instances: [given, good] }));
    expect(instances.map(({ instance }) => instance)).toEqual(["i-2"]);
    expect(rejected.map((one) => one.field)).toEqual([field]);
    expect(rejected.at(0)!.detail).toContain(field);
  });
});

test.each([[[1, 1]], [[2, 1]], [[1, 3, 2]]])(
  "windows whose sequence numbers %o do not ascend are refused",
  (seqs) => {
    const windows = seqs.map((seq) => window({ seq }));
    const { rejected } = checkReport(body({ instances: [entry({ windows })] }));
    expect(rejected).toMatchObject([{ code: "invalid_window", field: `windows.${seqs.length - 1}.seq` }]);
  },
);

test("the bounds themselves are allowed", () => {
  const windows = [
    window({ endAtMs: NOW_MS + 5_000, arrivals: 0, finished: 0 }),
    window({
      seq: 2,
      startAtMs: NOW_MS - 7 * DAY_MS,
      endAtMs: NOW_MS - 7 * DAY_MS + 1,
      generation: 2 ** 31 - 1,
    }),
    window({ seq: 2 ** 53 - 1, generation: null }),
  ];
  expect(checkReport(body({ instances: [entry({ windows })] })).rejected).toEqual([]);
});
