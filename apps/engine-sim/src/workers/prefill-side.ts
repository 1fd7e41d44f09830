import { Fifo } from "@fulcrum/simulator/fifo.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import type { PrefillPart } from "./resident-protocol.js";
import { resetSequence, type Sequence } from "./sequence.js";

interface Offer {
  readonly sequence: Sequence;
  readonly part: PrefillPart;
}

/**
 * Prompts that wait, and the batch that is out: first come, first served, at most `maxBatchedTokens` prompt tokens and
 * `maxBatch` requests. What exceeds the budget is chunked and goes on first in the next batch.
 */
export class PrefillSide {
  private readonly queue = new Fifo<Sequence>();
  /** The chunked prompt that goes on first. */
  private partial: Sequence | null = null;
  private offers: readonly Offer[] = [];

  constructor(private readonly profile: Profile) {}

  get waiting(): number {
    return this.queue.length;
  }

  get running(): number {
    return this.offers.length;
  }

  get hasWork(): boolean {
    return this.partial !== null || this.queue.length > 0;
  }

  get head(): Sequence | undefined {
    return this.queue.first();
  }

  /** All that prefill has, what is out included. */
  *all(): Generator<Sequence> {
    if (this.partial !== null) yield this.partial;
    for (const { sequence } of this.offers) if (sequence !== this.partial) yield sequence;
    yield* this.queue;
  }

  waitingTokens(): number {
    let tokens = 0;
    for (const { job } of this.queue) tokens += job.prefillTokens;
    return tokens;
  }

  enqueue(sequence: Sequence): void {
    this.queue.push(sequence);
  }

  /** A preempted request goes before all others: it has waited longest. */
  enqueueFirst(sequence: Sequence): void {
    this.queue.pushFront(sequence);
  }

  dropHead(): void {
    this.queue.takeFirst();
  }

  blocksFor(sequence: Sequence): number {
    return Math.ceil(sequence.job.prefillTokens / this.profile.kvBlockTokens);
  }

  /** The next batch; what becomes of it is said by `end`. */
  offer(): readonly PrefillPart[] {
    const offers: Offer[] = [];
    let left = this.profile.maxBatchedTokens;
    if (this.partial !== null) {
      const part = partOf(this.partial, left, 0);
      left -= part.tokens;
      offers.push({ sequence: this.partial, part });
    }
    while (left > 0 && offers.length < this.profile.maxBatch) {
      const sequence = this.queue.takeFirst();
      if (sequence === undefined) break;
      const part = partOf(sequence, left, this.blocksFor(sequence));
      left -= part.tokens;
      offers.push({ sequence, part });
    }
    this.offers = offers;
    return offers.map(({ part }) => part);
  }

  /**
   * The batch has ended. `blocksOf`: what a request was given, null for one that did not run; those go back to where
   * they were. @returns the parts that ran.
   */
  end(slot: number, blocksOf: (id: number) => readonly number[] | null): readonly Offer[] {
    const { offers } = this;
    this.offers = [];
    const ran = offers.filter(({ sequence, part }) => {
      const blocks = blocksOf(part.id);
      if (blocks === null) return false;
      sequence.slot = slot;
      sequence.blocks.push(...blocks);
      sequence.job.prefilledTokens += part.tokens;
      if (part.token === null) this.partial = sequence;
      else if (this.partial === sequence) this.partial = null;
      return true;
    });
    for (const offer of offers.toReversed()) {
      if (!ran.includes(offer) && offer.sequence !== this.partial) this.queue.pushFront(offer.sequence);
    }
    return ran;
  }

  /** The chunked prompt, when its blocks are gone: it begins anew. */
  restartPartial(): void {
    if (this.partial === null) return;
    resetSequence(this.partial);
    this.queue.pushFront(this.partial);
    this.partial = null;
  }

  get chunked(): Sequence | null {
    return this.partial;
  }
}

/** As much of what is left of the prompt as the budget allows. */
function partOf({ job }: Sequence, budgetTokens: number, blocks: number): PrefillPart {
  const { prefilledTokens: from, prefillTokens, generatedTokens } = job;
  const tokens = Math.min(budgetTokens, prefillTokens - from);
  const token = from + tokens < prefillTokens ? null : generatedTokens;
  return { id: job.request.id, from, tokens, blocks, token };
}
