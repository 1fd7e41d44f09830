/**
 * TensorRT-LLM's metrics, `/prometheus/metrics` of trtllm-serve (tensorrt_llm/metrics/collector.py as of 050f80d).
 * Requests need `return_perf_metrics`, gauges and iterations `enable_iter_perf_stats`. All that it counts of a
 * request it counts when the request ends.
 */
import { type EngineMetrics, neededOnce, type Reading, readLatencies } from "./engine-metrics.js";
import { ReadError, type SnapshotCounters, UNTOLD_COUNTERS, UNTOLD_GAUGES } from "./engine-reader.js";
import type { Labels, MetricSet } from "./metric-set.js";

const LATENCIES = {
  ttft: "trtllm_time_to_first_token_seconds",
  tpotPerRequest: ["trtllm_time_per_output_token_seconds"],
  tpotPerToken: [],
} as const;

/** Ends of a request that has no whole answer. */
const BROKEN_OFF: ReadonlySet<string | undefined> = new Set(["cancelled", "timeout"]);

export const TRTLLM: EngineMetrics = {
  engine: "trtllm",
  prefixes: ["trtllm_"],
  modelLabel: "model_name",
  read,
};

function read(metrics: MetricSet): Reading {
  const running = metrics.gauge("trtllm_num_requests_running");
  const counters = readCounters(metrics);
  if (running === null && counters.finished === 0) {
    throw metrics.absent(
      "trtllm_num_requests_running",
      "trtllm-serve with return_perf_metrics and enable_iter_perf_stats",
    );
  }
  const blockTokens = metrics.gauge("trtllm_kv_cache_tokens_per_block");
  const blocks = (name: string): number | null => {
    const count = metrics.gauge(`trtllm_kv_cache_${name}_blocks`);
    return count === null || blockTokens === null ? null : count * blockTokens;
  };
  return {
    engineClockMs: null,
    counters,
    ...readLatencies(metrics, LATENCIES, counters),
    gauges: {
      ...UNTOLD_GAUGES,
      waiting: metrics.gauge("trtllm_num_requests_waiting"),
      running,
      kvTotalTokens: blocks("max"),
      kvUsedTokens: blocks("used"),
      maxSequences: metrics.gauge("trtllm_max_batch_size_runtime"),
      maxBatchTokens: metrics.gauge("trtllm_max_num_tokens_runtime"),
    },
  };
}

function readCounters(metrics: MetricSet): SnapshotCounters {
  const brokenOff = ({ finished_reason: reason }: Labels): boolean => BROKEN_OFF.has(reason);
  const ended = (only: (labels: Labels) => boolean): number | null =>
    metrics.counter("trtllm_request_success_total", only);
  const finished = ended((labels) => !brokenOff(labels)) ?? 0;
  const completed = metrics.counter("trtllm_num_requests_completed_total") ?? 0;
  if (finished === 0 && completed > 0 && ended(() => true) === null) {
    throw new ReadError(
      "missing_metric",
      "trtllm_request_success_total is not exposed though requests have completed: set return_perf_metrics: true",
    );
  }
  const needed = (name: string): number => neededOnce(finished, metrics.counter(name), name);
  const outputTokens = needed("trtllm_generation_tokens_total");
  return {
    ...UNTOLD_COUNTERS,
    finished,
    promptTokens: needed("trtllm_prompt_tokens_total"),
    promptRequests: ended(() => true),
    outputTokens,
    aborted: ended(brokenOff),
    finishedOutputTokens: outputTokens,
    // One sample per iteration that carried context tokens.
    prefillBatches: metrics.counter("trtllm_prefill_batch_tokens_count"),
    prefillTokens: metrics.counter("trtllm_prefill_batch_tokens_sum"),
  };
}
