/**
 * SGLang's metrics (`--enable-metrics`; srt/observability/metrics_collector.py as of 016d860), and the extras of
 * engine-sim where it exposes them: its clock, arrivals, TPOT per request, busy time per phase and work.
 */
import { type EngineMetrics, neededOnce, type Reading, readLatencies } from "./engine-metrics.js";
import { type SnapshotCounters, UNTOLD_COUNTERS, UNTOLD_GAUGES } from "./engine-reader.js";
import { inMs, type MetricSet } from "./metric-set.js";
import { readClasses } from "./class-metrics.js";
import { readWorkCounters, readWorkGauges } from "./work-metrics.js";

const LATENCIES = {
  ttft: "sglang:time_to_first_token_seconds",
  tpotPerRequest: ["fulcrum_sim:request_time_per_output_token_seconds"],
  tpotPerToken: ["sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"],
} as const;

export const SGLANG: EngineMetrics = {
  engine: "sglang",
  prefixes: ["sglang:", "fulcrum"],
  modelLabel: "model_name",
  // With priority scheduling the queue gauges stand there as a total (priority="") and once per priority.
  isBreakdown: ({ priority }) => priority !== undefined && priority !== "",
  read,
};

function read(metrics: MetricSet): Reading {
  const running = metrics.gauge("sglang:num_running_reqs");
  const counters = readCounters(metrics);
  if (running === null && counters.finished === 0) {
    throw metrics.absent("sglang:num_running_reqs", "an SGLang engine with --enable-metrics");
  }
  return {
    engineClockMs: inMs(metrics.neededGauge("fulcrum_sim:clock_seconds")),
    counters,
    ...readLatencies(metrics, LATENCIES, counters),
    ...readClasses(metrics),
    gauges: {
      ...UNTOLD_GAUGES,
      waiting: metrics.gauge("sglang:num_queue_reqs"),
      running,
      kvTotalTokens: metrics.gauge("sglang:max_total_num_tokens"),
      kvUsedTokens: metrics.gauge("sglang:num_used_tokens"),
      ...readWorkGauges(metrics),
    },
  };
}

function readCounters(metrics: MetricSet): SnapshotCounters {
  const finished = metrics.counter("sglang:num_requests_total") ?? 0;
  const needed = (name: string): number => neededOnce(finished, metrics.counter(name), name);
  const busyS = (phase: string): number | null =>
    metrics.counter("fulcrum_sim:busy_seconds_total", (labels) => labels["phase"] === phase);
  return {
    ...UNTOLD_COUNTERS,
    finished,
    promptTokens: needed("sglang:prompt_tokens_total"),
    outputTokens: needed("sglang:generation_tokens_total"),
    aborted: metrics.counter("sglang:num_aborted_requests_total"),
    arrivals: metrics.counter("fulcrum_sim:requests_arrived_total"),
    arrivedPromptTokens: metrics.counter("fulcrum_sim:arrived_prompt_tokens_total"),
    preemptions: metrics.counter("sglang:num_retracted_requests_total"),
    prefillBusyMs: inMs(busyS("prefill")),
    decodeBusyMs: inMs(busyS("decode")),
    ...readWorkCounters(metrics),
  };
}
