/**
 * The metrics that tell what the workers did. Iterations and prefilled tokens under the names of a recent SGLang
 * (metrics_collector.py: both counted once per iteration); the rest under `fulcrum:`, where no engine has a name of
 * its own. What is not exposed is null.
 *
 * SGLang's generation_tokens_total is not read as finished tokens: it counts at the finish in some releases only.
 * Nor is its realtime_tokens_total{mode="decode"} read as sequences: with speculative decoding it counts more.
 */
import type { WorkCounters, WorkGauges } from "./engine-reader.js";
import { inMs, type MetricSet } from "./metric-set.js";

/** One prompt of 100,000 tokens a second passes 2^53 in eleven days; as a double it goes on, to 16 digits. */
const MAX_SQUARED = 1e30;

export function readWorkCounters(metrics: MetricSet): WorkCounters {
  const passes = (phase: string): number | null =>
    metrics.counter(
      "sglang:cuda_graph_passes_total",
      (labels) => labels["mode"]?.startsWith(`${phase}_`) === true,
    );
  const gpuS = (phase: string): number | null =>
    metrics.counter("fulcrum:phase_gpu_seconds_total", (labels) => labels["phase"] === phase);
  return {
    promptTokensSq: metrics.counter("fulcrum:prompt_tokens_squared_total", () => true, MAX_SQUARED),
    finishedOutputTokens: metrics.counter("fulcrum:finished_output_tokens_total"),
    prefillBatches: passes("prefill"),
    prefillTokens: metrics.counter(
      "sglang:realtime_tokens_total",
      (labels) => labels["mode"] === "prefill_compute",
    ),
    decodeSteps: passes("decode"),
    decodeSequences: metrics.counter("fulcrum:decode_iteration_sequences_total"),
    decodeContextTokenMs: inMs(metrics.counter("fulcrum:decode_context_token_seconds_total")),
    overlapMs: inMs(metrics.counter("fulcrum:overlap_seconds_total")),
    prefillGpuMs: inMs(gpuS("prefill")),
    decodeGpuMs: inMs(gpuS("decode")),
  };
}

export function readWorkGauges(metrics: MetricSet): WorkGauges {
  return {
    prefillWaitingTokens: metrics.gauge("fulcrum:prefill_waiting_tokens"),
    oldestWaitMs: inMs(metrics.gauge("fulcrum:oldest_wait_seconds")),
    decodeWaiting: metrics.gauge("fulcrum:decode_waiting_reqs"),
    maxSequences: metrics.gauge("fulcrum:max_sequences"),
    maxBatchTokens: metrics.gauge("fulcrum:max_batch_tokens"),
  };
}
