/**
 * NVIDIA Dynamo: the frontend's metrics (lib/llm/src/http/service/metrics.rs as of 0014908), and those of the workers'
 * system port (`dynamo_component_`) where its URL is given too. A frontend counts for all workers behind it, so it
 * measures one instance only when it has one; else read the worker's own engine metrics at its system port.
 */
import { type EngineMetrics, neededOnce, type Reading, readLatencies } from "./engine-metrics.js";
import { type SnapshotCounters, UNTOLD_COUNTERS, UNTOLD_GAUGES } from "./engine-reader.js";
import type { Labels, MetricSet } from "./metric-set.js";

const LATENCIES = {
  ttft: "dynamo_frontend_time_to_first_token_seconds",
  tpotPerRequest: [],
  tpotPerToken: ["dynamo_frontend_inter_token_latency_seconds"],
} as const;

/** Endpoints whose requests have no tokens to wait for. */
const NOT_GENERATING: ReadonlySet<string | undefined> = new Set([
  "embeddings",
  "images",
  "videos",
  "audios",
  "tensor",
]);

export const DYNAMO: EngineMetrics = {
  engine: "dynamo",
  prefixes: ["dynamo_frontend_", "dynamo_component_"],
  modelLabel: "model",
  read,
};

function read(metrics: MetricSet): Reading {
  const inside = metrics.gauge(["dynamo_frontend_active_requests", "dynamo_frontend_inflight_requests"]);
  const queued = metrics.gauge("dynamo_frontend_queued_requests");
  const counters = readCounters(metrics);
  if (inside === null && counters.finished === 0) {
    throw metrics.absent("dynamo_frontend_inflight_requests", "a Dynamo frontend");
  }
  return {
    engineClockMs: null,
    counters,
    ...readLatencies(metrics, LATENCIES, counters),
    gauges: {
      ...UNTOLD_GAUGES,
      // Queued is everything that has no token yet, what is being prefilled included.
      waiting: queued,
      running: inside === null || queued === null ? inside : Math.max(0, inside - queued),
      ...readKv(metrics),
      maxSequences: metrics.gauge("dynamo_frontend_model_max_num_seqs"),
      maxBatchTokens: metrics.gauge("dynamo_frontend_model_max_num_batched_tokens"),
    },
  };
}

function readCounters(metrics: MetricSet): SnapshotCounters {
  const generating = ({ endpoint }: Labels): boolean => !NOT_GENERATING.has(endpoint);
  const ended = (status: string): number | null =>
    metrics.counter(
      "dynamo_frontend_requests_total",
      (labels) => generating(labels) && labels["status"] === status,
    );
  const finished = ended("success") ?? 0;
  const prompts = "dynamo_frontend_input_sequence_tokens";
  const answers = metrics.counter("dynamo_frontend_output_sequence_tokens_sum");
  const outputTokens = metrics.counter("dynamo_frontend_output_tokens_total") ?? answers;
  return {
    ...UNTOLD_COUNTERS,
    finished,
    promptTokens: neededOnce(finished, metrics.counter(`${prompts}_sum`), `${prompts}_sum`),
    // Observed with the first token, not at the end.
    promptRequests: metrics.counter(`${prompts}_count`),
    outputTokens: neededOnce(finished, outputTokens, "dynamo_frontend_output_tokens_total"),
    aborted: ended("error"),
    arrivals: metrics.counter("dynamo_frontend_requests_started_total", generating),
    finishedOutputTokens: answers,
  };
}

/** Blocks of all workers whose pages are given; their size only the frontend tells. */
function readKv(metrics: MetricSet): { kvTotalTokens: number | null; kvUsedTokens: number | null } {
  const blockTokens = metrics.gauge("dynamo_frontend_model_kv_cache_block_size");
  const totals = metrics.gauges(["dynamo_component_total_blocks", "dynamo_component_kvstats_total_blocks"]);
  const usages = metrics.gauges([
    "dynamo_component_gpu_cache_usage_percent",
    "dynamo_component_kvstats_gpu_cache_usage_percent",
  ]);
  if (blockTokens === null || totals.length === 0) return { kvTotalTokens: null, kvUsedTokens: null };
  const same = (left: Labels, right: Labels): boolean =>
    Object.entries(left).every(([label, value]) => right[label] === value);
  let usedTokens: number | null = 0;
  for (const { page, labels, value } of totals) {
    const usage = usages.find((each) => each.page === page && same(labels, each.labels));
    // 0..1 in spite of its name.
    if (usage === undefined) usedTokens = null;
    else if (usedTokens !== null) usedTokens += value * blockTokens * Math.min(1, usage.value);
  }
  const kvTotalTokens = totals.reduce((sum, { value }) => sum + value * blockTokens, 0);
  return { kvTotalTokens, kvUsedTokens: usedTokens === null ? null : Math.round(usedTokens) };
}
