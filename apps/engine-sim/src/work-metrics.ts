import { Counter, Gauge, type Registry } from "prom-client";
import type { InstanceState } from "@fulcrum/simulator/instance.js";

/** Ends the help of a metric that has no counterpart in SGLang or vLLM. */
const OWN = "; Fulcrum's own name, neither SGLang nor vLLM exports it";

/**
 * What the workers did: the load that came in and what an iteration costs. Iterations and prefilled tokens stand
 * under SGLang's names; the rest, which no engine exports today, under `fulcrum:`, so that any engine may.
 * Counters are as of the state given: what runs counts with its time so far, an iteration when it ends.
 */
export class WorkMetrics {
  readonly #passes: Counter<"mode">;
  readonly #tokens: Counter<"mode">;
  readonly #gpu: Counter<"phase">;
  readonly #sequences: Counter;
  readonly #context: Counter;
  readonly #overlap: Counter;
  readonly #promptSq: Counter;
  readonly #finishedTokens: Counter;
  readonly #waitingTokens: Gauge;
  readonly #oldestWait: Gauge;
  readonly #decodeWaiting: Gauge;

  constructor(
    registry: Registry,
    limits: { readonly maxSequences: number; readonly maxBatchTokens: number },
  ) {
    const registers = [registry];
    this.#passes = new Counter({
      name: "sglang:cuda_graph_passes_total",
      help: "Iterations that ended, by phase; the simulated engine captures no graph, so every mode is _none",
      labelNames: ["mode"],
      registers,
    });
    this.#tokens = new Counter({
      name: "sglang:realtime_tokens_total",
      help: "Prompt tokens of the prefill iterations that ended, what was prefilled again included",
      labelNames: ["mode"],
      registers,
    });
    this.#gpu = new Counter({
      name: "fulcrum:phase_gpu_seconds_total",
      help: `Seconds in which a phase ran, times the share of the GPU that it had${OWN}`,
      labelNames: ["phase"],
      registers,
    });
    const counter = (name: string, help: string) => new Counter({ name, help: help + OWN, registers });
    const gauge = (name: string, help: string) => new Gauge({ name, help: help + OWN, registers });
    this.#sequences = counter(
      "fulcrum:decode_iteration_sequences_total",
      "Sequences of the decode iterations that ended, summed over the iterations",
    );
    this.#context = counter(
      "fulcrum:decode_context_token_seconds_total",
      "Context tokens of the decode batch times the seconds that it ran",
    );
    this.#overlap = counter("fulcrum:overlap_seconds_total", "Seconds in which both phases ran an iteration");
    this.#promptSq = counter(
      "fulcrum:prompt_tokens_squared_total",
      "Squared prompt length, summed over the requests that arrived",
    );
    this.#finishedTokens = counter(
      "fulcrum:finished_output_tokens_total",
      "Output tokens of the requests that finished, counted when they finish",
    );
    this.#waitingTokens = gauge("fulcrum:prefill_waiting_tokens", "Prompt tokens that wait for prefill");
    this.#oldestWait = gauge(
      "fulcrum:oldest_wait_seconds",
      "How long the first request in the prefill queue has waited since it arrived",
    );
    this.#decodeWaiting = gauge(
      "fulcrum:decode_waiting_reqs",
      "Requests that are prefilled and wait for a place in the decode batch",
    );
    gauge("fulcrum:max_sequences", "Most sequences in a decode iteration").set(limits.maxSequences);
    gauge("fulcrum:max_batch_tokens", "Most prompt tokens in a prefill iteration").set(limits.maxBatchTokens);
  }

  finished(outputTokens: number): void {
    this.#finishedTokens.inc(outputTokens);
  }

  /** Sets everything to what `state` says. */
  update(state: InstanceState): void {
    const { work } = state;
    setTo(this.#passes, [
      [{ mode: "prefill_none" }, work.iterations.prefill],
      [{ mode: "decode_none" }, work.iterations.decode],
    ]);
    setTo(this.#tokens, [[{ mode: "prefill_compute" }, work.sizes.prefill]]);
    setTo(this.#gpu, [
      [{ phase: "prefill" }, work.gpuMs.prefill / 1000],
      [{ phase: "decode" }, work.gpuMs.decode / 1000],
    ]);
    setTo(this.#sequences, [[{}, work.sizes.decode]]);
    setTo(this.#context, [[{}, work.contextTokenMs / 1000]]);
    setTo(this.#overlap, [[{}, work.overlapMs / 1000]]);
    setTo(this.#promptSq, [[{}, work.promptTokensSq]]);
    this.#waitingTokens.set(state.prefillWaitingTokens);
    this.#oldestWait.set(state.oldestWaitMs / 1000);
    this.#decodeWaiting.set(state.decodeWaiting);
  }
}

/** A counter that somebody else counts: the sums are the simulator's. */
function setTo<T extends string>(
  counter: Counter<T>,
  values: readonly (readonly [Partial<Record<T, string>>, number])[],
): void {
  counter.reset();
  for (const [labels, value] of values) counter.inc(labels, value);
}
