import { Injectable } from "@nestjs/common";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

const LATENCY_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

export interface LabelledValue {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What the controller says of itself. Labels are bounded: no instance or agent names on counters. */
@Injectable()
export class Metrics {
  readonly registry = new Registry();
  private readonly reports: Counter;
  private readonly windows: Counter;
  private readonly rejections: Counter;
  private readonly decisions: Counter;
  private readonly decideSeconds: Histogram;
  private readonly reportSeconds: Histogram;
  private readonly ended: Counter;
  private readonly endedSeconds: Histogram;
  private readonly trials: Counter;
  private readonly webhookTries: Counter;

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.reports = new Counter({ name: "fulcrum_reports_total", help: "Reports answered.", registers });
    this.windows = new Counter({ name: "fulcrum_windows_stored_total", help: "Windows stored.", registers });
    this.rejections = new Counter({
      name: "fulcrum_report_rejections_total",
      help: "Instances refused within reports.",
      labelNames: ["code"],
      registers,
    });
    this.decisions = new Counter({
      name: "fulcrum_decisions_total",
      help: "Decisions made, stored or not.",
      labelNames: ["kind", "reason", "outcome"],
      registers,
    });
    this.decideSeconds = new Histogram({
      name: "fulcrum_decide_seconds",
      help: "Time of one decide().",
      buckets: [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005],
      registers,
    });
    this.reportSeconds = new Histogram({
      name: "fulcrum_report_seconds",
      help: "Time from a report's arrival to its answer.",
      buckets: LATENCY_BUCKETS_S,
      registers,
    });
    this.ended = new Counter({
      name: "fulcrum_reconfigurations_total",
      help: "Reconfigurations that ended.",
      labelNames: ["state"],
      registers,
    });
    this.trials = new Counter({
      name: "fulcrum_trials_total",
      help: "Decisions that were judged by what came after them.",
      labelNames: ["subject", "verdict"],
      registers,
    });
    this.webhookTries = new Counter({
      name: "fulcrum_webhook_tries_total",
      help: "Messages sent to webhooks, by what came of the try.",
      labelNames: ["outcome"],
      registers,
    });
    this.endedSeconds = new Histogram({
      name: "fulcrum_reconfiguration_seconds",
      help: "Time from offer to end.",
      labelNames: ["state"],
      buckets: [0.5, 1, 2.5, 5, 10, 20, 40, 80, 160],
      registers,
    });
  }

  /** Reads a value for each set of labels at each scrape; what has none any more is not told. */
  series(
    kind: "counter" | "gauge",
    name: string,
    help: string,
    labelNames: readonly string[],
    read: () => Promise<readonly LabelledValue[]>,
  ): void {
    const options = { name, help, labelNames: [...labelNames], registers: [this.registry] };
    const collect = async () => {
      // What cannot be read is not told: the scrape itself must not fail with it.
      const values = await read().catch(() => []);
      metric.reset();
      for (const { labels, value } of values) metric.inc({ ...labels }, value);
    };
    const metric: Counter | Gauge =
      kind === "counter" ? new Counter({ ...options, collect }) : new Gauge({ ...options, collect });
  }

  /** Reads `value` at each scrape. */
  gauge(name: string, help: string, value: () => number | Promise<number>): void {
    const gauge: Gauge = new Gauge({
      name,
      help,
      registers: [this.registry],
      // A value that cannot be read is NaN: the scrape itself must not fail with it.
      collect: async () =>
        gauge.set(
          await Promise.resolve()
            .then(value)
            .catch(() => Number.NaN),
        ),
    });
  }

  /** Reads one value of each pool at each scrape; what cannot be read, and pools that are gone, are left out. */
  poolGauge(
    name: string,
    help: string,
    values: () => Promise<readonly { readonly pool: string; readonly value: number }[]>,
  ): void {
    const gauge: Gauge<"pool"> = new Gauge({
      name,
      help,
      labelNames: ["pool"],
      registers: [this.registry],
      collect: async () => {
        const read = await values().catch(() => []);
        gauge.reset();
        for (const { pool, value } of read) gauge.set({ pool }, value);
      },
    });
  }

  reportAnswered(storedWindows: number, seconds: number): void {
    this.reports.inc();
    this.windows.inc(storedWindows);
    this.reportSeconds.observe(seconds);
  }

  rejected(code: string): void {
    this.rejections.inc({ code });
  }

  decided(kind: string, reason: string, outcome: string, seconds: number): void {
    this.decisions.inc({ kind, reason, outcome });
    this.decideSeconds.observe(seconds);
  }

  judged(subject: string, verdict: string): void {
    this.trials.inc({ subject, verdict });
  }

  webhookTried(outcome: "delivered" | "failed"): void {
    this.webhookTries.inc({ outcome });
  }

  reconfigurationEnded(state: string, durationMs: number): void {
    this.ended.inc({ state });
    this.endedSeconds.observe({ state }, durationMs / 1_000);
  }
}
