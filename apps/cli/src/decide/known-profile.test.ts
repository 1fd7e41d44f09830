/** A hello that names a bundled profile: what the search policy is told by it. */
import { PassThrough, Readable } from "node:stream";
import type { SearchPrior } from "@fulcrum/core/decision.js";
import { priorOf } from "@fulcrum/evaluation/prior-of.js";
import { describe, expect, test } from "vitest";
import { BUNDLED_PROFILE, loadProfile } from "../simulator-check/input-files.js";
import { runDecide, type DecideOptions } from "./run-decide.js";

const BUNDLED = loadProfile(BUNDLED_PROFILE);
const split = { prefillSmPct: 50, decodeSmPct: 50, kvPrefillQuotaPct: 100 };
const helloOf = (profile: string) => ({
  type: "hello",
  profile,
  histBoundsS: [0.1, 0.2, 0.3, 0.5, 1, 2, 5],
  slo: { ttftS: 0.3, tpotS: 0.1, percentile: 0.9 },
  initial: split,
});

/** 50 requests of 500 prompt tokens in 5 s, their first tokens late. */
const observation = (idx: number) => ({
  type: "observation",
  idx,
  t: 5 * idx,
  windowS: 5,
  split,
  target: split,
  arrivals: { count: 50, promptTokens: 25_000, promptTokensSq: 15e6, maxPrompt: 900 },
  prefill: {
    batches: 40,
    tokens: 25_000,
    firstTokens: 50,
    busyFrac: 0.8,
    gpuFrac: 0.4,
    ttft: { mean: 0.6 },
    ttftHist: [0, 0, 10, 10, 25, 5, 0, 0],
  },
  decode: {
    steps: 150,
    tokens: 6_000,
    finished: 50,
    outputTokensFinished: 6_000,
    busyFrac: 0.9,
    gpuFrac: 0.45,
    overlapFrac: 0.7,
    stepMeanS: 0.03,
    batchMean: 40,
    ctxMean: 20_000,
    tpot: { mean: 0.04 },
    tpotHist: [50, 0, 0, 0, 0, 0, 0, 0],
  },
  queue: { prefillWaiting: 3, prefillWaitingTokens: 1_500, decodeReady: 0, decodeRunning: 40 },
  kv: { usedTokens: 20_000, totalTokens: 440_000, preemptions: 0 },
});

async function drive(profile: string, options: Partial<DecideOptions> = {}, hellos = 1) {
  const session = [helloOf(profile), ...[1, 2, 3, 4, 5, 6].map(observation)];
  const lines = Array.from({ length: hellos }, () => session).flat();
  const output = new PassThrough();
  const notes: string[] = [];
  const note = (text: string) => void notes.push(text);
  const input = Readable.from(lines.map((line) => `${JSON.stringify(line)}\n`));
  await runDecide(input, output, { policy: "search", note, ...options });
  output.end();
  let written = "";
  for await (const chunk of output) written += String(chunk);
  const answers = written.trim().split("\n");
  return { answers, notes };
}

const withPrior = (prior: SearchPrior | null): Partial<DecideOptions> => ({ params: { prior } });

describe("the search policy's prior, from the profile that the hello names", () => {
  test("a bundled profile decides as if it had been given, and is named once", async () => {
    const named = await drive(BUNDLED.name);
    const given = await drive("my-gpu", withPrior(priorOf(BUNDLED)));
    expect(named.answers).toEqual(given.answers);
    expect(given.notes).toEqual([]);
    const again = await drive(BUNDLED.name, {}, 3);
    expect(again.notes).toEqual([expect.stringContaining(`profile ${BUNDLED.name} is the prior`)]);
  });

  test("it makes a difference: an unknown name decides as no prior does, and says nothing", async () => {
    const unknown = await drive("my-gpu");
    expect(unknown.answers).not.toEqual((await drive(BUNDLED.name)).answers);
    expect(unknown.answers).toEqual((await drive("my-gpu", withPrior(null))).answers);
    expect(unknown.notes).toEqual([]);
  });

  test.each(["../engine-sim/data/llama3-8b-a100", "chat-and-documents", "package.json", ""])(
    "a name is no path: %j opens no file",
    async (name) => {
      const { answers, notes } = await drive(name);
      expect(notes).toEqual([]);
      expect(answers).toEqual((await drive("my-gpu")).answers);
    },
  );

  test("a prior of null on the command line is none, whatever the name", async () => {
    const none = await drive(BUNDLED.name, withPrior(null));
    expect(none.answers).toEqual((await drive("my-gpu")).answers);
    expect(none.notes).toEqual([]);
  });

  test("a prior on the command line goes before the name; other parameters do not hide the name", async () => {
    const slow = { ...BUNDLED, prefill: { ...BUNDLED.prefill, engineMs: 200 } };
    const given = await drive(BUNDLED.name, withPrior(priorOf(slow)));
    expect(given.answers).toEqual((await drive("my-gpu", withPrior(priorOf(slow)))).answers);
    expect(given.notes).toEqual([]);
    expect((await drive(BUNDLED.name, { params: { moveKvQuota: false } })).notes).toHaveLength(1);
  });

  test("other policies are told nothing", async () => {
    expect((await drive(BUNDLED.name, { policy: "feedback" })).notes).toEqual([]);
  });

  test.each([
    {
      name: "cannot be read",
      profileNamed: () => loadProfile("/nowhere/at-all.json"),
      want: "there is no such file; going on without",
    },
    {
      name: "is out of bounds",
      profileNamed: () => {
        const { small, large } = BUNDLED.decode.smShare;
        const smShare = { small, large: { ...large, size: 1e9 } };
        return { ...BUNDLED, decode: { ...BUNDLED.decode, smShare } };
      },
      want: "policy.params.prior.decode.growth.large is 1000000000",
    },
  ])("a profile that $name is named, and does without", async ({ profileNamed, want }) => {
    const { answers, notes } = await drive(BUNDLED.name, { profileNamed }, 2);
    expect(notes).toEqual([expect.stringContaining(want)]);
    expect(answers).toEqual((await drive("my-gpu", {}, 2)).answers);
  });
});
