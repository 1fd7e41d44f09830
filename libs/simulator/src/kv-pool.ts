import type { Job } from "./job.js";

/**
 * The books of the paged KV pool that both workers share (semi-PD §4.4): who holds how many blocks.
 * Every change is one step, so used blocks never exceed the total.
 */
export class KvPool {
  /** In force: more than what was asked for while blocks in use are owed. */
  #totalBlocks: number;
  #askedBlocks: number;
  #usedBlocks = 0;
  #prefillBlocks = 0;
  #prefillJobs = 0;

  constructor(
    totalTokens: number,
    private readonly blockTokens: number,
  ) {
    this.#totalBlocks = totalTokens / blockTokens;
    this.#askedBlocks = this.#totalBlocks;
  }

  get totalTokens(): number {
    return this.#totalBlocks * this.blockTokens;
  }

  /** Tokens in blocks that are in use and will be given back as they come free. */
  get owedTokens(): number {
    return (this.#totalBlocks - this.#askedBlocks) * this.blockTokens;
  }

  /**
   * Changes the pool's size to whole blocks of at most `tokens`, but to no less than holds `largestTokens`,
   * and at once to no less than is in use: the rest is owed. Nothing is admitted or grows meanwhile.
   */
  resize(tokens: number, largestTokens: number): void {
    this.#askedBlocks = Math.max(Math.floor(tokens / this.blockTokens), this.#blocksFor(largestTokens));
    this.#totalBlocks = Math.max(this.#askedBlocks, this.#usedBlocks);
  }

  get usedTokens(): number {
    return this.#usedBlocks * this.blockTokens;
  }

  /** Tokens in blocks that count against the prefill quota. */
  get prefillTokens(): number {
    return this.#prefillBlocks * this.blockTokens;
  }

  get prefillJobs(): number {
    return this.#prefillJobs;
  }

  /** Whether a request of this many tokens could ever be held. */
  fits(tokens: number): boolean {
    return this.#blocksFor(tokens) <= this.#askedBlocks;
  }

  /**
   * Reserves the blocks of a whole prompt for a job that enters prefill. False, and nothing changes, when
   * free blocks do not suffice, or when prefill would hold more than `quotaPct` of the pool. A job that
   * alone exceeds the quota is admitted when prefill holds nothing else, or it would wait for ever.
   */
  admit(job: Job, quotaPct: number): boolean {
    const blocks = this.#blocksFor(job.prefillTokens);
    if (this.#usedBlocks + blocks > this.#totalBlocks) return false;
    const quotaBlocks = Math.floor((quotaPct / 100) * this.#totalBlocks);
    if (this.#prefillJobs > 0 && this.#prefillBlocks + blocks > quotaBlocks) return false;
    this.#usedBlocks += blocks;
    this.#prefillBlocks += blocks;
    this.#prefillJobs += 1;
    job.blocks = blocks;
    job.heldByPrefill = true;
    return true;
  }

  /** Decode has taken the job over: its blocks no longer count against the prefill quota. */
  passToDecode(job: Job): void {
    if (!job.heldByPrefill) return;
    job.heldByPrefill = false;
    this.#prefillBlocks -= job.blocks;
    this.#prefillJobs -= 1;
  }

  /** Gives the job room for `tokens` in all. False, and nothing changes, when free blocks do not suffice. */
  grow(job: Job, tokens: number): boolean {
    const more = this.#blocksFor(tokens) - job.blocks;
    if (more <= 0) return true;
    if (this.#usedBlocks + more > this.#totalBlocks) return false;
    this.#usedBlocks += more;
    if (job.heldByPrefill) this.#prefillBlocks += more;
    job.blocks += more;
    return true;
  }

  release(job: Job): void {
    this.passToDecode(job);
    this.#usedBlocks -= job.blocks;
    job.blocks = 0;
    this.#totalBlocks = Math.max(this.#askedBlocks, Math.min(this.#totalBlocks, this.#usedBlocks));
  }

  /** The same books; jobs are copied by who holds them. */
  copy(): KvPool {
    const copy = new KvPool(this.totalTokens, this.blockTokens);
    copy.#askedBlocks = this.#askedBlocks;
    copy.#usedBlocks = this.#usedBlocks;
    copy.#prefillBlocks = this.#prefillBlocks;
    copy.#prefillJobs = this.#prefillJobs;
    return copy;
  }

  #blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.blockTokens);
  }
}
