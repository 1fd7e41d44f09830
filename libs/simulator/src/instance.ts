import type { Allocation, GeneratedAllocation, Phase, Split } from "@fulcrum/core/nouns.js";
import { DecodeWorker } from "./decode-worker.js";
import { Fifo } from "./fifo.js";
import { createJob, type Job, type SimEvent, type SimRequest } from "./job.js";
import { KvPool } from "./kv-pool.js";
import { PrefillWorker } from "./prefill-worker.js";
import { deliveredSmPct, type Profile } from "./profile.js";
import { decodeStepMs, prefillStepMs, shareInForce } from "./step-time.js";
import { Switching, type SwitchOutcome } from "./switching.js";

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
  readonly prefillWaiting: number;
  readonly prefillRunning: number;
  /** Prefilled, waiting for a place in the decode batch. */
  readonly decodeWaiting: number;
  readonly decodeRunning: number;
  /** Requests that were preempted and have not been prefilled again. */
  readonly preemptedWaiting: number;
  readonly kvTotalTokens: number;
  readonly kvUsedTokens: number;
  /** Of these, held by requests that decode has not taken over: what the KV quota bounds. */
  readonly kvPrefillTokens: number;
  /** Requests that decode has not taken over and that hold blocks. */
  readonly kvPrefillRequests: number;
  /** Milliseconds since the start in which the phase's worker ran an iteration. */
  readonly busyMs: Readonly<Record<Phase, number>>;
}

/** One engine deployment, in virtual time that starts at 0 and moves only by advanceTo. */
export function createInstance(options: InstanceOptions): Instance {
  return new Instance(options);
}

/** An iteration that runs from one instant to another. */
interface Iteration {
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * Two workers on one GPU that iterate independently over one KV pool (semi-PD §4). Deterministic. At one
 * instant things happen in this order: prefill ends, decode ends, requests arrive, workers between two
 * iterations switch, prefill starts, decode starts. An iteration's length is fixed when it starts, from the
 * share in force then; a phase that starts while the other is idle keeps the full cap to its iteration's end.
 */
export class Instance {
  readonly #profile: Profile;
  readonly #maxWaiting: number;
  readonly #pool: KvPool;
  readonly #prefill: PrefillWorker;
  readonly #decode: DecodeWorker;
  readonly #switching: Switching;
  readonly #arrivals = new Fifo<SimRequest>();
  readonly #iterations: Record<Phase, Iteration | null> = { prefill: null, decode: null };
  readonly #busyMs: Record<Phase, number> = { prefill: 0, decode: 0 };
  #preemptedWaiting = 0;
  #lastArrivalMs = 0;
  #nowMs = 0;
  #events: SimEvent[] = [];

  constructor(options: InstanceOptions) {
    checkAllocation(options.initial);
    this.#profile = options.profile;
    this.#maxWaiting = options.maxWaiting ?? 20_000;
    this.#pool = new KvPool(options.profile.kvTotalTokens, options.profile.kvBlockTokens);
    this.#prefill = new PrefillWorker(options.profile, this.#pool);
    this.#decode = new DecodeWorker(options.profile, this.#pool);
    this.#switching = new Switching(options.initial);
  }

