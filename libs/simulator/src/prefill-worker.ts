import { Fifo } from "./fifo.js";
import type { Job } from "./job.js";
import type { KvPool } from "./kv-pool.js";
import type { Profile } from "./profile.js";
import type { PrefillBatch } from "./step-time.js";

interface Chunk {
  readonly job: Job;
  readonly tokens: number;
}

/**
 * Prefill: first come, first served, in batches of at most `maxBatchedTokens` prompt tokens and
 * `maxBatch` requests. A prompt that exceeds what is left of the budget is chunked and goes on first in
 * the next batch. A request is admitted when the KV pool lets it (KvPool.admit); none overtakes the head.
 */
export class PrefillWorker {
  readonly #queue = new Fifo<Job>();
  #batch: Chunk[] = [];
  #partial: Job | null = null;

  constructor(
    private readonly profile: Profile,
    private readonly pool: KvPool,
  ) {}

  /** Requests that wait for admission. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Requests in the batch that runs. */
  get running(): number {
    return this.#batch.length;
  }

  enqueue(job: Job): void {
    this.#queue.push(job);
  }

  /** A preempted request goes before all others: it has waited longest. */
  enqueueFirst(job: Job): void {
    this.#queue.pushFront(job);
  }

  /** Forms the next batch; null when there is nothing to do or the head must wait for KV blocks. */
  formBatch(nowMs: number, kvQuotaPct: number): PrefillBatch | null {
    const budget = this.profile.maxBatchedTokens;
    const batch = this.#batch;
    let left = budget;
    let sumSq = 0;
    let next = this.#partial;
    for (;;) {
      next ??= batch.length < this.profile.maxBatch ? this.#admitHead(nowMs, kvQuotaPct) : null;
      if (next === null) break;
      const from = next.prefilledTokens;
      const tokens = Math.min(left, next.prefillTokens - from);
      sumSq += (from + tokens) ** 2 - from ** 2;
      left -= tokens;
      batch.push({ job: next, tokens });
      if (left === 0) break;
      next = null;
    }
    return batch.length === 0 ? null : { tokens: budget - left, sumSq };
  }

  #admitHead(nowMs: number, kvQuotaPct: number): Job | null {
    const head = this.#queue.first();
    if (head === undefined || !this.pool.admit(head, kvQuotaPct)) return null;
    this.#queue.takeFirst();
    head.admittedAtMs ??= nowMs;
    return head;
  }

  /** Ends the batch that ran; returns the requests whose prefill is complete, in order. */
  completeBatch(): Job[] {
    const done: Job[] = [];
    this.#partial = null;
    for (const { job, tokens } of this.#batch) {
      job.prefilledTokens += tokens;
      if (job.prefilledTokens < job.prefillTokens) this.#partial = job;
      else done.push(job);
    }
    this.#batch = [];
    return done;
  }
}
