import { expect, test } from "vitest";
import { expositionOf } from "../testing/exposition-text.js";
import { snapshotOf } from "./engine-metrics.js";
import { SGLANG } from "./sglang-metrics.js";

const AT = { atMs: 1_000, monotonicMs: 10 };
const SERVING = expositionOf({ arrivals: 3, finished: 2 });
const read = (...lines: string[]) => snapshotOf(SGLANG, [{ text: [SERVING, ...lines, ""].join("\n") }], AT);

test("engine-sim's work is read in milliseconds and tokens", () => {
  const { counters, gauges } = read(
    'sglang:cuda_graph_passes_total{mode="prefill_none"} 12',
    'sglang:cuda_graph_passes_total{mode="decode_none"} 340',
    'sglang:realtime_tokens_total{mode="prefill_compute"} 5600',
    'fulcrum:phase_gpu_seconds_total{phase="prefill"} 1.5',
    'fulcrum:phase_gpu_seconds_total{phase="decode"} 4',
    "fulcrum:decode_iteration_sequences_total 9000",
    "fulcrum:decode_context_token_seconds_total 123.5",
    "fulcrum:overlap_seconds_total 0.75",
    "fulcrum:prompt_tokens_squared_total 4e+18",
    "fulcrum:finished_output_tokens_total 77",
    "fulcrum:prefill_waiting_tokens 800",
    "fulcrum:oldest_wait_seconds 0.25",
    "fulcrum:decode_waiting_reqs 2",
    "fulcrum:max_sequences 256",
    "fulcrum:max_batch_tokens 8192",
  );
  expect(counters).toMatchObject({
    promptTokensSq: 4e18,
    finishedOutputTokens: 77,
    prefillBatches: 12,
    prefillTokens: 5_600,
    decodeSteps: 340,
    decodeSequences: 9_000,
    decodeContextTokenMs: 123_500,
    overlapMs: 750,
    prefillGpuMs: 1_500,
    decodeGpuMs: 4_000,
  });
  expect(gauges).toMatchObject({
    prefillWaitingTokens: 800,
    oldestWaitMs: 250,
    decodeWaiting: 2,
    maxSequences: 256,
    maxBatchTokens: 8_192,
  });
});

test("a recent SGLang tells its iterations and prefilled tokens, counted once of a group of ranks", () => {
  const labels = (mode: string, rank: number) => `{mode="${mode}",model_name="m",tp_rank="${rank}"}`;
  const { counters, gauges } = read(
    `sglang:cuda_graph_passes_total${labels("decode_cuda_graph", 0)} 300`,
    `sglang:cuda_graph_passes_total${labels("decode_none", 0)} 7`,
    `sglang:cuda_graph_passes_total${labels("decode_cuda_graph", 1)} 300`,
    `sglang:cuda_graph_passes_total${labels("prefill_none", 0)} 21`,
    `sglang:realtime_tokens_total${labels("prefill_compute", 0)} 4000`,
    `sglang:realtime_tokens_total${labels("prefill_cache", 0)} 9000`,
    `sglang:realtime_tokens_total${labels("decode", 0)} 5000`,
  );
  expect(counters).toMatchObject({
    decodeSteps: 307,
    prefillBatches: 21,
    prefillTokens: 4_000,
    // Not of finished requests in every release, and not sequences with speculative decoding.
    finishedOutputTokens: null,
    decodeSequences: null,
    overlapMs: null,
  });
  expect(gauges).toMatchObject({ prefillWaitingTokens: null, oldestWaitMs: null, decodeWaiting: null });
});

test("an SGLang without any of it reads as one that does not say", () => {
  const { counters } = read();
  expect(counters).toMatchObject({ promptTokensSq: null, prefillBatches: null, decodeSteps: null });
});

test("a count that is no number is a failure with a name, as with any other", () => {
  expect(() => read("fulcrum:overlap_seconds_total NaN")).toThrow(
    "fulcrum:overlap_seconds_total must be 0..",
  );
  expect(() => read("fulcrum:prompt_tokens_squared_total 1e40")).toThrow("must be 0..1e+30, got 1e+40");
});
