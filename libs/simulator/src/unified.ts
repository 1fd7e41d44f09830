import { DecodeWorker } from "./decode-worker.js";
import { finalTokens, isComplete, type Job, type RefusalReason } from "./job.js";
import { KvPool } from "./kv-pool.js";
import { PrefillWorker } from "./prefill-worker.js";
import type { Profile } from "./profile.js";
import { ServingLoop } from "./serving.js";
import { kernelMsOf, type DecodeBatch, type PrefillBatch } from "./step-time.js";

/** How one loop divides its iterations between the phases. */
export type UnifiedScheduling =
  /** vLLM without chunked prefill: while prompts wait and fit, iterations of whole prompts; else of decode. */
  | { readonly kind: "prefill-first" }
  /**
   * SplitFuse, vLLM with chunked prefill: every iteration takes a token of each running sequence first and
   * fills up with prompt chunks to `budgetTokens` in all; default 1,024, as the semi-PD paper runs it (§7).
   */
  | {
      readonly kind: "chunked";
      readonly budgetTokens?: number;
      /** See mixedStepMs; default false. */
      readonly weightsReadOnce?: boolean;
    };

export interface UnifiedOptions {
  readonly profile: Profile;
  readonly scheduling: UnifiedScheduling;
  /** Requests that may wait for prefill; further arrivals are refused. Default 20,000. */
  readonly maxWaiting?: number;
}

/** Gauges at the present instant, and sums since the start. */
export interface UnifiedState {
  readonly nowMs: number;
  readonly prefillWaiting: number;
  readonly decodeWaiting: number;
  readonly decodeRunning: number;
  readonly kvUsedTokens: number;
  /** Milliseconds in which an iteration ran, the present one to its end. */
  readonly busyMs: number;
  readonly iterations: number;
}

const WHOLE_POOL = 100;

/**
 * A baseline: one worker that runs both phases in one loop on all SMs, over one KV pool, so that neither
 * contends with the other but each waits for the other's iterations. Queue, admission, preemption by
 * recomputation and step times are Instance's; no request is admitted past `maxBatch` in all (vLLM's
 * max_num_seqs). At one instant: iterations end, requests arrive, the next iteration starts.
 */
export class UnifiedEngine extends ServingLoop {
  readonly gpus: number;
  readonly #options: UnifiedOptions;
  readonly #pool: KvPool;
  readonly #prefill: PrefillWorker;
  readonly #decode: DecodeWorker;
  /** The iteration that runs and whether decode has part in it. */
  #iteration: { readonly endMs: number; readonly decodes: boolean } | null = null;
  #busyMs = 0;
  #iterations = 0;

  /** Throws RangeError when the token budget is not at least 1. */
  constructor(options: UnifiedOptions) {
    super();
    const { profile, scheduling } = options;
    if (scheduling.kind === "chunked" && !((scheduling.budgetTokens ?? 1) >= 1)) {
      throw new RangeError(`budgetTokens must be at least 1, got ${scheduling.budgetTokens}`);
    }
    this.#options = options;
    this.gpus = profile.gpus ?? 1;
    this.#pool = new KvPool(profile.kvTotalTokens, profile.kvBlockTokens);
    this.#prefill = new PrefillWorker(profile, this.#pool);
    this.#decode = new DecodeWorker(profile, this.#pool);
  }

  state(): UnifiedState {
    return {
      nowMs: this.nowMs,
      prefillWaiting: this.#prefill.waiting,
      decodeWaiting: this.#decode.waiting,
      decodeRunning: this.#decode.running,
      kvUsedTokens: this.#pool.usedTokens,
      busyMs: this.#busyMs,
      iterations: this.#iterations,
    };
  }

  protected nextOwnMs(): number {
    return this.#iteration?.endMs ?? Infinity;
  }

