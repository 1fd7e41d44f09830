import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { InstanceState } from "@fulcrum/simulator/instance.js";
import type { SimEvent, SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { FINE_BUCKETS, SGLANG_BUCKETS } from "./buckets.js";
import { ClassMetrics } from "./class-metrics.js";
import type { SloBounds } from "./options.js";
import { WorkMetrics } from "./work-metrics.js";

/** Engine time over which gen_throughput is averaged, at least. */
const THROUGHPUT_MS = 1000;

/**
 * The engine's metrics under SGLang's names and labels, in seconds of engine time, and what a simulated
 * engine can tell besides under `fulcrum_sim:` and, of its work, under `fulcrum:`. Counters count when it
 * happens: prompt tokens at the end of their prefill, generated tokens as they are generated, requests when
 * they finish.
 */
export class EngineMetrics {
  readonly #registry = new Registry();
  readonly #ttft: Histogram;
  readonly #interToken: Histogram;
  readonly #e2e: Histogram;
  readonly #queue: Histogram;
  readonly #tpot: Histogram;
  readonly #promptTokens = this.#counter("sglang:prompt_tokens_total", "Prompt tokens prefilled");
  readonly #generationTokens = this.#counter("sglang:generation_tokens_total", "Tokens generated");
  readonly #requests = this.#counter("sglang:num_requests_total", "Requests finished");
  readonly #aborted = this.#counter("sglang:num_aborted_requests_total", "Requests refused");
  readonly #retracted = this.#counter("sglang:num_retracted_requests_total", "Preemptions");
  readonly #arrived = this.#counter("fulcrum_sim:requests_arrived_total", "Requests arrived");
  readonly #arrivedTokens = this.#counter("fulcrum_sim:arrived_prompt_tokens_total", "Their prompt tokens");
  readonly #gauges = {
    running: this.#gauge("sglang:num_running_reqs", "Requests past their prefill"),
    used: this.#gauge("sglang:num_used_tokens", "Tokens of KV blocks in use"),
    usage: this.#gauge("sglang:token_usage", "Share of the KV pool in use"),
    waiting: this.#gauge("sglang:num_queue_reqs", "Requests waiting for prefill"),
    total: this.#gauge("sglang:max_total_num_tokens", "Size of the KV pool in tokens"),
    throughput: this.#gauge("sglang:gen_throughput", "Tokens generated per second of engine time"),
    retracted: this.#gauge("sglang:num_retracted_reqs", "Preempted requests waiting to be prefilled again"),
    clock: this.#gauge("fulcrum_sim:clock_seconds", "Engine time"),
    quota: this.#gauge("fulcrum_sim:kv_quota_pct", "Share of the KV pool that prefill may hold"),
    generation: this.#gauge("fulcrum_sim:generation", "Generation that both workers run"),
  };
  readonly #split: Gauge<"phase" | "kind">;
  readonly #busy: Counter<"phase">;
  readonly #attained: Counter<"result">;
  readonly #work: WorkMetrics;
  readonly #classes: ClassMetrics | null;
  #throughput = { sinceMs: 0, tokens: 0, perS: 0 };
  #generated = 0;

  constructor(
    { name, maxBatch, maxBatchedTokens }: Pick<Profile, "name" | "maxBatch" | "maxBatchedTokens">,
    fineBuckets: boolean,
    private readonly slo: SloBounds | null = null,
    tellsClasses = false,
  ) {
    const buckets = fineBuckets ? FINE_BUCKETS : SGLANG_BUCKETS;
    this.#registry.setDefaultLabels({
      model_name: name,
      engine_type: "unified",
      tp_rank: "0",
      pp_rank: "0",
    });
    this.#ttft = this.#histogram(
      "sglang:time_to_first_token_seconds",
      "Arrival to first token",
      buckets.ttft,
    );
    this.#interToken = this.#histogram(
      "sglang:inter_token_latency_seconds",
      "Time between two tokens of a request, one sample per token",
      buckets.interToken,
    );
    this.#e2e = this.#histogram("sglang:e2e_request_latency_seconds", "Arrival to last token", buckets.e2e);
    this.#queue = this.#histogram(
      "sglang:queue_time_seconds",
      "Arrival to admission by prefill",
      buckets.queue,
    );
    this.#tpot = this.#histogram(
      "fulcrum_sim:request_time_per_output_token_seconds",
      "(last - first token) / (tokens - 1), one sample per finished request",
      buckets.interToken,
    );
    this.#work = new WorkMetrics(this.#registry, {
      maxSequences: maxBatch,
      maxBatchTokens: maxBatchedTokens,
    });
    this.#classes = tellsClasses
      ? new ClassMetrics(this.#registry, { ttft: buckets.ttft, tpot: buckets.interToken })
      : null;
    const registers = [this.#registry];
    this.#split = new Gauge({
      name: "fulcrum_sim:split_pct",
      help: "SM cap of a phase's worker",
      labelNames: ["phase", "kind"],
      registers,
    });
    this.#busy = new Counter({
      name: "fulcrum_sim:busy_seconds_total",
      help: "Engine time in which a phase's worker ran an iteration",
      labelNames: ["phase"],
      registers,
    });
    this.#attained = new Counter({
      name: "fulcrum_sim:slo_requests_total",
      help: "Finished requests by which of the two bounds they kept",
      labelNames: ["result"],
      registers,
    });
  }

  /** Both phases of one request are known only here: two histograms cannot tell whether the same request kept both. */
  #countAttained(ttftMs: number, tpotMs: number | null): void {
    if (this.slo === null) return;
    const ttftOk = ttftMs <= this.slo.ttftMs;
    // An answer of one token has no time per later token to miss.
    const tpotOk = tpotMs === null || tpotMs <= this.slo.tpotMs;
    const result = ttftOk ? (tpotOk ? "both" : "ttft_only") : tpotOk ? "tpot_only" : "neither";
    this.#attained.inc({ result });
  }

  record(events: readonly SimEvent[]): void {
    for (const event of events) {
      this.#classes?.record(event);
      this.#recordEvent(event);
    }
  }

  /** Before the first event of a request. */
  submitted(request: SimRequest): void {
    this.#classes?.submitted(request);
  }

  /** The Prometheus text, with gauges as of `state`. */
  async expose(state: InstanceState): Promise<string> {
    const { gauges, throughput } = { gauges: this.#gauges, throughput: this.#throughputAt(state.nowMs) };
    gauges.running.set(state.decodeRunning + state.decodeWaiting);
    gauges.used.set(state.kvUsedTokens);
    gauges.usage.set(state.kvUsedTokens / state.kvTotalTokens);
    gauges.waiting.set(state.prefillWaiting);
    gauges.total.set(state.kvTotalTokens);
    gauges.throughput.set(throughput);
    gauges.retracted.set(state.preemptedWaiting);
    gauges.clock.set(state.nowMs / 1000);
    gauges.quota.set(state.delivered.kvQuotaPct);
    gauges.generation.set(state.generation);
    for (const [kind, { split }] of [
      ["asked", state.asked],
      ["delivered", state.delivered],
    ] as const) {
      this.#split.set({ phase: "prefill", kind }, split.prefillSmPct);
      this.#split.set({ phase: "decode", kind }, split.decodeSmPct);
    }
    this.#busy.reset();
    this.#busy.inc({ phase: "prefill" }, state.work.busyMs.prefill / 1000);
    this.#busy.inc({ phase: "decode" }, state.work.busyMs.decode / 1000);
    this.#work.update(state);
    return await this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  #recordEvent(event: SimEvent): void {
    switch (event.type) {
      case "arrived":
        this.#arrived.inc();
        this.#arrivedTokens.inc(event.promptTokens);
        return;
      case "refused":
        this.#aborted.inc();
        return;
      case "first_token":
        this.#ttft.observe(event.ttftMs / 1000);
        this.#queue.observe(event.queuedMs / 1000);
        this.#promptTokens.inc(event.promptTokens);
        this.#countGenerated(1);
        return;
      case "tokens":
        for (const { itlMs, count } of event.groups) {
          for (let i = 0; i < count; i += 1) this.#interToken.observe(itlMs / 1000);
          this.#countGenerated(count);
        }
        return;
      case "finished":
        this.#requests.inc();
        this.#work.finished(event.outputTokens);
        this.#e2e.observe(event.e2eMs / 1000);
        if (event.tpotMs !== null) this.#tpot.observe(event.tpotMs / 1000);
        this.#countAttained(event.ttftMs, event.tpotMs);
        return;
      case "preempted":
        this.#retracted.inc();
        return;
      case "switched":
        return;
    }
  }

  #countGenerated(count: number): void {
    this.#generationTokens.inc(count);
    this.#generated += count;
  }

  #throughputAt(nowMs: number): number {
    const { sinceMs, tokens } = this.#throughput;
    if (nowMs - sinceMs >= THROUGHPUT_MS) {
      const perS = ((this.#generated - tokens) / (nowMs - sinceMs)) * 1000;
      this.#throughput = { sinceMs: nowMs, tokens: this.#generated, perS };
    }
    return this.#throughput.perS;
  }

  #counter(name: string, help: string): Counter {
    return new Counter({ name, help, registers: [this.#registry] });
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: [this.#registry] });
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name, help, buckets, registers: [this.#registry] });
  }
}
