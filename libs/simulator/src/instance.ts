import type { Allocation, GeneratedAllocation, Phase, Split } from "@fulcrum/core/nouns.js";
import { DecodeWorker } from "./decode-worker.js";
import { finalTokens, isComplete, type Job, type RefusalReason } from "./job.js";
import { KvPool } from "./kv-pool.js";
import { PrefillWorker } from "./prefill-worker.js";
import { deliveredSmPct, type Profile } from "./profile.js";
import { ServingLoop } from "./serving.js";
import { decodeStepMs, prefillStepMs, shareInForce } from "./step-time.js";
import { Switching, type SwitchOutcome } from "./switching.js";
import { idleMsUntil, type Turns, turnsOf } from "./turns.js";
import { WorkCounters, type Iteration, type Work } from "./work-counters.js";

export interface InstanceOptions {
  readonly profile: Profile;
  /** What both workers run at the start. */
  readonly initial: GeneratedAllocation;
  /** Requests that may wait for prefill; further arrivals are refused. Default 20,000. */
  readonly maxWaiting?: number;
}

/** Gauges at the present instant. Token counts are of whole blocks; percentages are of all SMs. */
export interface InstanceState {
  readonly nowMs: number;
  readonly generation: number;
  /** "preparing" while a generation is prepared and not committed, ready or not; "switching" goes before it. */
  readonly phase: "steady" | "preparing" | "switching";
  readonly asked: Allocation;
  /** What each worker runs, caps rounded down to whole TPCs. */
  readonly delivered: Allocation;
  readonly prepared: { readonly generation: number; readonly ready: boolean } | null;
  /** The turns at which what is prepared switches by itself; null when it waits for a commit. */
  readonly armed: Turns | null;
  /** Turns of each worker's loop that have ended, and those at whose ends the last switch was. */
  readonly turns: Turns;
  readonly switchedAt: Turns | null;
  readonly prefillWaiting: number;
  readonly prefillRunning: number;
  /** Prefilled, waiting for a place in the decode batch. */
  readonly decodeWaiting: number;
  readonly decodeRunning: number;
  /** Requests that were preempted and have not been prefilled again. */
  readonly preemptedWaiting: number;
  /** In force; of these, in use beyond the size asked for by setKvTotalTokens. */
  readonly kvTotalTokens: number;
  readonly kvOwedTokens: number;
  readonly kvUsedTokens: number;
  /** Of these, held by requests that decode has not taken over: what the KV quota bounds. */
  readonly kvPrefillTokens: number;
  /** Requests that decode has not taken over and that hold blocks. */
  readonly kvPrefillRequests: number;
  /** Prompt tokens of the requests that wait for admission, and how long the first of them has waited. */
  readonly prefillWaitingTokens: number;
  readonly oldestWaitMs: number;
  readonly work: Work;
}

/** One engine deployment, in virtual time that starts at 0 and moves only by advanceTo. */
export function createInstance(options: InstanceOptions): Instance {
  return new Instance(options);
}

/**
 * Two workers on one GPU that iterate independently over one KV pool (semi-PD §4). Deterministic. At one
 * instant things happen in this order: prefill ends, decode ends, requests arrive, workers between two
 * iterations switch, prefill starts, decode starts. An iteration's length is fixed when it starts, from the
 * share in force then; a phase that starts while the other is idle keeps the full cap to its iteration's end.
 */
export class Instance extends ServingLoop {
  readonly #options: InstanceOptions;
  readonly #profile: Profile;
  #pool: KvPool;
  #prefill: PrefillWorker;
  #decode: DecodeWorker;
  #switching: Switching;
  #work = new WorkCounters();
  readonly #iterations: Record<Phase, Iteration | null> = { prefill: null, decode: null };
  #preemptedWaiting = 0;
  readonly gpus: number;

  constructor(options: InstanceOptions) {
    super();
    checkAllocation(options.initial);
    this.#options = options;
    this.#profile = options.profile;
    this.gpus = options.profile.gpus ?? 1;
    this.#pool = new KvPool(options.profile.kvTotalTokens, options.profile.kvBlockTokens);
    this.#prefill = new PrefillWorker(options.profile, this.#pool);
    this.#decode = new DecodeWorker(options.profile, this.#pool);
    this.#switching = new Switching(options.initial);
  }

