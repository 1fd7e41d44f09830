import { Counter, Histogram, type Registry } from "prom-client";
import type { SimEvent, SimRequest } from "@fulcrum/simulator/job.js";

/** Ends the help: no engine has these under names of its own. */
const OWN = "; Fulcrum's own name, neither SGLang nor vLLM exports it";

/** Arrivals, prompts and latencies by the kind of request, with the bounds of the engine's own histograms. */
export class ClassMetrics {
  readonly #kinds = new Map<number, string>();
  readonly #arrived: Counter<"class">;
  readonly #tokens: Counter<"class">;
  readonly #squares: Counter<"class">;
  readonly #ttft: Histogram<"class">;
  readonly #tpot: Histogram<"class">;

  constructor(registry: Registry, bounds: { readonly ttft: number[]; readonly tpot: number[] }) {
    const common = { labelNames: ["class"] as const, registers: [registry] };
    const counter = (name: string, help: string) => new Counter({ name, help: help + OWN, ...common });
    this.#arrived = counter("fulcrum:class_requests_arrived_total", "Requests arrived, by class");
    this.#tokens = counter("fulcrum:class_prompt_tokens_total", "Their prompt tokens");
    this.#squares = counter("fulcrum:class_prompt_tokens_squared_total", "Their squared prompt lengths");
    this.#ttft = new Histogram({
      name: "fulcrum:class_time_to_first_token_seconds",
      help: `Arrival to first token, by class${OWN}`,
      buckets: bounds.ttft,
      ...common,
    });
    this.#tpot = new Histogram({
      name: "fulcrum:class_time_per_output_token_seconds",
      help: `(last - first token) / (tokens - 1), one sample per finished request, by class${OWN}`,
      buckets: bounds.tpot,
      ...common,
    });
  }

  /** Before its first event. As many are remembered as are in the engine. */
  submitted({ id, kind }: SimRequest): void {
    if (kind !== undefined) this.#kinds.set(id, kind);
  }

  record(event: SimEvent): void {
    const kind = "id" in event ? this.#kinds.get(event.id) : undefined;
    if (kind === undefined) return;
    const labels = { class: kind };
    if (event.type === "arrived") {
      this.#arrived.inc(labels);
      this.#tokens.inc(labels, event.promptTokens);
      this.#squares.inc(labels, event.promptTokens ** 2);
    } else if (event.type === "first_token") {
      this.#ttft.observe(labels, event.ttftMs / 1000);
    } else if (event.type === "finished") {
      if (event.tpotMs !== null) this.#tpot.observe(labels, event.tpotMs / 1000);
      this.#kinds.delete(event.id);
    } else if (event.type === "refused") {
      this.#kinds.delete(event.id);
    }
  }
}
