/** Each engine's page in its real format (docs/engine-metrics.md says where the format is from). */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { DYNAMO } from "./dynamo-metrics.js";
import { type EngineMetrics, snapshotOf } from "./engine-metrics.js";
import type { Snapshot } from "./engine-reader.js";
import { SGLANG } from "./sglang-metrics.js";
import { TRTLLM } from "./trtllm-metrics.js";
import { VLLM } from "./vllm-metrics.js";

const AT = { atMs: 1_000, monotonicMs: 10 };
const page = (file: string) => ({
  text: readFileSync(new URL(`fixtures/${file}`, import.meta.url), "utf8"),
  openMetrics: file.endsWith(".openmetrics"),
});
const read = (engine: EngineMetrics, files: readonly string[], model?: string): Snapshot =>
  snapshotOf(engine, files.map(page), AT, model);
const total = (histogram: Snapshot["ttft"]) => histogram?.counts.reduce((sum, count) => sum + count, 0);

interface Want {
  readonly counters: Partial<Snapshot["counters"]>;
  readonly gauges: Partial<Snapshot["gauges"]>;
  readonly ttft: { readonly samples: number; readonly sumMs: number; readonly firstBoundMs: number };
  readonly tpot: { readonly samples: number; readonly sumMs: number; readonly basis: "request" | "token" };
}

const VLLM_DP2: Want = {
  // 2 aborted requests are in the prompts' sum and in their number, not in what finished.
  counters: {
    finished: 97,
    aborted: 3,
    promptTokens: 100_000,
    promptRequests: 100,
    outputTokens: 39_000,
    finishedOutputTokens: 38_000,
    preemptions: 4,
    arrivals: null,
    prefillTokens: 80_000,
  },
  // Half of 128,000 tokens and a quarter of as many.
  gauges: { running: 12, waiting: 2, kvTotalTokens: 256_000, kvUsedTokens: 96_000 },
  ttft: { samples: 100, sumMs: 12_750, firstBoundMs: 1 },
  tpot: { samples: 99, sumMs: 1_750, basis: "request" },
};

describe("what a reader makes of", () => {
  test.each<[string, EngineMetrics, readonly string[], Want]>([
    [
      "SGLang with attention over two data-parallel ranks of a tensor group of four, and priorities",
      SGLANG,
      ["sglang-dp-attention.prom"],
      {
        counters: {
          finished: 200,
          promptTokens: 128_000,
          promptRequests: null,
          outputTokens: 46_000,
          aborted: 4,
          preemptions: 4,
          // dp_rank 1 has tp_rank 2 and 3 only: its lowest counts, and not tp_rank 0.
          decodeSteps: 5_000 + 5_100 + 14,
          prefillBatches: 420,
          prefillTokens: 122_000,
        },
        gauges: { running: 21, waiting: 8, kvTotalTokens: 200_000, kvUsedTokens: 71_000 },
        ttft: { samples: 205, sumMs: 37_750, firstBoundMs: 100 },
        tpot: { samples: 45_800, sumMs: 802_250, basis: "token" },
      },
    ],
    ["vLLM V1 with two engines", VLLM, ["vllm-dp2.prom"], VLLM_DP2],
    ["the same as OpenMetrics", VLLM, ["vllm-dp2.openmetrics"], VLLM_DP2],
    [
      "an early vLLM V1, under the names before the renames",
      VLLM,
      ["vllm-0.8.prom"],
      {
        counters: {
          finished: 10,
          aborted: 1,
          promptTokens: 9_000,
          promptRequests: null,
          prefillTokens: null,
        },
        gauges: { running: 3, waiting: 1, kvTotalTokens: 64_000, kvUsedTokens: 8_000 },
        ttft: { samples: 11, sumMs: 750, firstBoundMs: 1 },
        tpot: { samples: 1_989, sumMs: 38_500, basis: "token" },
      },
    ],
    [
      "a vLLM with an endpoint per data-parallel rank: both count their engine as number 0",
      VLLM,
      ["vllm-0.8.prom", "vllm-0.8.prom"],
      {
        counters: { finished: 20, aborted: 2, promptTokens: 18_000 },
        gauges: { running: 6, waiting: 2, kvTotalTokens: 128_000, kvUsedTokens: 16_000 },
        ttft: { samples: 22, sumMs: 1_500, firstBoundMs: 1 },
        tpot: { samples: 3_978, sumMs: 77_000, basis: "token" },
      },
    ],
    [
      "a Dynamo frontend and its worker's system port",
      DYNAMO,
      ["dynamo-frontend.prom", "dynamo-worker.prom"],
      {
        // Embeddings have no tokens to wait for.
        counters: {
          finished: 100,
          aborted: 3,
          arrivals: 114,
          promptTokens: 110_000,
          promptRequests: 110,
          outputTokens: 30_000,
          finishedOutputTokens: 28_000,
        },
        gauges: {
          waiting: 4,
          running: 7,
          kvTotalTokens: 128_000,
          kvUsedTokens: 64_000,
          maxSequences: 256,
          maxBatchTokens: 8_192,
        },
        ttft: { samples: 110, sumMs: 33_500, firstBoundMs: 2.2 },
        tpot: { samples: 29_890, sumMs: 525_500, basis: "token" },
      },
    ],
    [
      "TensorRT-LLM",
      TRTLLM,
      ["trtllm.prom"],
      {
        counters: {
          finished: 40,
          aborted: 2,
          promptTokens: 42_000,
          promptRequests: 42,
          outputTokens: 8_400,
          finishedOutputTokens: 8_400,
          prefillBatches: 35,
          prefillTokens: 40_000,
        },
        gauges: {
          waiting: 1,
          running: 6,
          kvTotalTokens: 128_000,
          kvUsedTokens: 32_000,
          maxSequences: 128,
          maxBatchTokens: 8_192,
        },
        ttft: { samples: 42, sumMs: 4_500, firstBoundMs: 1 },
        tpot: { samples: 42, sumMs: 500, basis: "request" },
      },
    ],
  ])("%s", (_what, engine, files, want) => {
    const { counters, gauges, ttft, tpot, tpotBasis } = read(engine, files);
    expect(counters).toMatchObject(want.counters);
    expect(gauges).toMatchObject(want.gauges);
    expect({ samples: total(ttft), sumMs: ttft?.sumMs, firstBoundMs: ttft?.boundsMs[0] }).toEqual(want.ttft);
    expect({ samples: total(tpot), sumMs: tpot?.sumMs, basis: tpotBasis }).toEqual(want.tpot);
  });
});

