/**
 * The batch state of one rank, which outlives the workers: requests, who holds their KV blocks, the batch that each
 * role has out, and the tokens that went out. A batch changes nothing before its result is posted, so that whoever has
 * the turn next goes on from the last iteration that ended.
 */
import type { Phase } from "@fulcrum/core/nouns.js";
import type { KvPool } from "@fulcrum/kv-pool/pool.js";
import { EventLog } from "@fulcrum/simulator/event-log.js";
import { isComplete, type SimEvent, type SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { type Iteration, type Work, WorkCounters } from "@fulcrum/simulator/work-counters.js";
import { DecodeSide } from "./decode-side.js";
import type { GapMeter } from "./gap-meter.js";
import { PauseWatch } from "./pause-watch.js";
import { PrefillSide } from "./prefill-side.js";
import type { Batch, Blocks, Inheritance, ResidentRequest } from "./resident-protocol.js";
import { createSequence, resetSequence, type Sequence } from "./sequence.js";
import type { TokenLog } from "./token-log.js";

const MAX_WAITING = 20_000;

export type Posted = Extract<ResidentRequest, { op: "post" }>;

interface Out {
  readonly batch: number;
  readonly startMs: number;
  readonly iteration: Iteration;
}

interface RoleState {
  iteration: number;
  tokens: number;
  out: Out | null;
}

interface Ended {
  readonly free: Blocks;
  /** Prompt tokens, or sequences, that ran. */
  readonly size: number;
  /** The largest of its tokens. */
  readonly gapMs: number;
}

export interface EngineStateOptions {
  readonly profile: Profile;
  readonly pool: Pick<KvPool, "usage" | "owners" | "shape">;
  readonly tokens: TokenLog;
  readonly meter: GapMeter;
  /** Engine time, milliseconds. */
  readonly nowMs: () => number;
  /** How long this process has waited for cores so far, engine time; null: not known. */
  readonly coreWaitMs: () => number | null;
}

export class EngineState {
  readonly prefill: PrefillSide;
  readonly decode: DecodeSide;
  readonly counts = { arrived: 0, finished: 0, refused: 0, preempted: 0 };
  private readonly log = new EventLog();
  private readonly work = new WorkCounters();
  private readonly roles: Record<Phase, RoleState> = {
    prefill: { iteration: 0, tokens: 0, out: null },
    decode: { iteration: 0, tokens: 0, out: null },
  };
  readonly pauses: PauseWatch;
  private batches = 0;

  constructor(private readonly options: EngineStateOptions) {
    this.prefill = new PrefillSide(options.profile);
    this.decode = new DecodeSide(options.profile);
    this.pauses = new PauseWatch(options.meter, options.nowMs, options.coreWaitMs);
  }

  /** What happened since the last call. */
  takeEvents(): readonly SimEvent[] {
    return this.log.take();
  }

  hasWork(phase: Phase): boolean {
    return this[phase].hasWork;
  }

  progress(phase: Phase): { readonly iteration: number; readonly tokens: number } {
    return this.roles[phase];
  }

  isRunning(phase: Phase): boolean {
    return this.roles[phase].out !== null;
  }

  /** Requests that are not done. */
  get inside(): number {
    return [...this.prefill.all()].length + this.decode.runningCount + this.decode.waitingCount;
  }

  readWork(): Work {
    const { prefill, decode } = this.roles;
    return this.work.read(
      this.options.nowMs(),
      prefill.out?.iteration ?? null,
      decode.out?.iteration ?? null,
    );
  }

  arrive(request: SimRequest): void {
    const { pool, nowMs, profile } = this.options;
    const { id, promptTokens, outputTokens } = request;
    this.counts.arrived += 1;
    this.work.arrived(promptTokens);
    this.log.add({ type: "arrived", atMs: nowMs(), id, promptTokens });
    const blocks = Math.ceil((promptTokens + outputTokens) / profile.kvBlockTokens);
    if (blocks > pool.shape.blocks) this.refuse(id, "never_fits");
    else if (this.prefill.waiting >= MAX_WAITING) this.refuse(id, "queue_full");
    else this.prefill.enqueue(createSequence(request));
    this.noteWork();
  }

  /**
   * The next batch of a role at this SM share; null when there is nothing to run.
   * @param coreWaitMs how long its worker waited for cores before it asked; null: not known.
   */
  offer(phase: Phase, smPct: number, otherSmPct: number, coreWaitMs: number | null): Batch | null {
    if (phase === "prefill") this.refuseHeads();
    if (!this.hasWork(phase)) return null;
    const role = this.roles[phase];
    const other = this.roles[phase === "prefill" ? "decode" : "prefill"].out;
    const prefill = phase === "prefill" ? this.prefill.offer() : [];
    const decode = phase === "decode" ? this.decode.offer() : [];
    const startMs = this.options.nowMs();
    this.pauses.runs(phase, coreWaitMs);
    this.batches += 1;
    const iteration = { startMs, endMs: Infinity, share: smPct / 100, size: decode.length, contextTokens: 0 };
    role.out = { batch: this.batches, startMs, iteration };
    return {
      ok: true,
      batch: this.batches,
      iteration: role.iteration + 1,
      otherSmPct: other === null ? null : otherSmPct,
      prefill,
      decode,
    };
  }

  /** A round of the role's loop in which there was nothing to run. */
  idle(phase: Phase): number {
    this.roles[phase].iteration += 1;
    return this.roles[phase].iteration;
  }

  /** @returns blocks that nobody needs any more, all in `slot`; null: this batch is not the one that is out. */
  post(phase: Phase, slot: number, posted: Posted): Blocks | null {
    const role = this.roles[phase];
    const { out } = role;
    if (out === null || out.batch !== posted.batch) return null;
    role.out = null;
    const { free, size, gapMs } =
      phase === "prefill" ? this.endPrefill(slot, posted, out.startMs) : this.endDecode(slot, posted);
    if (size > 0) this.count(phase, out, posted.share, size);
    if (size > 0) this.pauses.ended(phase, this.options.nowMs() - out.startMs, gapMs);
    this.noteWork();
    return free;
  }

  /** `id`, of the batch that is out, gives way to older ones. @returns its blocks; null: no such sequence. */
  preempt(batch: number, id: number): Blocks | null {
    if (this.roles.decode.out?.batch !== batch) return null;
    const sequence = this.decode.find(id);
    if (sequence === undefined) return null;
    const { blocks } = sequence;
    this.requeue([sequence]);
    return blocks;
  }

  /**
   * A worker has begun a turn, which it saw so long ago: what was out under an earlier one is void.
   * @returns what it is to inherit.
   */
  begin(
    phase: Phase,
    slot: number,
    { turn, sawMsAgo }: { readonly turn: number; readonly sawMsAgo: number },
  ): readonly Inheritance[] {
    const isHandedOver = !this.giveUp(phase, slot);
    this.pauses.begun(phase, turn, this.options.nowMs() - sawMsAgo);
    const owners = this.options.pool.owners().filter((owner) => owner.role === phase);
    const slots = new Set(owners.map((owner) => owner.slot));
    this.requeue(this.heldBy(phase).filter((held) => held.slot === null || !slots.has(held.slot)));
    const blocksIn = (from: number): number =>
      this.heldBy(phase).reduce((sum, held) => sum + (held.slot === from ? held.blocks.length : 0), 0);
    return owners
      .filter((owner) => owner.slot !== slot && owner.blocks > 0)
      .map((owner) => ({ slot: owner.slot, blocks: isHandedOver ? blocksIn(owner.slot) : null }));
  }

  /** What is out is void: its requests are where they were. @returns whether a batch was out. */
  giveUp(phase: Phase, slot: number): boolean {
    const role = this.roles[phase];
    if (role.out === null) return false;
    // The iteration that was lost counts as a pause.
    this.pauses.waits(phase, role.out.startMs);
    role.out = null;
    if (phase === "prefill") this.prefill.end(slot, () => null);
    else this.decode.end(slot, []);
    return true;
  }

  /** As inherit, where nothing is left over: a worker hands over with an iteration posted and its blocks freed. */
  inheritAll(phase: Phase, from: number, to: number): void {
    for (const held of this.heldBy(phase)) if (held.slot === from) held.slot = to;
  }

  /** The owner in slot `to` has `blocks`, all that the one in `from` held. @returns those that nobody needs. */
  inherit(phase: Phase, from: number, to: number, blocks: Blocks): Blocks {
    const rest = new Set(blocks);
    const lost: Sequence[] = [];
    for (const sequence of this.heldBy(phase)) {
      const own = sequence.blocks.filter((block) => !sequence.inherited.has(block));
      const isWhole = own.every((block) => rest.has(block));
      // By its blocks, not by its slot alone: who held them in `from` may have died before it could say that it did.
      const isTheirs = sequence.slot === from || (isWhole && own.length > 0);
      if (!isTheirs) continue;
      if (!isWhole && !this.decode.isTaking(sequence)) lost.push(sequence);
      else {
        sequence.slot = to;
        for (const block of own) rest.delete(block);
      }
    }
    if (phase === "decode") {
      for (const sequence of this.decode.prefilled) {
        // Taken over by the worker that died before it could say so.
        for (const block of sequence.blocks) if (rest.delete(block)) sequence.inherited.add(block);
      }
    }
    this.requeue(lost);
    return [...rest];
  }

  /** Whether a request's blocks are in one of these slots. */
  needs(slots: ReadonlySet<number>): boolean {
    const held = [...this.heldBy("prefill"), ...this.heldBy("decode")];
    return held.some(({ slot }) => slot !== null && slots.has(slot));
  }

  /** These owners were dropped from the pool: what they held was freed. */
  dropped(slots: ReadonlySet<number>): void {
    const held = [...this.heldBy("prefill"), ...this.heldBy("decode")];
    this.requeue(
      held.filter((one) => one.slot !== null && slots.has(one.slot) && !this.decode.isTaking(one)),
    );
  }

  /** Sequences whose blocks an owner of this role holds. */
  private heldBy(phase: Phase): readonly Sequence[] {
    if (phase === "decode") return this.decode.sequences;
    const { chunked } = this.prefill;
    return [...(chunked ? [chunked] : []), ...this.decode.prefilled];
  }

  private endPrefill(slot: number, { results }: Posted, startMs: number): Ended {
    const { nowMs, tokens } = this.options;
    const byId = new Map(results.map((result) => [result.id, result]));
    const atMs = nowMs();
    const free: number[] = [];
    let size = 0;
    let gapMs = 0;
    for (const { sequence, part } of this.prefill.end(slot, (id) => byId.get(id)?.blocks ?? null)) {
      const { job } = sequence;
      size += part.tokens;
      job.admittedAtMs ??= startMs;
      const token = byId.get(part.id)?.token ?? null;
      if (part.token === null || token === null) continue;
      if (tokens.take(part.id, token, atMs)) {
        if (job.firstTokenAtMs !== null) gapMs = Math.max(gapMs, this.gap(sequence, atMs));
        this.roles.prefill.tokens += 1;
        this.log.prefilled(job, atMs);
        job.lastTokenAtMs = atMs;
      }
      if (isComplete(job)) free.push(...this.finish(sequence, atMs));
      else this.decode.handOver(sequence);
    }
    return { free, size, gapMs };
  }

  private endDecode(slot: number, { results, joined }: Posted): Ended {
    const { nowMs, tokens } = this.options;
    const atMs = nowMs();
    const failedJoins = this.decode.end(slot, joined);
    const byId = new Map(this.decode.sequences.map((sequence) => [sequence.job.request.id, sequence]));
    const advanced: Sequence[] = [];
    let gapMs = 0;
    for (const { id, token, blocks } of results) {
      const sequence = byId.get(id);
      if (sequence === undefined || token === null) continue;
      sequence.blocks.push(...blocks);
      if (!tokens.take(id, token, atMs)) continue;
      gapMs = Math.max(gapMs, this.gap(sequence, atMs));
      sequence.job.generatedTokens += 1;
      advanced.push(sequence);
    }
    this.roles.decode.tokens += advanced.length;
    if (advanced.length > 0)
      this.log.decoded(
        advanced.map(({ job }) => job),
        atMs,
      );
    const done = advanced.filter(({ job }) => isComplete(job));
    this.decode.remove(new Set(done));
    if (failedJoins > 0) this.requeueStranded();
    return { free: done.flatMap((sequence) => this.finish(sequence, atMs)), size: results.length, gapMs };
  }

  private finish({ job, blocks }: Sequence, atMs: number): readonly number[] {
    this.counts.finished += 1;
    this.options.tokens.close(job.request.id, job.request.outputTokens);
    this.log.finished(job, atMs);
    return blocks;
  }

  /** @returns since its last token; 0 where it was preempted in between. */
  private gap(sequence: Sequence, atMs: number): number {
    const { preempted } = sequence;
    sequence.preempted = false;
    if (preempted) return 0;
    const ms = atMs - sequence.job.lastTokenAtMs;
    this.options.meter.gap(ms);
    return ms;
  }

  private count(phase: Phase, { startMs }: Out, share: number, size: number): void {
    const endMs = this.options.nowMs();
    this.roles[phase].iteration += 1;
    this.options.meter.iteration(phase, endMs - startMs);
    const contextTokens = phase === "decode" ? this.decode.contextTokens : 0;
    const other = this.roles[phase === "prefill" ? "decode" : "prefill"].out?.iteration ?? null;
    this.work.ended(phase, { startMs, endMs, share, size, contextTokens }, other);
  }

  /** Prefilled ones whose holder was dropped from the pool: nobody can take their blocks over any more. */
  private requeueStranded(): void {
    const slots = new Set(this.options.pool.owners().map(({ slot }) => slot));
    this.requeue(this.decode.prefilled.filter(({ slot }) => slot === null || !slots.has(slot)));
  }

  private requeue(sequences: readonly Sequence[]): void {
    const atMs = this.options.nowMs();
    for (const sequence of sequences) {
      this.counts.preempted += 1;
      this.log.preempted(sequence.job, atMs);
      if (sequence === this.prefill.chunked) this.prefill.restartPartial();
      else {
        this.decode.remove(new Set([sequence]));
        resetSequence(sequence);
        this.prefill.enqueueFirst(sequence);
      }
    }
    this.noteWork();
  }

  /** A prompt that exceeds prefill's quota would wait for ever, and all others behind it. */
  private refuseHeads(): void {
    for (let { head } = this.prefill; head !== undefined; { head } = this.prefill) {
      if (this.prefill.blocksFor(head) <= this.options.pool.usage().prefill.quotaBlocks) return;
      this.prefill.dropHead();
      this.refuse(head.job.request.id, "never_fits");
    }
  }

  private refuse(id: number, reason: "never_fits" | "queue_full"): void {
    this.counts.refused += 1;
    this.log.add({ type: "refused", atMs: this.options.nowMs(), id, reason });
  }

  private noteWork(): void {
    for (const phase of ["prefill", "decode"] as const) {
      if (this.roles[phase].out !== null || !this.hasWork(phase)) this.pauses.nothingWaits(phase);
      else this.pauses.waits(phase);
    }
  }
}
