import { Counter, Gauge, Registry } from "prom-client";

/** What only an engine of several processes can get wrong; of its own, as of every page. */
export interface ResidentFigures {
  readonly repeatedTokens: number;
  readonly lostTokens: number;
  readonly refusedResults: number;
  readonly largestGapMs: number;
  readonly iterations: { readonly prefill: number; readonly decode: number };
  readonly turns: { readonly prefill: number; readonly decode: number };
}

/** The page's part that the engine of one process does not have. */
export class ResidentMetrics {
  private readonly registry = new Registry();
  private readonly repeated = this.counter(
    "repeated_tokens_total",
    "Tokens posted that had gone out already",
  );
  private readonly lost = this.counter("lost_tokens_total", "Tokens that never came");
  private readonly refused = this.counter(
    "refused_results_total",
    "Results posted under a turn that had passed",
  );
  private readonly gap = this.gauge(
    "largest_token_gap_seconds",
    "Largest time between two tokens of a request that was not preempted in between, engine time",
  );
  private readonly iterations = this.gauge("iterations", "Rounds of the role's loop, empty ones included", [
    "phase",
  ]);
  private readonly turns = this.gauge("turn", "Who may iterate: the role's turn", ["phase"]);

  async render(figures: ResidentFigures): Promise<string> {
    const { iterations, turns } = figures;
    for (const [counter, value] of [
      [this.repeated, figures.repeatedTokens],
      [this.lost, figures.lostTokens],
      [this.refused, figures.refusedResults],
    ] as const) {
      counter.reset();
      counter.inc(value);
    }
    this.gap.set(figures.largestGapMs / 1_000);
    for (const phase of ["prefill", "decode"] as const) {
      this.iterations.set({ phase }, iterations[phase]);
      this.turns.set({ phase }, turns[phase]);
    }
    return await this.registry.metrics();
  }

  private counter(name: string, help: string): Counter {
    return new Counter({ name: `fulcrum_sim:${name}`, help, registers: [this.registry] });
  }

  private gauge(name: string, help: string, labelNames: string[] = []): Gauge {
    return new Gauge({ name: `fulcrum_sim:${name}`, help, labelNames, registers: [this.registry] });
  }
}
