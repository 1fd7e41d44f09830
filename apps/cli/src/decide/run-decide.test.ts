import { PassThrough, Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { PolicyParamsError } from "./policy-config.js";
import { runDecide } from "./run-decide.js";
import type { DecideOptions } from "./run-decide.js";

/** Half-octave bounds from 10 ms to 41 s. */
const histBoundsS = Array.from({ length: 25 }, (_, i) => 0.01 * Math.SQRT2 ** i);
const hello = {
  type: "hello",
  v: 1,
  profile: "llama3-8b-a100",
  controlIntervalS: 5,
  histBoundsS,
  slo: { ttftS: 0.3, tpotS: 0.15, percentile: 0.9 },
  limits: { minSmPct: 5, maxSmPct: 100, oversubscriptionAllowed: true, kvPrefillQuotaPct: [5, 100] },
  initial: { prefillSmPct: 50, decodeSmPct: 50, kvPrefillQuotaPct: 100 },
};

function histogramAt(seconds: number, count: number): number[] {
  const bucket = histBoundsS.findIndex((bound) => seconds <= bound);
  return Array.from({ length: histBoundsS.length + 1 }, (_, i) => (i === bucket ? count : 0));
}

interface Seen {
  readonly idx: number;
  readonly windowS?: number;
  readonly ttftS?: number;
  readonly tpotS?: number;
  readonly count?: number;
  readonly over?: Record<string, unknown>;
}

/** An observation as the protocol describes it; `count` requests, all alike. */
function observation({ idx, windowS = 5, ttftS = 0.2, tpotS = 0.08, count = 50, over = {} }: Seen) {
  const split = { prefillSmPct: 50, decodeSmPct: 50, kvPrefillQuotaPct: 100 };
  const stats = (s: number) => (count === 0 ? null : { count, mean: s, p50: s, p90: s, p99: s });
  return {
    type: "observation",
    idx,
    t: idx * windowS,
    windowS,
    slo: hello.slo,
    gpu: { profile: "x", kvTotalTokens: 440_000, minSmPct: 5 },
    split,
    target: split,
    switchPending: false,
    lastSwitchT: null,
    arrivals: { count, promptTokens: 250 * count, promptTokensSq: 1, maxPrompt: 9, perSecond: [count] },
    prefill: {
      batches: 9,
      firstTokens: count,
      busyS: 3,
      busyFrac: 0.6,
      ttft: stats(ttftS),
      ttftHist: histogramAt(ttftS, count),
    },
    decode: {
      tokens: 300 * count,
      finished: count,
      outputTokensFinished: 300 * count,
      busyFrac: 1,
      tpot: stats(tpotS),
      tpotHist: histogramAt(tpotS, count),
    },
    queue: { prefillWaiting: 1, decodeRunning: 100 },
    kv: { usedTokens: 100_000, totalTokens: 440_000, maxUsedTokens: 1, preemptions: 0 },
    ...over,
  };
}

async function drive(lines: readonly unknown[], options: Partial<DecideOptions> = {}) {
  const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n");
  const output = new PassThrough();
  const notes: string[] = [];
  await runDecide(Readable.from([`${text}\n`]), output, {
    policy: "feedback",
    note: (n) => notes.push(n),
    ...options,
  });
  output.end();
  let written = "";
  for await (const chunk of output) written += String(chunk);
  const answers = written
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
  return { answers, notes };
}

const ideal = (n: number, seen: Partial<Seen> = {}) =>
  Array.from({ length: n }, (_, i) => observation({ idx: i + 1, ...seen }));

describe("the protocol", () => {
  test("one line out for every line in, none for the end, and nothing after it", async () => {
    const { answers, notes } = await drive([hello, ...ideal(4), { type: "end" }, observation({ idx: 9 })]);
    expect(answers).toHaveLength(5);
    expect(answers.every((a) => a.prefillSmPct === undefined && a.decodeSmPct === undefined)).toBe(true);
    expect(answers.at(-1)).toMatchObject({ reason: "BOTH_MET" });
    expect(notes).toEqual([]);
  });

  test("the input may simply end", async () => {
    expect((await drive([hello, observation({ idx: 1 })])).answers).toHaveLength(2);
  });

  test("a missed TTFT is answered with what changes, and nothing else", async () => {
    const { answers } = await drive([hello, ...ideal(2, { ttftS: 0.35 }), { type: "end" }]);
    const move = answers[1];
    expect(move).toMatchObject({ reason: "TTFT_MISSED" });
    expect(move.prefillSmPct).toBeGreaterThan(50);
    expect(move).not.toHaveProperty("kvPrefillQuotaPct");
    expect(move.message).toContain("TTFT p90");
  });

  test("exclusive caps stay exclusive", async () => {
    const exclusive = { ...hello, limits: { ...hello.limits, oversubscriptionAllowed: false } };
    const move = (await drive([exclusive, observation({ idx: 1, ttftS: 0.35 })])).answers[1];
    expect(move.prefillSmPct + move.decodeSmPct).toBeLessThanOrEqual(100);
  });

  test("KV pressure is answered with a quota alone", async () => {
    const kv = { usedTokens: 430_000, totalTokens: 440_000, preemptions: 2 };
    const move = (await drive([hello, observation({ idx: 1, over: { kv } })])).answers[1];
    expect(move).toMatchObject({ reason: "KV_PRESSURE" });
    expect(move.kvPrefillQuotaPct).toBeLessThan(100);
    expect(move).not.toHaveProperty("prefillSmPct");
  });

  test("a switch under way holds, and windows that it touched do not count", async () => {
    const missed = { ttftS: 0.35 };
    const to = { prefillSmPct: 60, decodeSmPct: 50, kvPrefillQuotaPct: 100 };
    const { answers } = await drive([
      hello,
      observation({ idx: 1, ...missed }),
      observation({ idx: 2, ...missed, over: { target: to, switchPending: true } }),
      observation({ idx: 3, ...missed, over: { split: to, target: to, lastSwitchT: 12 } }),
      observation({ idx: 4, ...missed, over: { split: to, target: to, lastSwitchT: 12 } }),
      observation({ idx: 5, ...missed, over: { split: to, target: to, lastSwitchT: 12 } }),
    ]);
    expect(answers.slice(2).map((a) => a.reason)).toEqual([
      "THIN_SIGNAL",
      "THIN_SIGNAL",
      "DWELL",
      "TTFT_MISSED",
    ]);
    expect(answers[5].prefillSmPct).toBeGreaterThan(60);
  });

  test("an open rollout is told as such while older windows still count", async () => {
    const pending = observation({ idx: 3, over: { switchPending: true } });
    const { answers } = await drive([hello, ...ideal(2), pending]);
    expect(answers.at(-1)?.reason).toBe("ROLLOUT_OPEN");
  });

  test("the SLO may change on the way", async () => {
    const tight = { slo: { ttftS: 0.1, tpotS: 0.15, percentile: 0.9 } };
    const { answers } = await drive([hello, ...ideal(2), observation({ idx: 3, over: tight })]);
    expect(answers.slice(2).map((a) => a.reason)).toEqual(["BOTH_MET", "TTFT_MISSED"]);
  });

  test("an SLO that every request must keep is taken as the highest percentile that can be told", async () => {
    const every = { ...hello, slo: { ...hello.slo, percentile: 1 } };
    const { answers, notes } = await drive([every, ...ideal(3)]);
    expect(notes).toEqual([]);
    expect(answers.at(-1)?.reason).not.toBe("MAD_SIGNAL");
    const none = { ...hello, slo: { ...hello.slo, percentile: 1.5 } };
    expect((await drive([none])).notes.join()).toMatch(/percentile \(above 0, at most 1\)/);
  });

  test("a second hello starts afresh", async () => {
    const { answers } = await drive([hello, ...ideal(3), hello, observation({ idx: 1, count: 3 })]);
    expect(answers.at(-1)?.reason).toBe("THIN_SIGNAL");
  });
});

describe("silence and nulls", () => {
  const nulls = {
    arrivals: { count: null },
    prefill: { ttft: null, ttftHist: null, busyFrac: null },
    decode: { tpot: null, tpotHist: [], finished: null },
    queue: null,
    kv: { usedTokens: null, totalTokens: null, preemptions: null },
    split: null,
    target: undefined,
    lastSwitchT: null,
  };

  test("windows of nothing at all hold, however long", async () => {
    const { answers, notes } = await drive([hello, ...ideal(200, { over: nulls })]);
    expect(answers).toHaveLength(201);
    expect(new Set(answers.slice(1).map((a) => a.reason))).toEqual(new Set(["THIN_SIGNAL"]));
    expect(notes).toEqual([]);
  });

  test("an empty window between busy ones is passed over", async () => {
    const { answers } = await drive([
      hello,
      observation({ idx: 1 }),
      observation({ idx: 2, count: 0 }),
      observation({ idx: 3 }),
    ]);
    expect(answers.at(-1)?.reason).toBe("BOTH_MET");
  });

  test("after a long silence old windows do not count", async () => {
    const { answers } = await drive([hello, ...ideal(3), observation({ idx: 1000, count: 5 })]);
    expect(answers.at(-1)).toMatchObject({ reason: "THIN_SIGNAL" });
  });

  test("only an observation's own fields matter: the smallest one is answered", async () => {
    const { answers } = await drive([hello, { type: "observation", t: 5, windowS: 5, news: { deep: [1] } }]);
    expect(answers[1]).toMatchObject({ reason: "THIN_SIGNAL" });
  });
});

test.each([1, 2, 5, 10, 30, 60])(
  "a control interval of %i s judges, and moves when it must",
  async (windowS) => {
    const begin = { ...hello, controlIntervalS: windowS };
    const count = 10 * windowS;
    const calm = await drive([begin, ...ideal(8, { windowS, count })]);
    expect(calm.answers.at(-1)?.reason).toBe("BOTH_MET");
    const hurt = await drive([begin, ...ideal(8, { windowS, count, ttftS: 0.35 })]);
    expect(hurt.answers.map((a) => a.reason)).toContain("TTFT_MISSED");
  },
);

test("work that makes no sense changes no answer and spoils no window", async () => {
  const garbage = { decode: { ...observation({ idx: 1 }).decode, steps: -4, gpuFrac: "all", ctxMean: 1e99 } };
  const { answers, notes } = await drive([hello, ...ideal(2, { over: garbage })]);
  expect(answers.at(-1)?.reason).toBe("BOTH_MET");
  expect(notes).toEqual([]);
});

test("times that binary cannot hold still meet: window ends where the next one starts", async () => {
  const lines = [0, 1, 2, 3].map((i) =>
    observation({ idx: i + 1, windowS: 5.1, over: i === 3 ? {} : { lastSwitchT: 10.2 } }),
  );
  lines[3] = observation({ idx: 4, windowS: 5.1, over: { lastSwitchT: 10.2 } });
  expect((await drive([hello, ...lines])).answers.map((a) => a.reason).slice(3)).toEqual([
    "DWELL",
    "BOTH_MET",
  ]);
});

test("a gauge below zero is one that is not told; the window counts", async () => {
  const over = { queue: { prefillWaiting: -1, decodeRunning: 20 } };
  const lines = [1, 2, 3].map((idx) => observation({ idx, over }));
  const { answers, notes } = await drive([hello, ...lines]);
  expect(answers.at(-1)).toMatchObject({ reason: "BOTH_MET" });
  expect(notes).toEqual([]);
});

test("an infinite last bound may come with a count of its own and one more", async () => {
  const lines = ideal(3).map((line) => {
    const { prefill, decode } = line as { prefill: { ttftHist: number[] }; decode: { tpotHist: number[] } };
    const tpotHist = [...decode.tpotHist, 0];
    return {
      ...line,
      prefill: { ...prefill, ttftHist: [...prefill.ttftHist, 0] },
      decode: { ...decode, tpotHist },
    };
  });
  const { answers, notes } = await drive([{ ...hello, histBoundsS: [...histBoundsS, null] }, ...lines]);
  expect(notes).toEqual([]);
  expect(answers.at(-1)).toMatchObject({ reason: "BOTH_MET" });
});

describe("lines that cannot be used are answered with {} and named", () => {
  test.each([
    { name: "not JSON", line: "{oops", want: /line 2: not JSON/ },
    { name: "an empty line", line: "", want: /line 2: not JSON/ },
    { name: "not an object", line: "[1]", want: /not a JSON object/ },
    { name: "an unknown type", line: { type: "news" }, want: /type is not/ },
    { name: "no time", line: { type: "observation", windowS: 5 }, want: /observation\.t/ },
    { name: "a negative window", line: { type: "observation", t: 5, windowS: -5 }, want: /windowS/ },
    {
      name: "a histogram of another length",
      line: observation({ idx: 1, over: { prefill: { ttftHist: [1, 2] } } }),
      want: /prefill\.ttftHist has 2 counts for 25 bounds/,
    },
    { name: "too long", line: `"${"x".repeat(1_100_000)}"`, want: /longer/ },
  ])("$name", async ({ line, want }) => {
    const { answers, notes } = await drive([hello, line, ...ideal(2)]);
    expect(answers[1]).toEqual({});
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatch(want);
    expect(answers.at(-1)).toMatchObject({ reason: "BOTH_MET" });
  });

  test.each([
    { name: "an SLO of zero", line: { ...hello, slo: { ttftS: 0, tpotS: 1 } }, want: /hello\.slo/ },
    { name: "bounds that fall", line: { ...hello, histBoundsS: [1, 0.5] }, want: /histBoundsS\[1\]/ },
    { name: "no bounds", line: { ...hello, histBoundsS: null }, want: /histBoundsS/ },
  ])("a hello with $name", async ({ line, want }) => {
    const { answers, notes } = await drive([line, observation({ idx: 1 })]);
    expect(answers).toEqual([{}, {}]);
    expect(notes[0]).toMatch(want);
    expect(notes[1]).toContain("before any hello");
  });

  test("a window that cannot be believed is named, and does not count", async () => {
    const kv = { usedTokens: 500_000, totalTokens: 440_000, preemptions: 0 };
    const { answers, notes } = await drive([hello, observation({ idx: 1, over: { kv } })]);
    expect(answers[1]).toMatchObject({ reason: "NO_SIGNAL" });
    expect(notes[0]).toContain("kv.usedTokens is 500000");
  });

  test("limits that leave no split hold, with the field in the message", async () => {
    const { answers } = await drive([
      { ...hello, limits: { minSmPct: 90, maxSmPct: 50 } },
      observation({ idx: 1 }),
    ]);
    expect(answers[1]).toMatchObject({ reason: "MAD_SIGNAL" });
    expect(answers[1].message).toContain("limits.minSmPct");
  });
});

describe("the static policy", () => {
  const allocation = { split: { prefillSmPct: 80, decodeSmPct: 100 }, kvQuotaPct: 100 };

  test("answers the hello with its target, and repeats it until it runs", async () => {
    const { answers } = await drive([hello, observation({ idx: 1 })], {
      policy: "static",
      params: { allocation },
    });
    expect(answers[0]).toMatchObject({ prefillSmPct: 80, decodeSmPct: 100, reason: "STATIC_TARGET" });
    expect(answers[1]).toMatchObject({ prefillSmPct: 80, decodeSmPct: 100 });
  });

  test("without a target keeps what the instance starts with", async () => {
    const { answers } = await drive([hello, observation({ idx: 1 })], { policy: "static" });
    expect(answers.map((a) => a.reason)).toEqual(["AT_TARGET", "AT_TARGET"]);
  });
});

const untyped = (options: object) => options as Partial<DecideOptions>;

test.each([
  { options: { params: { stepPct: -1 } }, want: /policy\.params\.stepPct is -1/ },
  { options: { guards: { maxStepPct: 400 } }, want: /guards\.maxStepPct is 400/ },
  {
    options: untyped({ params: { stepPtc: 3 } }),
    want: /policy\.params\.stepPtc is not a parameter of the feedback policy\. Did you mean stepPct\?/,
  },
  { options: { params: { minGainShare: 0.1 } }, want: /minGainShare is not a parameter of the feedback/ },
  {
    options: untyped({ guards: { dwelMs: 1 } }),
    want: /guards\.dwelMs is not a guard\. Did you mean dwellMs/,
  },
  {
    options: untyped({ policy: "static", params: { allocation: { split: { prefill: 50 } } } }),
    want: /policy\.params\.allocation\.split\.prefill is not a parameter of the static policy/,
  },
  {
    options: untyped({ policy: "search", params: { prior: { prefill: { hostMs: 1 } } } }),
    want: /policy\.params\.prior\.prefill\.hostMs is not a parameter/,
  },
  {
    options: untyped({ policy: "search", params: { prior: { decode: { growth: { gian: 0.2 } } } } }),
    want: /prior\.decode\.growth\.gian is not a parameter of the search policy\. Did you mean gain/,
  },
])("unusable options fail before the first line: $want", async ({ options, want }) => {
  await expect(drive([hello], options)).rejects.toThrow(PolicyParamsError);
  await expect(drive([hello], options)).rejects.toThrow(want);
});

test("guards can be given: a single step at most", async () => {
  const { answers } = await drive([hello, observation({ idx: 1, ttftS: 0.9 })], {
    guards: { maxStepPct: 2 },
  });
  expect(Math.abs(answers[1].prefillSmPct - 50)).toBeLessThanOrEqual(2);
});