  protected settle(): void {
    if (this.#iteration !== null && this.#iteration.endMs <= this.nowMs) this.#end(this.#iteration.decodes);
    this.takeArrivals();
    if (this.#iteration !== null) return;
    if (this.#options.scheduling.kind === "chunked") this.#startMixed(this.#options.scheduling);
    else this.#startPrefillOrDecode();
  }

  protected accept(job: Job): RefusalReason | null {
    if (!this.#pool.fits(finalTokens(job))) return "never_fits";
    if (this.#prefill.waiting >= (this.#options.maxWaiting ?? 20_000)) return "queue_full";
    this.#prefill.enqueue(job);
    return null;
  }

  #end(decodes: boolean): void {
    this.#iteration = null;
    if (decodes) {
      const { advanced, done } = this.#decode.completeBatch();
      this.log.decoded(advanced, this.nowMs);
      for (const job of done) this.#finish(job);
    }
    for (const job of this.#prefill.completeBatch()) {
      this.log.prefilled(job, this.nowMs);
      if (isComplete(job)) this.#finish(job);
      else this.#decode.handOver(job);
    }
  }

  #finish(job: Job): void {
    this.#pool.release(job);
    this.log.finished(job, this.nowMs);
  }

  #startPrefillOrDecode(): void {
    const prompts = this.#formPrefill(this.#options.profile.maxBatchedTokens, true);
    if (prompts !== null) {
      this.#start(prompts, null);
      return;
    }
    const sequences = this.#formDecode();
    // Decode may have preempted its only sequence and so given prefill work and blocks.
    this.#start(
      sequences === null ? this.#formPrefill(this.#options.profile.maxBatchedTokens, true) : null,
      sequences,
    );
  }

  #startMixed({ budgetTokens = 1024 }: { readonly budgetTokens?: number }): void {
    const sequences = this.#formDecode();
    this.#start(this.#formPrefill(budgetTokens - (sequences?.sequences ?? 0), false), sequences);
  }

  #formPrefill(maxTokens: number, wholePrompts: boolean): PrefillBatch | null {
    const maxRequests = this.#options.profile.maxBatch - this.#decode.running - this.#decode.waiting;
    return this.#prefill.formBatch(this.nowMs, {
      kvQuotaPct: WHOLE_POOL,
      maxTokens,
      maxRequests,
      wholePrompts,
    });
  }

  #formDecode(): DecodeBatch | null {
    const preempted: Job[] = [];
    const batch = this.#decode.formBatch(preempted);
    for (const job of preempted) {
      this.#prefill.enqueueFirst(job);
      this.log.preempted(job, this.nowMs);
    }
    return batch;
  }

  #start(prompts: PrefillBatch | null, sequences: DecodeBatch | null): void {
    if (prompts === null && sequences === null) return;
    const { profile, scheduling } = this.#options;
    const weightsReadOnce = scheduling.kind === "chunked" && scheduling.weightsReadOnce === true;
    const stepMs = mixedStepMs(profile, prompts, sequences, weightsReadOnce);
    this.#iteration = { endMs: this.nowMs + stepMs, decodes: sequences !== null };
    this.#busyMs += stepMs;
    this.#iterations += 1;
  }
}

/**
 * Milliseconds of an iteration that carries prompt tokens, sequences or both, on all SMs with nothing
 * beside it: the decode kernels' time plus the prefill kernels' time, and host time once, the greater of the
 * two phases'. `weightsReadOnce` takes the smaller of the constants p0 and d0 off a mixed iteration: they are
 * mostly the weights being read, which fused kernels do once. Published measurements disagree on which is
 * nearer (Sarathi-Serve finds decodes almost free beside a chunk; Nexus measures 250 ms for a mixed batch
 * against 15 ms and 132 ms for its parts); the plain sum lies between.
 */
export function mixedStepMs(
  profile: Profile,
  prompts: PrefillBatch | null,
  sequences: DecodeBatch | null,
  weightsReadOnce: boolean,
): number {
  const { prefill, decode } = profile;
  const prefillMs = prompts === null ? 0 : kernelMsOf(prefill, prompts.tokens, prompts.sumSq);
  const decodeMs = sequences === null ? 0 : kernelMsOf(decode, sequences.sequences, sequences.contextTokens);
  if (prompts === null) return decodeMs + decode.engineMs;
  if (sequences === null) return prefillMs + prefill.engineMs;
  const sharedMs = weightsReadOnce ? Math.min(prefill.kernelMs[0], decode.kernelMs[0]) : 0;
  const kernelMs = Math.max(prefillMs, decodeMs, prefillMs + decodeMs - sharedMs);
  return kernelMs + Math.max(prefill.engineMs, decode.engineMs);
}
