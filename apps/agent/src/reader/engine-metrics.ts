/** What a kind of engine exposes, and how a snapshot is made of it. */
import type { EngineName } from "@fulcrum/core/signal/bucket-advice.js";
import { ReadError, type Snapshot, type TpotBasis } from "./engine-reader.js";
import { parseExposition } from "./exposition.js";
import { type Labels, MetricSet } from "./metric-set.js";

/** What a reader makes of the metrics; time and series are added to it. */
export type Reading = Omit<Snapshot, "atMs" | "monotonicMs" | "series" | "notes">;

export interface EngineMetrics {
  readonly engine: EngineName;
  /** Metrics that start otherwise are not parsed. */
  readonly prefixes: readonly string[];
  /** The label that names the served model. */
  readonly modelLabel: string;
  readonly isBreakdown?: (labels: Labels) => boolean;
  /** @throws ReadError `malformed`, `missing_metric` */
  readonly read: (metrics: MetricSet) => Reading;
}

export interface Page {
  readonly text: string;
  readonly openMetrics?: boolean;
}

/** One snapshot of the pages of one engine. @throws ReadError `malformed`, `missing_metric` */
export function snapshotOf(
  of: EngineMetrics,
  pages: readonly Page[],
  at: { readonly atMs: number; readonly monotonicMs: number },
  model?: string,
): Snapshot {
  const wanted = (name: string): boolean => of.prefixes.some((prefix) => name.startsWith(prefix));
  const expositions = pages.map(({ text, openMetrics = false }) =>
    parseExposition(text, { wanted, openMetrics }),
  );
  const { modelLabel, isBreakdown } = of;
  const metrics = new MetricSet(expositions, { model, modelLabel, ...(isBreakdown && { isBreakdown }) });
  const reading = of.read(metrics);
  return { ...at, ...reading, series: metrics.series, notes: metrics.notes };
}

/**
 * Prometheus clients expose a labelled series only once it was used: absent counts as 0 while nothing has finished,
 * and is a failure from the first finished request on.
 * @throws ReadError `missing_metric`
 */
export function neededOnce(finished: number, value: number | null, name: string): number {
  if (value === null && finished > 0) throw new ReadError("missing_metric", `${name} is not exposed`);
  return value ?? 0;
}

type Latencies = Pick<Snapshot, "ttft" | "tpot" | "tpotBasis">;

/**
 * TTFT, and TPOT per request where the engine has it, else per token.
 * @throws ReadError `missing_metric` when requests have finished and a histogram is not there
 */
export function readLatencies(
  metrics: MetricSet,
  names: {
    readonly ttft: string | readonly string[];
    readonly tpotPerRequest: readonly string[];
    readonly tpotPerToken: readonly string[];
  },
  of: { readonly finished: number; readonly outputTokens: number },
): Latencies {
  const ttft = metrics.histogram(names.ttft);
  const perRequest = metrics.histogram(names.tpotPerRequest);
  const tpot = perRequest ?? metrics.histogram(names.tpotPerToken);
  const tpotBasis: TpotBasis | null = tpot && (perRequest ? "request" : "token");
  if (of.finished > 0 && ttft === null) {
    throw new ReadError("missing_metric", `${String(names.ttft)} is not exposed`);
  }
  // A request of one output token has no TPOT.
  if (of.finished > 0 && of.outputTokens > of.finished && tpot === null) {
    const either = [...names.tpotPerRequest, ...names.tpotPerToken].join(" nor ");
    throw new ReadError("missing_metric", `neither ${either} is exposed`);
  }
  return { ttft, tpot, tpotBasis };
}
