/**
 * SGLang's metrics (`--enable-metrics`; names as of metrics_collector.py @44cedc2), and the extras of
 * engine-sim where it exposes them: its clock, arrivals, TPOT per request, busy time per phase and work.
 */
import type { Clock } from "../clock.js";
import type { EngineReader, Snapshot, SnapshotCounters } from "./engine-reader.js";
import { ReadError } from "./engine-reader.js";
import { type Exposition, parseExposition } from "./exposition.js";
import { histogramOf, inMs, sumOf } from "./metric-set.js";
import { fetchText } from "./fetch-text.js";
import { readWorkCounters, readWorkGauges } from "./work-reader.js";

/** SGLang with every histogram on exposes some 200 KB; ten thousand label sets still fit. */
export const MAX_BODY_BYTES = 10_000_000;

const TTFT = "sglang:time_to_first_token_seconds";
/** Preferred: one sample per finished request, which is what an SLO on TPOT is about. */
const TPOT_PER_REQUEST = "fulcrum_sim:request_time_per_output_token_seconds";
/** Weighted by tokens; what stock SGLang has. */
const TPOT_PER_TOKEN = "sglang:inter_token_latency_seconds";

export interface SglangReaderOptions {
  readonly url: string;
  readonly timeoutMs: number;
}

export class SglangReader implements EngineReader {
  constructor(
    private readonly options: SglangReaderOptions,
    private readonly clock: Clock,
  ) {}

  async scrape(signal: AbortSignal): Promise<Snapshot> {
    const { url, timeoutMs } = this.options;
    const text = await fetchText({ url, timeoutMs, maxBytes: MAX_BODY_BYTES, signal });
    return sglangSnapshot(text, { atMs: this.clock.nowMs(), monotonicMs: this.clock.monotonicMs() });
  }
}

/**
 * Prometheus clients expose a labelled series only once it was used, so a fresh engine lacks most of them:
 * absent counters count as 0 and absent histograms as null while nothing has finished. From the first
 * finished request on, what a window cannot do without must be there.
 * @throws ReadError `malformed`, `missing_metric`
 */
export function sglangSnapshot(
  text: string,
  at: { readonly atMs: number; readonly monotonicMs: number },
): Snapshot {
  const exposition = parseExposition(text);
  const running = sumOf(exposition, "sglang:num_running_reqs");
  const counters = readCounters(exposition);
  if (running === null && counters.finished === 0) {
    throw new ReadError(
      "missing_metric",
      "sglang:num_running_reqs is not exposed: is this an SGLang engine?",
    );
  }
  const ttft = histogramOf(exposition, TTFT);
  const tpot = histogramOf(exposition, TPOT_PER_REQUEST) ?? histogramOf(exposition, TPOT_PER_TOKEN);
  if (counters.finished > 0 && ttft === null) throw new ReadError("missing_metric", `${TTFT} is not exposed`);
  // A request of one output token has no TPOT.
  if (counters.outputTokens > counters.finished && counters.finished > 0 && tpot === null) {
    throw new ReadError("missing_metric", `neither ${TPOT_PER_REQUEST} nor ${TPOT_PER_TOKEN} is exposed`);
  }
  const clockS = sumOf(exposition, "fulcrum_sim:clock_seconds");
  return {
    ...at,
    engineClockMs: inMs(clockS),
    counters,
    ttft,
    tpot,
    gauges: {
      waiting: sumOf(exposition, "sglang:num_queue_reqs"),
      running,
      ...readKv(exposition),
      ...readWorkGauges(exposition),
    },
  };
}

function readCounters(exposition: Exposition): SnapshotCounters {
  const finished = sumOf(exposition, "sglang:num_requests_total") ?? 0;
  const needed = (name: string): number => {
    const value = sumOf(exposition, name);
    if (value === null && finished > 0) throw new ReadError("missing_metric", `${name} is not exposed`);
    return value ?? 0;
  };
  const busyS = (phase: string): number | null =>
    sumOf(exposition, "fulcrum_sim:busy_seconds_total", (labels) => labels["phase"] === phase);
  return {
    finished,
    promptTokens: needed("sglang:prompt_tokens_total"),
    outputTokens: needed("sglang:generation_tokens_total"),
    aborted: sumOf(exposition, "sglang:num_aborted_requests_total"),
    arrivals: sumOf(exposition, "fulcrum_sim:requests_arrived_total"),
    arrivedPromptTokens: sumOf(exposition, "fulcrum_sim:arrived_prompt_tokens_total"),
    preemptions: sumOf(exposition, "sglang:num_retracted_requests_total"),
    prefillBusyMs: inMs(busyS("prefill")),
    decodeBusyMs: inMs(busyS("decode")),
    ...readWorkCounters(exposition),
  };
}

function readKv(exposition: Exposition): { kvTotalTokens: number | null; kvUsedTokens: number | null } {
  const kvTotalTokens = sumOf(exposition, "sglang:max_total_num_tokens");
  return { kvTotalTokens, kvUsedTokens: sumOf(exposition, "sglang:num_used_tokens") };
}
