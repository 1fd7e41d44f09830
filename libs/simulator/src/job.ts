/** A request as it reaches the engine. */
export interface SimRequest {
  readonly id: number;
  /** Milliseconds of engine time. */
  readonly arrivalMs: number;
  /** At least 1. */
  readonly promptTokens: number;
  /** Tokens that the answer will have, at least 1; the first is the prefill's own. */
  readonly outputTokens: number;
  /** The kind of request, where the load has kinds; the engine serves all alike. */
  readonly kind?: string;
}

/** A request inside the instance. It is in exactly one place: prefill's queue or batch, the handover, decode. */
export interface Job {
  readonly request: SimRequest;
  /** Tokens that prefill must compute: the prompt, and after a preemption also what was generated. */
  prefillTokens: number;
  prefilledTokens: number;
  generatedTokens: number;
  /** Blocks held of the pool. */
  blocks: number;
  /** Counted against the prefill quota. */
  heldByPrefill: boolean;
  admittedAtMs: number | null;
  firstTokenAtMs: number | null;
  lastTokenAtMs: number;
}

/** Tokens whose KV the request holds in the end: prompt and answer. */
export function finalTokens(job: Job): number {
  return job.request.promptTokens + job.request.outputTokens;
}

/** Whether the answer has all its tokens. */
export function isComplete(job: Job): boolean {
  return job.generatedTokens >= job.request.outputTokens;
}

/** An independent job in the same state: the request is never changed and everything else is a value. */
export function copyJob(job: Job): Job {
  return { ...job };
}

export function createJob(request: SimRequest): Job {
  return {
    request,
    prefillTokens: request.promptTokens,
    prefilledTokens: 0,
    generatedTokens: 0,
    blocks: 0,
    heldByPrefill: false,
    admittedAtMs: null,
    firstTokenAtMs: null,
    lastTokenAtMs: 0,
  };
}

export type RefusalReason = "never_fits" | "queue_full";

/** Something that happened, at an instant of engine time. Durations in milliseconds of engine time. */
export type SimEvent =
  | { readonly type: "arrived"; readonly atMs: number; readonly id: number; readonly promptTokens: number }
  /** Not taken: it can never fit the KV pool, or prefill's queue is at its bound. */
  | {
      readonly type: "refused";
      readonly atMs: number;
      readonly id: number;
      readonly reason: RefusalReason;
    }
  /** End of the prefill: ttftMs from arrival to here; queuedMs from arrival to admission. */
  | {
      readonly type: "first_token";
      readonly atMs: number;
      readonly id: number;
      readonly promptTokens: number;
      readonly ttftMs: number;
      readonly queuedMs: number;
    }
  /** Every further token, grouped by the time since the same request's token before. */
  | {
      readonly type: "tokens";
      readonly atMs: number;
      readonly groups: readonly { readonly itlMs: number; readonly count: number }[];
    }
  /** tpotMs = (last token - first token) / (outputTokens - 1); null for an answer of one token. */
  | {
      readonly type: "finished";
      readonly atMs: number;
      readonly id: number;
      readonly promptTokens: number;
      readonly outputTokens: number;
      readonly ttftMs: number;
      readonly tpotMs: number | null;
      readonly e2eMs: number;
    }
  /** Lost its blocks to another request's growth; prefill computes it again, with what it generated so far. */
  | {
      readonly type: "preempted";
      readonly atMs: number;
      readonly id: number;
      readonly generatedTokens: number;
    }
  /** A worker took the allocation of a generation at its iteration boundary. */
  | {
      readonly type: "switched";
      readonly atMs: number;
      readonly phase: "prefill" | "decode";
      readonly generation: number;
    };