  /**
   * An independent instance in the same state, with the requests already submitted. Events that this one
   * has not handed out are not in it. Costs a copy of every request inside, and a slot for each announced.
   */
  fork(): Instance {
    const copy = new Instance(this.#options);
    copy.standLike(this);
    copy.#pool = this.#pool.copy();
    copy.#prefill = this.#prefill.copy(copy.#pool);
    copy.#decode = this.#decode.copy(copy.#pool);
    copy.#switching = this.#switching.copy();
    copy.#work = this.#work.copy();
    copy.#iterations.prefill = this.#iterations.prefill;
    copy.#iterations.decode = this.#iterations.decode;
    copy.#preemptedWaiting = this.#preemptedWaiting;
    return copy;
  }

  /** Starts to prepare an allocation in the background; ready after `prepareMs`. Throws RangeError on caps outside (0, 100]. */
  prepare(allocation: GeneratedAllocation, prepareMs: number): SwitchOutcome {
    checkAllocation(allocation);
    return this.#switching.prepare(allocation, this.nowMs + prepareMs);
  }

  /**
   * Lets both workers switch to the prepared generation, each at its next boundary, an idle one at once; with
   * `at`, each at the end of the turn named for it (`too_late` for both when one of them is past).
   */
  commit(generation: number, holdMs = 0, at: Turns | null = null): SwitchOutcome {
    const earliest = { prefill: this.#earliestTurn("prefill"), decode: this.#earliestTurn("decode") };
    const outcome = this.#switching.commit(generation, this.nowMs, { holdMs, at, earliest });
    this.settle();
    return outcome;
  }

  abort(generation: number): SwitchOutcome {
    return this.#switching.abort(generation);
  }

  /**
   * Changes the size of the KV pool to whole blocks of at most `tokens`, but never below what the largest
   * request inside will need. Returns the tokens in force: what is in use beyond the new size is owed and
   * given back as blocks come free. Until then nothing is admitted, and a sequence that must grow preempts
   * the youngest as in any full pool. An
   * arrival that needs more than the new size is refused. Throws RangeError on a size below one block.
   */
  setKvTotalTokens(tokens: number): number {
    if (!(tokens >= this.#profile.kvBlockTokens && tokens < Infinity)) {
      throw new RangeError(`a KV pool needs at least one block, got ${tokens} tokens`);
    }
    this.#pool.resize(tokens, Math.max(this.#prefill.largestTokens, this.#decode.largestTokens));
    this.settle();
    return this.#pool.totalTokens;
  }

  state(): InstanceState {
    const prepared = this.#switching.prepared(this.nowMs);
    const work = this.#worked();
    const unswitched = prepared === null ? "steady" : "preparing";
    return {
      nowMs: this.nowMs,
      generation: this.#switching.generation,
      phase: this.#switching.switching ? "switching" : unswitched,
      asked: this.#switching.asked,
      delivered: { split: this.#delivered(), kvQuotaPct: this.#switching.runs("prefill").kvQuotaPct },
      prepared,
      armed: this.#switching.armed,
      turns: { prefill: turnsOf("prefill", work, this.nowMs), decode: turnsOf("decode", work, this.nowMs) },
      switchedAt: this.#switching.switchedAt,
      prefillWaiting: this.#prefill.waiting,
      prefillRunning: this.#prefill.running,
      decodeWaiting: this.#decode.waiting,
      decodeRunning: this.#decode.running,
      preemptedWaiting: this.#preemptedWaiting,
      kvTotalTokens: this.#pool.totalTokens,
      kvOwedTokens: this.#pool.owedTokens,
      kvUsedTokens: this.#pool.usedTokens,
      kvPrefillTokens: this.#pool.prefillTokens,
      kvPrefillRequests: this.#pool.prefillJobs,
      prefillWaitingTokens: this.#prefill.waitingTokens,
      oldestWaitMs: this.#prefill.oldestWaitMs(this.nowMs),
      work,
    };
  }

  protected nextOwnMs(): number {
    return Math.min(
      this.#iterations.prefill?.endMs ?? Infinity,
      this.#iterations.decode?.endMs ?? Infinity,
      this.#switching.nextAtMs(this.nowMs),
      this.#idleSwitchAtMs("prefill"),
      this.#idleSwitchAtMs("decode"),
    );
  }

  protected settle(): void {
    if (this.#endsNow("prefill")) this.#endPrefill();
    if (this.#endsNow("decode")) this.#endDecode();
    this.takeArrivals();
    this.#takeSwitch("prefill");
    this.#takeSwitch("decode");
    this.#startPrefill();
    this.#startDecode();
    // Decode may have preempted requests and so given an idle prefill work and blocks.
    this.#startPrefill();
  }

  protected accept(job: Job): RefusalReason | null {
    this.#work.arrived(job.request.promptTokens);
    if (!this.#pool.fits(finalTokens(job))) return "never_fits";
    if (this.#prefill.waiting >= (this.#options.maxWaiting ?? 20_000)) return "queue_full";
    this.#prefill.enqueue(job);
    return null;
  }

  #endsNow(phase: Phase): boolean {
    const iteration = this.#iterations[phase];
    if (iteration === null || iteration.endMs > this.nowMs) return false;
    this.#iterations[phase] = null;
    this.#work.ended(phase, iteration, this.#iterations[phase === "prefill" ? "decode" : "prefill"]);
    return true;
  }

  #endPrefill(): void {
    for (const job of this.#prefill.completeBatch()) {
      if (job.firstTokenAtMs !== null) this.#preemptedWaiting -= 1;
      this.log.prefilled(job, this.nowMs);
      if (isComplete(job)) this.#finish(job);
      else this.#decode.handOver(job);
    }
  }

  #endDecode(): void {
    const { advanced, done } = this.#decode.completeBatch();
    this.log.decoded(advanced, this.nowMs);
    for (const job of done) this.#finish(job);
  }

  #finish(job: Job): void {
    this.#pool.release(job);
    this.log.finished(job, this.nowMs);
  }

  #takeSwitch(phase: Phase): void {
    if (this.#iterations[phase] !== null || !this.#switching.pending) return;
    const turn = turnsOf(phase, this.#worked(), this.nowMs);
    const generation = this.#switching.takeAtBoundary(phase, this.nowMs, turn);
    if (generation !== null) this.log.add({ type: "switched", atMs: this.nowMs, phase, generation });
  }

  /** The first turn at whose end the worker can still switch. */
  #earliestTurn(phase: Phase): number {
    return turnsOf(phase, this.#worked(), this.nowMs) + (this.#iterations[phase] === null ? 0 : 1);
  }

  /** When an idle worker gets to the turn at which it is to switch; Infinity while none is named, or it is busy. */
  #idleSwitchAtMs(phase: Phase): number {
    const turn = this.#switching.turnOf(phase);
    if (turn === null || this.#iterations[phase] !== null) return Infinity;
    return this.nowMs + idleMsUntil(turn, phase, this.#worked(), this.nowMs);
  }

  #worked(): Work {
    return this.#work.read(this.nowMs, this.#iterations.prefill, this.#iterations.decode);
  }

  #startPrefill(): void {
    if (this.#iterations.prefill !== null) return;
    const batch = this.#prefill.formBatch(this.nowMs, {
      kvQuotaPct: this.#switching.runs("prefill").kvQuotaPct,
    });
    if (batch === null) return;
    const decodeRuns = this.#decode.hasWork;
    const share = shareInForce(this.#profile, this.#delivered(), "prefill", decodeRuns);
    const stepMs = prefillStepMs(this.#profile, batch, share, decodeRuns);
    this.#start("prefill", { stepMs, share, size: batch.tokens, contextTokens: 0 });
  }

  #startDecode(): void {
    if (this.#iterations.decode !== null) return;
    const preempted: Job[] = [];
    const batch = this.#decode.formBatch(preempted);
    for (const job of preempted) {
      this.#preemptedWaiting += 1;
      this.#prefill.enqueueFirst(job);
      this.log.preempted(job, this.nowMs);
    }
    if (batch === null) return;
    const prefillRuns = this.#iterations.prefill !== null;
    const share = shareInForce(this.#profile, this.#delivered(), "decode", prefillRuns);
    const stepMs = decodeStepMs(this.#profile, batch, share, prefillRuns);
    this.#start("decode", { stepMs, share, size: batch.sequences, contextTokens: batch.contextTokens });
  }

  #start(phase: Phase, step: Omit<Iteration, "startMs" | "endMs"> & { readonly stepMs: number }): void {
    const { stepMs, share, size, contextTokens } = step;
    const startMs = this.nowMs;
    this.#iterations[phase] = { startMs, endMs: startMs + stepMs, share, size, contextTokens };
  }

  #delivered(): Split {
    return {
      prefillSmPct: deliveredSmPct(this.#profile, this.#switching.runs("prefill").split.prefillSmPct),
      decodeSmPct: deliveredSmPct(this.#profile, this.#switching.runs("decode").split.decodeSmPct),
    };
  }
}

function checkAllocation(allocation: Allocation): void {
  const { prefillSmPct, decodeSmPct } = allocation.split;
  const values = { prefillSmPct, decodeSmPct, kvQuotaPct: allocation.kvQuotaPct };
  for (const [field, value] of Object.entries(values)) {
    if (!(value > 0 && value <= 100))
      throw new RangeError(`${field} must be above 0 and at most 100, got ${value}`);
  }
}
