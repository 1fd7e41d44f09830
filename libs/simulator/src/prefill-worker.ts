import { Fifo } from "./fifo.js";
import { copyJob, finalTokens, type Job } from "./job.js";
import type { KvPool } from "./kv-pool.js";
import type { Profile } from "./profile.js";
import type { PrefillBatch } from "./step-time.js";

interface Chunk {
  readonly job: Job;
  readonly tokens: number;
}

/** What bounds one batch. */
export interface PrefillLimits {
  /** Of the KV pool, for requests in prefill. */
  readonly kvQuotaPct: number;
  /** Prompt tokens; default the profile's maxBatchedTokens. */
  readonly maxTokens?: number;
  /** Requests, a chunked prompt that goes on not counted; default the profile's maxBatch. */
  readonly maxRequests?: number;
  /** No chunks: a prompt that exceeds maxTokens runs whole, in a batch of its own. */
  readonly wholePrompts?: boolean;
}

/**
 * Prefill: first come, first served, in batches of at most `maxBatchedTokens` prompt tokens and
 * `maxBatch` requests. A prompt that exceeds what is left of the budget is chunked and goes on first in
 * the next batch. A request is admitted when the KV pool lets it (KvPool.admit); none overtakes the head.
 */
export class PrefillWorker {
  #queue = new Fifo<Job>();
  #batch: Chunk[] = [];
  /** The chunked prompt that goes on first in the next batch. */
  #partial: Job | null = null;
  #waitingTokens = 0;

  constructor(
    private readonly profile: Profile,
    private readonly pool: KvPool,
  ) {}

  /** Requests that wait for admission. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Tokens that they need prefilled. */
  get waitingTokens(): number {
    return this.#waitingTokens;
  }

  /** How long the head of the queue has waited since it arrived; 0 without one. */
  oldestWaitMs(nowMs: number): number {
    const head = this.#queue.first();
    return head === undefined ? 0 : nowMs - head.request.arrivalMs;
  }

  /** Tokens that the largest request here will have in the end; 0 without one. */
  get largestTokens(): number {
    let largest = this.#partial === null ? 0 : finalTokens(this.#partial);
    for (const job of this.#queue) largest = Math.max(largest, finalTokens(job));
    for (const { job } of this.#batch) largest = Math.max(largest, finalTokens(job));
    return largest;
  }

  /** Requests in the batch that runs. */
  get running(): number {
    return this.#batch.length;
  }

  enqueue(job: Job): void {
    this.#queue.push(job);
    this.#waitingTokens += job.prefillTokens;
  }

  /** A preempted request goes before all others: it has waited longest. */
  enqueueFirst(job: Job): void {
    this.#queue.pushFront(job);
    this.#waitingTokens += job.prefillTokens;
  }

  /** Forms the next batch; null when there is nothing to do or the head must wait for KV blocks or room. */
  formBatch(nowMs: number, limits: PrefillLimits): PrefillBatch | null {
    const { maxTokens = this.profile.maxBatchedTokens, maxRequests = this.profile.maxBatch } = limits;
    const batch = this.#batch;
    let left = maxTokens;
    let sumSq = 0;
    while (left > 0) {
      let next = this.#partial;
      this.#partial = null;
      if (next === null && batch.length < maxRequests) {
        next = this.#admitHead(nowMs, limits, batch.length === 0 ? Infinity : left);
      }
      if (next === null) break;
      const from = next.prefilledTokens;
      const wanted = next.prefillTokens - from;
      const tokens = limits.wholePrompts === true ? wanted : Math.min(left, wanted);
      sumSq += (from + tokens) ** 2 - from ** 2;
      left -= tokens;
      batch.push({ job: next, tokens });
    }
    return batch.length === 0 ? null : { tokens: maxTokens - left, sumSq };
  }

  #admitHead(nowMs: number, limits: PrefillLimits, left: number): Job | null {
    const head = this.#queue.first();
    if (head === undefined) return null;
    if (limits.wholePrompts === true && head.prefillTokens > left) return null;
    if (!this.pool.admit(head, limits.kvQuotaPct)) return null;
    this.#queue.takeFirst();
    this.#waitingTokens -= head.prefillTokens;
    head.admittedAtMs ??= nowMs;
    return head;
  }

  /** Ends the batch that ran; returns the requests whose prefill is complete, in order. */
  completeBatch(): Job[] {
    const done: Job[] = [];
    for (const { job, tokens } of this.#batch) {
      job.prefilledTokens += tokens;
      if (job.prefilledTokens < job.prefillTokens) this.#partial = job;
      else done.push(job);
    }
    this.#batch = [];
    return done;
  }

  /** The same state with jobs of its own, over `pool`. */
  copy(pool: KvPool): PrefillWorker {
    const copy = new PrefillWorker(this.profile, pool);
    copy.#queue = this.#queue.copy(copyJob);
    copy.#waitingTokens = this.#waitingTokens;
    copy.#batch = this.#batch.map(({ job, tokens }) => ({ job: copyJob(job), tokens }));
    copy.#partial = this.#partial && copyJob(this.#partial);
    return copy;
  }
}
