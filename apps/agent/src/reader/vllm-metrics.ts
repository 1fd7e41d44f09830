/**
 * vLLM's metrics, V1 (vllm/v1/metrics/loggers.py and buckets.py as of 139b1c3). A metric that was renamed is read
 * under both names.
 */
import { type EngineMetrics, neededOnce, type Reading, readLatencies } from "./engine-metrics.js";
import { type SnapshotCounters, UNTOLD_COUNTERS, UNTOLD_GAUGES } from "./engine-reader.js";
import type { Labels, MetricSet } from "./metric-set.js";

const LATENCIES = {
  ttft: "vllm:time_to_first_token_seconds",
  tpotPerRequest: ["vllm:request_time_per_output_token_seconds"],
  tpotPerToken: ["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"],
} as const;

/** The second is V0's and early V1's name. */
const KV_USAGE = ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];

/** Ends of a request that has no whole answer; `error` in later releases only. */
const BROKEN_OFF: ReadonlySet<string | undefined> = new Set(["abort", "error"]);

export const VLLM: EngineMetrics = {
  engine: "vllm",
  prefixes: ["vllm:"],
  modelLabel: "model_name",
  read,
};

function read(metrics: MetricSet): Reading {
  const running = metrics.gauge("vllm:num_requests_running");
  const counters = readCounters(metrics);
  if (running === null && counters.finished === 0) {
    throw metrics.absent("vllm:num_requests_running", "a vLLM server");
  }
  return {
    engineClockMs: null,
    counters,
    ...readLatencies(metrics, LATENCIES, counters),
    gauges: {
      ...UNTOLD_GAUGES,
      waiting: metrics.gauge("vllm:num_requests_waiting"),
      running,
      ...readKv(metrics),
    },
  };
}

/** Prompt tokens are taken of finished requests, since prompt_tokens_total counts at prefill, queue left out. */
function readCounters(metrics: MetricSet): SnapshotCounters {
  const success = (only: (labels: Labels) => boolean): number | null =>
    metrics.counter("vllm:request_success_total", only);
  const aborted = ({ finished_reason: reason }: Labels): boolean => BROKEN_OFF.has(reason);
  const finished = success((labels) => !aborted(labels)) ?? 0;
  const promptsSum = metrics.counter("vllm:request_prompt_tokens_sum");
  const prompts =
    promptsSum === null
      ? { promptTokens: metrics.counter("vllm:prompt_tokens_total"), promptRequests: null }
      : {
          promptTokens: promptsSum,
          promptRequests: metrics.counter("vllm:request_prompt_tokens_count"),
        };
  const generated = "vllm:generation_tokens_total";
  return {
    ...UNTOLD_COUNTERS,
    finished,
    promptTokens: neededOnce(finished, prompts.promptTokens, "vllm:prompt_tokens_total"),
    promptRequests: prompts.promptRequests,
    outputTokens: neededOnce(finished, metrics.counter(generated), generated),
    aborted: success(aborted),
    preemptions: metrics.counter("vllm:num_preemptions_total"),
    finishedOutputTokens: metrics.counter("vllm:request_generation_tokens_sum"),
    prefillTokens: metrics.counter(
      "vllm:prompt_tokens_by_source_total",
      ({ source }) => source === "local_compute",
    ),
  };
}

/**
 * Blocks times their size, per engine: the size of the pool stands in the labels of an info gauge. Null while the
 * engine has not sized it (num_gpu_blocks="None").
 */
function readKv(metrics: MetricSet): { kvTotalTokens: number | null; kvUsedTokens: number | null } {
  const pools = metrics.gauges("vllm:cache_config_info").map(({ page, labels }) => ({
    page,
    engine: labels["engine"],
    tokens: Number(labels["num_gpu_blocks"]) * Number(labels["block_size"]),
  }));
  let kvTotalTokens = 0;
  let kvUsedTokens = 0;
  const usages = metrics.gauges(KV_USAGE);
  for (const { page, labels, value } of usages) {
    const here = pools.filter((pool) => pool.page === page);
    // Releases without an engine label there have one line for all of a server's equal engines.
    const pool =
      here.find(({ engine }) => engine === labels["engine"]) ??
      here.find(({ engine }) => engine === undefined);
    if (!pool || !(pool.tokens > 0)) return { kvTotalTokens: null, kvUsedTokens: null };
    kvTotalTokens += pool.tokens;
    kvUsedTokens += pool.tokens * Math.min(1, value);
  }
  return usages.length === 0
    ? { kvTotalTokens: null, kvUsedTokens: null }
    : { kvTotalTokens, kvUsedTokens: Math.round(kvUsedTokens) };
}
