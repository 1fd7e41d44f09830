import type { Ack, AckAnswer } from "@fulcrum/contracts/agent-api.js";

/** The contract's bound on one request. */
export const MAX_ACKS_PER_REQUEST = 1_024;

/**
 * Acknowledgements that the controller has not taken, in order. Of each instance only the newest generation
 * and attempt are kept, so there are never more than 6 steps x its ranks.
 */
export class AckOutbox {
  private acks: Ack[] = [];

  get size(): number {
    return this.acks.length;
  }

  add(acks: readonly Ack[]): void {
    const newest = acks[0];
    if (!newest) return;
    // A step that is told again stands where it was told first.
    this.acks = this.acks.filter(
      (ack) => !isOutdated(ack, newest) && !acks.some((added) => same(ack, added)),
    );
    this.acks.push(...acks);
  }

  head(): readonly Ack[] {
    return this.acks.slice(0, MAX_ACKS_PER_REQUEST);
  }

  /** What was sent and answered leaves, whatever the outcome: the controller has judged it. */
  remove(sent: readonly Ack[]): void {
    const gone = new Set(sent);
    this.acks = this.acks.filter((ack) => !gone.has(ack));
  }
}

function isOutdated(ack: Ack, newest: Ack): boolean {
  if (ack.instance !== newest.instance) return false;
  return (
    ack.generation < newest.generation ||
    (ack.generation === newest.generation && ack.attempt < newest.attempt)
  );
}

function same(a: Ack, b: Ack): boolean {
  return a.instance === b.instance && a.rank === b.rank && a.generation === b.generation && a.step === b.step;
}

/** The failures that the controller does not follow: its reconfiguration has ended, or it knows of none. */
export function unfollowedFailures(sent: readonly Ack[], answer: AckAnswer): readonly Ack[] {
  return sent.filter(
    (ack) =>
      ack.step === "failed" &&
      answer.results.some(
        (result) =>
          result.instance === ack.instance &&
          result.rank === ack.rank &&
          result.generation === ack.generation &&
          (result.outcome === "stale" || result.outcome === "unknown"),
      ),
  );
}