  /**
   * Announces a request that arrives now or later; in the order of arrival. At most 1,000,000 may be
   * announced ahead of time. Throws RangeError on a request from the past or with counts below 1.
   */
  submit(request: SimRequest): void {
    const { arrivalMs, promptTokens, outputTokens } = request;
    const earliestMs = Math.max(this.#nowMs, this.#lastArrivalMs);
    if (!(arrivalMs >= earliestMs)) {
      throw new RangeError(`arrivalMs must be at least ${earliestMs}, got ${arrivalMs}`);
    }
    if (!(Number.isInteger(promptTokens) && promptTokens >= 1)) {
      throw new RangeError(`promptTokens must be a whole number of at least 1, got ${promptTokens}`);
    }
    if (!(Number.isInteger(outputTokens) && outputTokens >= 1)) {
      throw new RangeError(`outputTokens must be a whole number of at least 1, got ${outputTokens}`);
    }
    if (this.#arrivals.length >= 1_000_000) throw new RangeError("at most 1000000 requests may be announced");
    this.#lastArrivalMs = arrivalMs;
    this.#arrivals.push(request);
  }

  /** Lets time pass up to and including `tMs`; what happened, in order of time. Throws RangeError if it is past. */
  advanceTo(tMs: number): SimEvent[] {
    if (!(tMs >= this.#nowMs))
      throw new RangeError(`advanceTo must not go back from ${this.#nowMs}, got ${tMs}`);
    // Ends: every pass handles at least one arrival, iteration end or switch, and iterations take time.
    for (let nextMs = this.#nextMs(); nextMs <= tMs; nextMs = this.#nextMs()) {
      this.#nowMs = nextMs;
      this.#settle();
    }
    this.#nowMs = tMs;
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** Whether anything is still to be done for requests that were submitted. */
  get idle(): boolean {
    return this.#nextMs() === Infinity;
  }

  /** Starts to prepare an allocation in the background; ready after `prepareMs`. Throws RangeError on caps outside (0, 100]. */
  prepare(allocation: GeneratedAllocation, prepareMs: number): SwitchOutcome {
    checkAllocation(allocation);
    return this.#switching.prepare(allocation, this.#nowMs + prepareMs);
  }

  /** Lets both workers switch to the prepared generation, each at its next boundary; an idle one at once. */
  commit(generation: number, holdMs = 0): SwitchOutcome {
    const outcome = this.#switching.commit(generation, this.#nowMs, holdMs);
    this.#settle();
    return outcome;
  }

  abort(generation: number): SwitchOutcome {
    return this.#switching.abort(generation);
  }

  state(): InstanceState {
    const prepared = this.#switching.prepared(this.#nowMs);
    const unswitched = prepared === null ? "steady" : "preparing";
    return {
      nowMs: this.#nowMs,
      generation: this.#switching.generation,
      phase: this.#switching.switching ? "switching" : unswitched,
      asked: this.#switching.asked,
      delivered: { split: this.#delivered(), kvQuotaPct: this.#switching.runs("prefill").kvQuotaPct },
      prepared,
      prefillWaiting: this.#prefill.waiting,
      prefillRunning: this.#prefill.running,
      decodeWaiting: this.#decode.waiting,
      decodeRunning: this.#decode.running,
      preemptedWaiting: this.#preemptedWaiting,
      kvTotalTokens: this.#profile.kvTotalTokens,
      kvUsedTokens: this.#pool.usedTokens,
      kvPrefillTokens: this.#pool.prefillTokens,
      kvPrefillRequests: this.#pool.prefillJobs,
      busyMs: { prefill: this.#busyUntilNow("prefill"), decode: this.#busyUntilNow("decode") },
    };
  }

  #nextMs(): number {
    return Math.min(
      this.#iterations.prefill?.endMs ?? Infinity,
      this.#iterations.decode?.endMs ?? Infinity,
      this.#arrivals.first()?.arrivalMs ?? Infinity,
      this.#switching.nextAtMs(this.#nowMs),
    );
  }

  /** Everything that is due at the present instant. */
  #settle(): void {
    if (this.#endsNow("prefill")) this.#endPrefill();
    if (this.#endsNow("decode")) this.#endDecode();
    this.#takeArrivals();
    this.#takeSwitch("prefill");
    this.#takeSwitch("decode");
    this.#startPrefill();
    this.#startDecode();
    // Decode may have preempted requests and so given an idle prefill work and blocks.
    this.#startPrefill();
  }

  #endsNow(phase: Phase): boolean {
    const iteration = this.#iterations[phase];
    if (iteration === null || iteration.endMs > this.#nowMs) return false;
    this.#busyMs[phase] += iteration.endMs - iteration.startMs;
    this.#iterations[phase] = null;
    return true;
  }

  #endPrefill(): void {
    for (const job of this.#prefill.completeBatch()) {
      job.generatedTokens += 1;
      const { id, arrivalMs, promptTokens } = job.request;
      if (job.firstTokenAtMs === null) {
        job.firstTokenAtMs = this.#nowMs;
        const ttftMs = this.#nowMs - arrivalMs;
        const queuedMs = (job.admittedAtMs ?? arrivalMs) - arrivalMs;
        this.#events.push({ type: "first_token", atMs: this.#nowMs, id, promptTokens, ttftMs, queuedMs });
      } else {
        this.#preemptedWaiting -= 1;
        this.#emitTokens([job]);
      }
      job.lastTokenAtMs = this.#nowMs;
      if (job.generatedTokens >= job.request.outputTokens) this.#finish(job);
      else this.#decode.handOver(job);
    }
  }

  #endDecode(): void {
    const { advanced, done } = this.#decode.completeBatch();
    this.#emitTokens(advanced);
    for (const job of advanced) job.lastTokenAtMs = this.#nowMs;
    for (const job of done) this.#finish(job);
  }

  /** One event for all tokens of an instant; requests that advanced together last time share a group. */
  #emitTokens(jobs: readonly Job[]): void {
    const counts = new Map<number, number>();
    for (const job of jobs) counts.set(job.lastTokenAtMs, (counts.get(job.lastTokenAtMs) ?? 0) + 1);
    const groups = Array.from(counts, ([lastMs, count]) => ({ itlMs: this.#nowMs - lastMs, count }));
    this.#events.push({ type: "tokens", atMs: this.#nowMs, groups });
  }

  #finish(job: Job): void {
    this.#pool.release(job);
    const { id, arrivalMs, promptTokens, outputTokens } = job.request;
    const firstMs = job.firstTokenAtMs ?? this.#nowMs;
    this.#events.push({
      type: "finished",
      atMs: this.#nowMs,
      id,
      promptTokens,
      outputTokens,
      ttftMs: firstMs - arrivalMs,
      tpotMs: outputTokens > 1 ? (this.#nowMs - firstMs) / (outputTokens - 1) : null,
      e2eMs: this.#nowMs - arrivalMs,
    });
  }

  #takeArrivals(): void {
    for (;;) {
      const request = this.#arrivals.first();
      if (request === undefined || request.arrivalMs > this.#nowMs) return;
      this.#arrivals.takeFirst();
      const { id, promptTokens, outputTokens } = request;
      this.#events.push({ type: "arrived", atMs: this.#nowMs, id, promptTokens });
      if (!this.#pool.fits(promptTokens + outputTokens)) {
        this.#events.push({ type: "refused", atMs: this.#nowMs, id, reason: "never_fits" });
      } else if (this.#prefill.waiting >= this.#maxWaiting) {
        this.#events.push({ type: "refused", atMs: this.#nowMs, id, reason: "queue_full" });
      } else {
        this.#prefill.enqueue(createJob(request));
      }
    }
  }

  #takeSwitch(phase: Phase): void {
    if (this.#iterations[phase] !== null) return;
    const generation = this.#switching.takeAtBoundary(phase, this.#nowMs);
    if (generation !== null) this.#events.push({ type: "switched", atMs: this.#nowMs, phase, generation });
  }

  #startPrefill(): void {
    if (this.#iterations.prefill !== null) return;
    const batch = this.#prefill.formBatch(this.#nowMs, this.#switching.runs("prefill").kvQuotaPct);
    if (batch === null) return;
    const decodeRuns = this.#decode.hasWork;
    const share = shareInForce(this.#profile, this.#delivered(), "prefill", decodeRuns);
    this.#start("prefill", prefillStepMs(this.#profile, batch, share, decodeRuns));
  }

  #startDecode(): void {
    if (this.#iterations.decode !== null) return;
    const preempted: Job[] = [];
    const batch = this.#decode.formBatch(preempted);
    for (const job of preempted) {
      this.#preemptedWaiting += 1;
      this.#prefill.enqueueFirst(job);
      const { id } = job.request;
      this.#events.push({
        type: "preempted",
        atMs: this.#nowMs,
        id,
        generatedTokens: job.generatedTokens,
      });
    }
    if (batch === null) return;
    const prefillRuns = this.#iterations.prefill !== null;
    const share = shareInForce(this.#profile, this.#delivered(), "decode", prefillRuns);
    this.#start("decode", decodeStepMs(this.#profile, batch, share, prefillRuns));
  }

  #start(phase: Phase, durationMs: number): void {
    this.#iterations[phase] = { startMs: this.#nowMs, endMs: this.#nowMs + durationMs };
  }

  #delivered(): Split {
    return {
      prefillSmPct: deliveredSmPct(this.#profile, this.#switching.runs("prefill").split.prefillSmPct),
      decodeSmPct: deliveredSmPct(this.#profile, this.#switching.runs("decode").split.decodeSmPct),
    };
  }

  #busyUntilNow(phase: Phase): number {
    const iteration = this.#iterations[phase];
    return this.#busyMs[phase] + (iteration === null ? 0 : this.#nowMs - iteration.startMs);
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