describe("a server of several models", () => {
  const both = (text: string) =>
    text + text.replaceAll("llama-3-8b", "other").replace(/^vllm:cache.*\n/gm, "");
  const two = { text: both(page("vllm-0.8.prom").text) };

  test("is read for the model that the configuration names", () => {
    const one = snapshotOf(VLLM, [two], AT, "other");
    expect(one.counters.finished).toBe(10);
    expect(one.gauges.kvTotalTokens).toBe(64_000);
    expect(snapshotOf(VLLM, [two], AT).counters.finished).toBe(20);
  });

  test("that does not serve that model says which ones it does", () => {
    expect(() => snapshotOf(VLLM, [two], AT, "mistral")).toThrow(
      "vllm:num_requests_running is not exposed for model mistral, only for llama-3-8b, other",
    );
  });
});

describe("a page that is not right", () => {
  test.each([
    ["another engine's", VLLM, "trtllm.prom", (text: string) => text, /is this a vLLM server/],
    [
      "TensorRT-LLM without return_perf_metrics",
      TRTLLM,
      "trtllm.prom",
      (text: string) => text.replace(/^trtllm_(?!num|kv|max).*\n/gm, ""),
      /set return_perf_metrics: true/,
    ],
    [
      "cut off between two lines, in the middle of a histogram",
      VLLM,
      "vllm-0.8.prom",
      (text: string) =>
        text.slice(
          0,
          text.indexOf('vllm:time_to_first_token_seconds_bucket{engine="0",model_name="llama-3-8b",le="1.0"'),
        ),
      /vllm:time_to_first_token_seconds has no \+Inf bucket/,
    ],
    [
      "a label set that stands there twice",
      VLLM,
      "vllm-0.8.prom",
      (text: string) => `${text}vllm:num_requests_running{engine="0",model_name="llama-3-8b"} 3\n`,
      /vllm:num_requests_running has the labels .* twice/,
    ],
    [
      "more buckets than a window can carry",
      DYNAMO,
      "dynamo-frontend.prom",
      (text: string) =>
        Array.from(
          { length: 60 },
          (_, i) =>
            `dynamo_frontend_time_to_first_token_seconds_bucket{model="qwen3-32b",le="${481 + i}"} 110\n`,
        ).join("") + text,
      /must have 1\.\.63 bounds above 0, got 77/,
    ],
  ])("%s: a failure with a name", (_what, engine, file, change, message) => {
    expect(() => snapshotOf(engine, [{ text: change(page(file).text) }], AT)).toThrow(message);
  });

  test.each([
    ["is negative", "vllm:num_requests_running", "-1", { running: null }],
    ["is not a number", "vllm:kv_cache_usage_perc", "NaN", { kvTotalTokens: null, kvUsedTokens: null }],
    ["is without end", "vllm:num_requests_waiting", "+Inf", { waiting: null }],
  ])("a gauge that %s costs itself only, and is told", (_what, name, value, gauges) => {
    const { text } = page("vllm-dp2.prom");
    const good = snapshotOf(VLLM, [{ text }], AT);
    const line = new RegExp(`^(${name}\\{.*\\}) .*$`, "m");
    const odd = snapshotOf(VLLM, [{ text: text.replace(line, `$1 ${value}`) }], AT);
    expect(good.notes).toEqual([]);
    expect(odd.notes).toEqual([`${name} must be 0..2^53, got ${value === "+Inf" ? "Infinity" : value}`]);
    expect(odd.gauges).toEqual({ ...good.gauges, ...gauges });
    expect(odd.counters).toEqual(good.counters);
  });

  test("a histogram's sum and what is counted stay strict", () => {
    const { text } = page("vllm-dp2.prom");
    for (const name of ["vllm:time_to_first_token_seconds_sum", "vllm:generation_tokens_total"]) {
      const line = new RegExp(`^(${name}\\{.*\\}) .*$`, "m");
      expect(() => snapshotOf(VLLM, [{ text: text.replace(line, "$1 -1") }], AT)).toThrow(
        `${name} must be 0..2^53, got -1`,
      );
    }
  });

  test("an engine whose pool is not sized yet does not say how large it is", () => {
    const text = page("vllm-0.8.prom").text.replace('num_gpu_blocks="4000"', 'num_gpu_blocks="None"');
    expect(snapshotOf(VLLM, [{ text }], AT).gauges).toMatchObject({
      kvTotalTokens: null,
      kvUsedTokens: null,
    });
  });
});
