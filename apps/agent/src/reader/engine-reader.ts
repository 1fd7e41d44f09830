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
  /** What a sample of `tpot` is: a finished request, or a token; null while there is no histogram. */
  readonly tpotBasis: TpotBasis | null;
  readonly gauges: SnapshotGauges;
  /** By class of request, where the engine tells classes; its histograms have the bounds of the engine's own. */
  readonly classes?: ReadonlyMap<string, ClassCounters>;
  /** Every cumulative series that went into the above, by page, name and labels. */
  readonly series: ReadonlyMap<string, Series>;
  /** Gauges that were left out, and why; each is null above. */
  readonly notes?: readonly string[];
}

/** Of the requests of one class, since the engine started. */
export interface ClassCounters {
  readonly arrivals: number;
  readonly promptTokens: number;
  readonly promptTokensSq: number;
  /** null while none was observed. */
  readonly ttft: Histogram | null;
  readonly tpot: Histogram | null;
}

/** An SLO on TPOT is about requests; a histogram of tokens counts a long answer as often as it has tokens. */
export type TpotBasis = "request" | "token";

/**
 * One label set of a counter (or a histogram's count). Kept apart from the sums, so that a rank that began anew is
 * seen although the sum over all ranks still grew.
 */
export interface Series {
  readonly value: number;
  /** `_created`, seconds since the epoch, where the client library exposes it: tells a restart at once. */
  readonly createdS: number | null;
}

export interface SnapshotCounters extends WorkCounters {
  /** Requests that finished; the prompt tokens of those, and all output tokens generated. */
  readonly finished: number;
  readonly promptTokens: number;
  /** Requests whose prompts promptTokens sums up; null: those that finished. */
  readonly promptRequests: number | null;
  readonly outputTokens: number;
  readonly aborted: number | null;
  readonly arrivals: number | null;
  readonly arrivedPromptTokens: number | null;
  readonly preemptions: number | null;
  readonly prefillBusyMs: number | null;
  readonly decodeBusyMs: number | null;
}

/** Of what core's WindowWork is made. All null with an engine that tells latencies only. */
export interface WorkCounters {
  /** Sum of the squared prompt lengths of the requests that arrived, tokens^2. */
  readonly promptTokensSq: number | null;
  /** Output tokens of the requests that finished. */
  readonly finishedOutputTokens: number | null;
  /** Iterations that ended; the prompt tokens, or the sequences, that they carried. */
  readonly prefillBatches: number | null;
  readonly prefillTokens: number | null;
  readonly decodeSteps: number | null;
  readonly decodeSequences: number | null;
  /** Context tokens of the decode batch times the milliseconds that it ran. */
  readonly decodeContextTokenMs: number | null;
  /** Time in which both phases ran; time in which one did, times the share of the GPU that it had. */
  readonly overlapMs: number | null;
  readonly prefillGpuMs: number | null;
  readonly decodeGpuMs: number | null;
}

export interface SnapshotGauges extends WorkGauges {
  readonly waiting: number | null;
  readonly running: number | null;
  readonly kvTotalTokens: number | null;
  readonly kvUsedTokens: number | null;
}

export interface WorkGauges {
  readonly prefillWaitingTokens: number | null;
  /** How long the first request in the prefill queue has waited since it arrived. */
  readonly oldestWaitMs: number | null;
  /** Requests that are prefilled and wait for a place in the decode batch. */
  readonly decodeWaiting: number | null;
  /** The engine's own limits: sequences in a decode iteration, prompt tokens in a prefill iteration. */
  readonly maxSequences: number | null;
  readonly maxBatchTokens: number | null;
}

/** Of an engine that tells nothing beyond latencies; readers fill in what theirs does. */
export const UNTOLD_COUNTERS: Omit<SnapshotCounters, "finished" | "promptTokens" | "outputTokens"> = {
  promptRequests: null,
  aborted: null,
  arrivals: null,
  arrivedPromptTokens: null,
  preemptions: null,
  prefillBusyMs: null,
  decodeBusyMs: null,
  promptTokensSq: null,
  finishedOutputTokens: null,
  prefillBatches: null,
  prefillTokens: null,
  decodeSteps: null,
  decodeSequences: null,
  decodeContextTokenMs: null,
  overlapMs: null,
  prefillGpuMs: null,
  decodeGpuMs: null,
};

export const UNTOLD_GAUGES: SnapshotGauges = {
  waiting: null,
  running: null,
  kvTotalTokens: null,
  kvUsedTokens: null,
  prefillWaitingTokens: null,
  oldestWaitMs: null,
  decodeWaiting: null,
  maxSequences: null,
  maxBatchTokens: null,
};

/** Reads an engine's metrics. */
export interface EngineReader {
  /** One scrape, bounded in time and size. @throws ReadError */
  scrape(signal: AbortSignal): Promise<Snapshot>;
}

export type ReadErrorCode =
  | "unreachable"
  | "timeout"
  | "http_status"
  | "wrong_content_type"
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
