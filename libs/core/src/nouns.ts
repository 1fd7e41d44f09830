/**
 * The words of Fulcrum, as types. Units ride at the end of a name and are the same everywhere:
 * `Ms` a duration in milliseconds, `AtMs` an instant in epoch milliseconds, `Pct` 0..100,
 * `Share` 0..1, `PerS` a rate per second. Lengths are tokens unless they say blocks.
 */

/** Caps on the SMs that each phase's worker may use: the paper's (x, y), each 1..100 (semi-PD §4.3). */
export interface Split {
  readonly prefillSmPct: number;
  readonly decodeSmPct: number;
}

/** A split and the share of the KV blocks that prefill may hold admitted before it waits. */
export interface Allocation {
  readonly split: Split;
  readonly kvQuotaPct: number;
}

/** An allocation of one instance with its generation: a number that only grows; a lower one is never applied. */
export interface GeneratedAllocation extends Allocation {
  readonly generation: number;
}

/** A percentile (0..1, exclusive) and the bound it must stay under. */
export interface LatencyTarget {
  readonly percentile: number;
  readonly boundMs: number;
}

/** Each phase's latency at a percentile, and the share of requests that must be within both bounds. */
export interface SloPromise {
  readonly ttft: LatencyTarget;
  readonly tpot: LatencyTarget;
  readonly attainmentShare: number;
}

/** A promise below the pool's own. `name` is that of `Window.classes`, where the engine tells classes apart. */
export interface SloClass extends SloPromise {
  readonly name: string;
}

export const MAX_SLO_CLASSES = 4;

/**
 * What a pool promises. `classes`, in order, are further promises: what comes earlier goes first, and the pool's own
 * before all of them (docs/policies.md). Absent and empty are the same.
 */
export interface SloTarget extends SloPromise {
  readonly classes?: readonly SloClass[];
}

/**
 * Counts of samples per bucket. `counts` has one entry more than `boundsMs`: the last counts what
 * exceeds every bound. `boundsMs` strictly ascends. A sample equal to a bound counts in that bound's
 * bucket, as Prometheus' `le` does.
 */
export interface Histogram {
  readonly boundsMs: readonly number[];
  readonly counts: readonly number[];
  readonly sumMs: number;
}

/**
 * What was measured on an instance in one interval. A gauge or counter that the engine does not
 * expose is null, never zero.
 */
export interface Window {
  /** Grows by one per window of an instance; a repeated or lower one is a repeat. */
  readonly seq: number;
  readonly startAtMs: number;
  readonly endAtMs: number;
  /** Engine time covered. Equals endAtMs - startAtMs, except for engines that run faster than the wall clock. */
  readonly durationMs: number;
  /** The generation that every worker ran during the whole window; null while a switch was under way. */
  readonly generation: number | null;
  /** Requests that arrived, and the prompt tokens they brought. */
  readonly arrivals: number;
  readonly promptTokens: number;
  /** Requests that finished, and the output tokens that were generated in the window. */
  readonly finished: number;
  readonly outputTokens: number;
  readonly ttft: Histogram;
  readonly tpot: Histogram;
  readonly queue: WindowQueue;
  readonly kv: WindowKv;
  /** Share of the window in which the phase's worker was running an iteration. */
  readonly busy: { readonly prefillShare: number | null; readonly decodeShare: number | null };
  /** What the workers did, where the engine says; absent in windows stored before it was asked for. */
  readonly work?: WindowWork | null;
  /** Latencies by class of request, where the engine tells them apart; each name once, at most MAX_WINDOW_CLASSES. */
  readonly classes?: readonly WindowClass[];
}

/** Of the requests of one class; the bucket bounds are those of the window's own histograms. */
export interface WindowClass {
  readonly name: string;
  readonly arrivals: number;
  readonly promptTokens: number;
  /** Sum over its arrivals of their prompt length squared, tokens^2. */
  readonly promptTokensSq: number;
  readonly ttft: Histogram;
  readonly tpot: Histogram;
}

export const MAX_WINDOW_CLASSES = 8;

/**
 * What the workers did in a window, beyond the latencies of what they finished: how heavy the load that came in
 * is, and what an iteration costs at the split in force. Every part is null where the engine does not say.
 */
export interface WindowWork {
  /** Sum over the arrivals of their prompt length squared, tokens^2: with count and sum it gives the spread. */
  readonly promptTokensSq: number | null;
  readonly maxPromptTokens: number | null;
  /** Output tokens of the requests that finished: over `finished` it is the mean answer. */
  readonly finishedOutputTokens: number | null;
  /** Prefill iterations that ended, and the prompt tokens that they computed. */
  readonly prefillBatches: number | null;
  readonly prefillTokens: number | null;
  /** Decode iterations that ended; the mean of their durations, sequences and context tokens. */
  readonly decodeSteps: number | null;
  readonly decodeStepMeanMs: number | null;
  readonly decodeBatchMean: number | null;
  readonly decodeContextMean: number | null;
  /** Share of the window in which both phases ran an iteration. */
  readonly overlapShare: number | null;
  /** Share of the GPU that each phase was given, averaged over the window: idle time counts as none. */
  readonly prefillGpuShare: number | null;
  readonly decodeGpuShare: number | null;
  /** At the end of the window: prompt tokens that wait for prefill, the longest wait so far, and answers
   * that are prefilled and wait for a place in the decode batch. */
  readonly prefillWaitingTokens: number | null;
  readonly oldestWaitMs: number | null;
  readonly decodeWaiting: number | null;
  /** The engine's own limits: sequences in a decode iteration, prompt tokens in a prefill iteration. */
  readonly maxSequences: number | null;
  readonly maxBatchTokens: number | null;
}

/** Gauges at the end of the window. */
export interface WindowQueue {
  readonly prefillWaiting: number | null;
  readonly decodeRunning: number | null;
}

export interface WindowKv {
  readonly totalTokens: number | null;
  readonly usedTokens: number | null;
  readonly preemptions: number | null;
}

/** What the driver and the operator allow. */
export interface Limits {
  readonly minSmPct: number;
  readonly maxSmPct: number;
  /** Greatest allowed prefill + decode cap: 100 for exclusive partitions, 200 where MPS may oversubscribe. */
  readonly maxSumPct: number;
  /** Caps are delivered in multiples of this many points (8 SMs of 132 are 6.1 points). */
  readonly granularityPct: number;
  readonly minKvQuotaPct: number;
  readonly maxKvQuotaPct: number;
}

export type Mode = "observe" | "recommend" | "canary" | "enforce";

export type PolicyName = "static" | "feedback" | "semi-pd" | "search";

/** A phase of LLM serving. */
export type Phase = "prefill" | "decode";

/** The limits a driver that can do everything has; also the widest that an operator may set. */
export const WIDEST_LIMITS: Limits = {
  minSmPct: 5,
  maxSmPct: 100,
  maxSumPct: 200,
  granularityPct: 1,
  minKvQuotaPct: 5,
  maxKvQuotaPct: 100,
};

/** What an engine runs when nothing was ever decided: both caps open, no quota (the paper's baseline). */
export const UNCONTROLLED: Allocation = { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 };
