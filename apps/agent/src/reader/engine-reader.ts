import type { Histogram } from "@fulcrum/core/nouns.js";

/**
 * What an engine has counted since it started, and its gauges now. What it does not expose is null, never zero.
 * Histograms hold counts per bucket (not summed up as Prometheus' are), in milliseconds.
 */
export interface Snapshot {
  /** When the answer arrived: the agent's wall clock, and its clock that only grows. */
  readonly atMs: number;
  readonly monotonicMs: number;
  /** The engine's own clock, for engines that run faster than the wall clock. */
  readonly engineClockMs: number | null;
  readonly counters: SnapshotCounters;
  /** null while the engine has not observed any. */
  readonly ttft: Histogram | null;
  readonly tpot: Histogram | null;
  readonly gauges: SnapshotGauges;
}

export interface SnapshotCounters {
  /** Requests that finished; the prompt tokens of those, and all output tokens generated. */
  readonly finished: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly aborted: number | null;
  readonly arrivals: number | null;
  readonly arrivedPromptTokens: number | null;
  readonly preemptions: number | null;
  readonly prefillBusyMs: number | null;
  readonly decodeBusyMs: number | null;
}

export interface SnapshotGauges {
  readonly waiting: number | null;
  readonly running: number | null;
  readonly kvTotalTokens: number | null;
  readonly kvUsedTokens: number | null;
}

/** Reads an engine's metrics. */
export interface EngineReader {
  /** One scrape, bounded in time and size. @throws ReadError */
  scrape(signal: AbortSignal): Promise<Snapshot>;
}

export type ReadErrorCode =
  | "unreachable"
  | "timeout"
  | "http_status"
  | "too_large"
  | "malformed"
  | "missing_metric";

export class ReadError extends Error {
  override readonly name = "ReadError";
  constructor(
    readonly code: ReadErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
