import { Fifo } from "./fifo.js";
import { copyJob, finalTokens, isComplete, type Job } from "./job.js";
import type { KvPool } from "./kv-pool.js";
import type { Profile } from "./profile.js";
import type { DecodeBatch } from "./step-time.js";

/**
 * Decode: continuous batching. At each iteration boundary finished requests have left and prefilled ones
 * join, up to `maxBatch`. Each running request needs room for one more token; when the pool has none, the
 * youngest request past its prefill loses its blocks and is computed again (recomputation).
 *
 * Nobody starves: every pass through prefill yields a token, and the oldest request is preempted last.
 */
export class DecodeWorker {
  #handover = new Fifo<Job>();
  /** Oldest first. */
  #running: Job[] = [];

  constructor(
    private readonly profile: Profile,
    private readonly pool: KvPool,
  ) {}

  get running(): number {
    return this.#running.length;
  }

  /** Prefilled requests that wait for a place in the batch. */
  get waiting(): number {
    return this.#handover.length;
  }

  get hasWork(): boolean {
    return this.#running.length > 0 || this.#handover.length > 0;
  }

  /** Tokens that the largest request here will have in the end; 0 without one. */
  get largestTokens(): number {
    let largest = 0;
    for (const job of this.#handover) largest = Math.max(largest, finalTokens(job));
    for (const job of this.#running) largest = Math.max(largest, finalTokens(job));
    return largest;
  }

  /** Takes a request from prefill; it joins the batch at the next boundary. */
  handOver(job: Job): void {
    this.#handover.push(job);
  }

  /** Forms the next batch, adding whom it preempts to `preempted`; null when there is nothing to run. */
  formBatch(preempted: Job[]): DecodeBatch | null {
    for (let i = 0; i < this.#running.length; i += 1) {
      const job = this.#running[i];
      if (job !== undefined) this.#makeRoom(job, preempted);
    }
    this.#join(preempted);
    if (this.#running.length === 0) return null;
    let contextTokens = 0;
    for (const job of this.#running) contextTokens += contextOf(job);
    return { sequences: this.#running.length, contextTokens };
  }

  /** Ends the iteration: each running request has one more token. Returns those that are complete. */
  completeBatch(): { readonly advanced: readonly Job[]; readonly done: readonly Job[] } {
    const advanced = this.#running;
    for (const job of advanced) job.generatedTokens += 1;
    const done = advanced.filter(isComplete);
    if (done.length > 0) this.#running = advanced.filter((job) => !isComplete(job));
    return { advanced, done };
  }

  /** The same state with jobs of its own, over `pool`. */
  copy(pool: KvPool): DecodeWorker {
    const copy = new DecodeWorker(this.profile, pool);
    copy.#handover = this.#handover.copy(copyJob);
    copy.#running = this.#running.map(copyJob);
    return copy;
  }

  #join(preempted: Job[]): void {
    while (this.#running.length < this.profile.maxBatch) {
      const head = this.#handover.first();
      if (head === undefined) return;
      if (!this.pool.grow(head, contextOf(head))) {
        // Others run and will free blocks; only when nobody runs must somebody give way.
        if (this.#running.length > 0 || !this.#makeRoom(head, preempted)) return;
      }
      this.#handover.takeFirst();
      this.pool.passToDecode(head);
      this.#running.push(head);
    }
  }

  /** Grows `job` by its next token, preempting the youngest while the pool is full; false when that was `job`. */
  #makeRoom(job: Job, preempted: Job[]): boolean {
    while (!this.pool.grow(job, contextOf(job))) {
      const youngest = this.#handover.takeLast() ?? this.#running.pop();
      if (youngest === undefined) return false;
      this.pool.release(youngest);
      youngest.prefillTokens = youngest.request.promptTokens + youngest.generatedTokens;
      youngest.prefilledTokens = 0;
      preempted.push(youngest);
      if (youngest === job) return false;
    }
    return true;
  }
}

/** Tokens whose KV is held once the iteration has written its own: prompt and all generated so far. */
function contextOf(job: Job): number {
  return job.request.promptTokens + job.generatedTokens;
}
