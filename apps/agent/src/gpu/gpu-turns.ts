/** Whose turn it is to change something on a GPU: one instance at a time (actuation.md §8: one action per GPU). */

export type Turn =
  | { readonly kind: "granted" }
  | { readonly kind: "busy"; readonly owner: string; readonly gpu: string };

interface Hold {
  readonly gpus: readonly string[];
  readonly untilMs: number;
}

/** Who has asked keeps the place in line this long after asking last; retries come at least once a second. */
const PLACE_MS = 5_000;

/**
 * A mutex per GPU with a deadline. All GPUs of an instance are taken at once, so that two instances cannot wait for
 * each other; who came first goes first. Time is an argument.
 */
export class GpuTurns {
  private readonly holds = new Map<string, Hold>();
  /** In order of asking. */
  private readonly line = new Map<string, Hold>();

  /** Takes the turn for at most `holdMs`; one that is held already is prolonged. */
  take(owner: string, gpus: readonly string[], nowMs: number, holdMs: number): Turn {
    this.expire(nowMs);
    const inWay = this.inWay(owner, gpus);
    if (inWay !== null) {
      const place = { gpus, untilMs: nowMs + PLACE_MS };
      this.line.set(owner, place);
      return inWay;
    }
    this.line.delete(owner);
    this.holds.set(owner, { gpus, untilMs: nowMs + holdMs });
    return { kind: "granted" };
  }

  isHeldBy(owner: string, nowMs: number): boolean {
    this.expire(nowMs);
    return this.holds.has(owner);
  }

  release(owner: string): void {
    this.holds.delete(owner);
    this.line.delete(owner);
  }

  private inWay(owner: string, gpus: readonly string[]): Turn | null {
    const overlap = (hold: Hold): string | undefined => hold.gpus.find((gpu) => gpus.includes(gpu));
    for (const [other, hold] of this.holds) {
      const gpu = other === owner ? undefined : overlap(hold);
      if (gpu !== undefined) return { kind: "busy", owner: other, gpu };
    }
    if (this.holds.has(owner)) return null;
    for (const [other, place] of this.line) {
      if (other === owner) return null;
      const gpu = overlap(place);
      if (gpu !== undefined) return { kind: "busy", owner: other, gpu };
    }
    return null;
  }

  private expire(nowMs: number): void {
    for (const entries of [this.holds, this.line]) {
      for (const [owner, { untilMs }] of entries) if (untilMs <= nowMs) entries.delete(owner);
    }
  }
}
