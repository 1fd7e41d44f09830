import type { Profile } from "@fulcrum/simulator/profile.js";
import type { DecodePart } from "./resident-protocol.js";
import { contextOf, type Sequence } from "./sequence.js";

/** Sequences that generate, oldest first, and prefilled ones that wait to join; both join at an iteration boundary. */
export class DecodeSide {
  private joining: Sequence[] = [];
  private running: Sequence[] = [];
  /** Of `joining`, those that the batch that is out takes over: whose blocks they are is not known before it ends. */
  private readonly taking = new Set<number>();

  constructor(private readonly profile: Profile) {}

  get runningCount(): number {
    return this.running.length;
  }

  get waitingCount(): number {
    return this.joining.length;
  }

  get hasWork(): boolean {
    return this.running.length > 0 || this.joining.length > 0;
  }

  get contextTokens(): number {
    return this.running.reduce((sum, sequence) => sum + contextOf(sequence), 0);
  }

  get sequences(): readonly Sequence[] {
    return this.running;
  }

  get prefilled(): readonly Sequence[] {
    return this.joining;
  }

  isTaking({ job }: Sequence): boolean {
    return this.taking.has(job.request.id);
  }

  handOver(sequence: Sequence): void {
    this.joining.push(sequence);
  }

  offer(): readonly DecodePart[] {
    const joins = this.joining.slice(0, Math.max(0, this.profile.maxBatch - this.running.length));
    for (const { job } of joins) this.taking.add(job.request.id);
    return [...this.running.map((one) => partOf(one, false)), ...joins.map((one) => partOf(one, true))];
  }

  /**
   * The batch that was out has ended, or is given up. `joined`: whose blocks the owner in `slot` took over.
   * @returns how many it could not.
   */
  end(slot: number, joined: readonly number[]): number {
    const ids = new Set(joined);
    const isJoined = ({ job }: Sequence): boolean =>
      ids.has(job.request.id) && this.taking.has(job.request.id);
    for (const sequence of this.joining.filter(isJoined)) {
      sequence.slot = slot;
      sequence.inherited.clear();
      this.running.push(sequence);
    }
    const failed = this.joining.filter((sequence) => this.isTaking(sequence) && !isJoined(sequence)).length;
    this.joining = this.joining.filter((sequence) => !isJoined(sequence));
    this.taking.clear();
    return failed;
  }

  find(id: number): Sequence | undefined {
    return this.running.find(({ job }) => job.request.id === id) ?? this.findJoining(id);
  }

  /** Finished, preempted or lost. */
  remove(gone: ReadonlySet<Sequence>): void {
    this.running = this.running.filter((sequence) => !gone.has(sequence));
    this.joining = this.joining.filter((sequence) => !gone.has(sequence));
  }

  private findJoining(id: number): Sequence | undefined {
    return this.joining.find(({ job }) => job.request.id === id);
  }
}

function partOf(sequence: Sequence, joins: boolean): DecodePart {
  const { job, blocks, inherited, slot } = sequence;
  return {
    id: job.request.id,
    context: contextOf(sequence),
    blocks: blocks.length,
    token: job.generatedTokens,
    join: joins ? { slot: slot ?? 0, blocks: blocks.filter((block) => !inherited.has(block)) } : null,
  };
}
