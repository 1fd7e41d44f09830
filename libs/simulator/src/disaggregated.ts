import type { Phase } from "@fulcrum/core/nouns.js";
import { DecodeWorker } from "./decode-worker.js";
import { Fifo } from "./fifo.js";
import { copyJob, finalTokens, isComplete, type Job, type RefusalReason } from "./job.js";
import { KvPool } from "./kv-pool.js";
import { PrefillWorker } from "./prefill-worker.js";
import type { Profile } from "./profile.js";
import { ServingLoop } from "./serving.js";
import { decodeStepMs, prefillStepMs } from "./step-time.js";

export interface DisaggregatedOptions {
  /** Of each of the two GPUs, or of each of the two groups. */
  readonly profile: Profile;
  /** KV of one token: 131,072 for Llama-3-8B in bf16, 327,680 for 70B. */
  readonly kvBytesPerToken: number;
  /** Of the link that KV crosses, in 10^9 bytes per second: about 25 for PCIe 4 x16, 300 for A100 NVLink one way. */
  readonly linkGbPerS: number;
  /** Requests that may wait for prefill; further arrivals are refused. Default 20,000. */
  readonly maxWaiting?: number;
}

/** Gauges at the present instant, and milliseconds since the start in which each worker's iterations ran. */
export interface DisaggregatedState {
  readonly nowMs: number;
  readonly prefillWaiting: number;
  /** Prefilled, still on the prefill GPU: waiting for the link or for blocks on the decode GPU, or under way. */
  readonly transferWaiting: number;
  readonly decodeWaiting: number;
  readonly decodeRunning: number;
  readonly kvUsedTokens: Readonly<Record<Phase, number>>;
  /** The present iteration counts to its end. */
  readonly busyMs: Readonly<Record<Phase, number>>;
}

/** KV on its way: `from` holds blocks on the prefill GPU until it lands, `to` on the decode GPU from the start. */
interface Transfer {
  readonly from: Job;
  readonly to: Job;
  readonly endMs: number;
}

const WHOLE_POOL = 100;

/**
 * A baseline: prefill and decode on a GPU each (DistServe's 1P1D), so neither contends with the other, but
 * each has its own KV pool and a prompt's KV crosses a link in between. One transfer at a time, in the order
 * of prefill; it starts when the decode GPU has blocks for the whole context and until it lands the prefill
 * GPU keeps its own. The first token comes from prefill, the second only after the landing. A sequence that
 * decode preempts is prefilled and sent again (DistServe swaps to host memory instead; nothing public says
 * how fast). Everything else is Instance's.
 */
export class DisaggregatedPair extends ServingLoop {
  readonly gpus: number;
  readonly #options: DisaggregatedOptions;
  readonly #pools: Readonly<Record<Phase, KvPool>>;
  readonly #prefill: PrefillWorker;
  readonly #decode: DecodeWorker;
  readonly #endMs: Record<Phase, number> = { prefill: Infinity, decode: Infinity };
  readonly #busyMs: Record<Phase, number> = { prefill: 0, decode: 0 };
  readonly #prefilled = new Fifo<Job>();
  #transfer: Transfer | null = null;

  /** Throws RangeError when the link's figures are not finite and above 0. */
  constructor(options: DisaggregatedOptions) {
    super();
    const { profile, kvBytesPerToken, linkGbPerS } = options;
    for (const [field, value] of Object.entries({ kvBytesPerToken, linkGbPerS })) {
      if (!(value > 0 && value < Infinity)) throw new RangeError(`${field} must be above 0, got ${value}`);
    }
    this.#options = options;
    this.gpus = 2 * (profile.gpus ?? 1);
    const pool = (): KvPool => new KvPool(profile.kvTotalTokens, profile.kvBlockTokens);
    this.#pools = { prefill: pool(), decode: pool() };
    this.#prefill = new PrefillWorker(profile, this.#pools.prefill);
    this.#decode = new DecodeWorker(profile, this.#pools.decode);
  }

  state(): DisaggregatedState {
    return {
      nowMs: this.nowMs,
      prefillWaiting: this.#prefill.waiting,
      transferWaiting: this.#prefilled.length + (this.#transfer === null ? 0 : 1),
      decodeWaiting: this.#decode.waiting,
      decodeRunning: this.#decode.running,
      kvUsedTokens: { prefill: this.#pools.prefill.usedTokens, decode: this.#pools.decode.usedTokens },
      busyMs: { ...this.#busyMs },
    };
  }

  protected nextOwnMs(): number {
    return Math.min(this.#endMs.prefill, this.#endMs.decode, this.#transfer?.endMs ?? Infinity);
  }

  protected settle(): void {
    if (this.#endsNow("prefill")) this.#endPrefill();
    this.#endTransfer();
    if (this.#endsNow("decode")) this.#endDecode();
    this.takeArrivals();
    this.#startDecode();
    // After decode: it may have preempted sequences, which gives prefill work and the link blocks to fill.
    this.#startTransfer();
    this.#startPrefill();
  }

  protected accept(job: Job): RefusalReason | null {
    // Both pools are of the profile's size: what fits one fits the other.
    if (!this.#pools.decode.fits(finalTokens(job))) return "never_fits";
    if (this.#prefill.waiting >= (this.#options.maxWaiting ?? 20_000)) return "queue_full";
    this.#prefill.enqueue(job);
    return null;
  }

  #endsNow(phase: Phase): boolean {
    if (this.#endMs[phase] > this.nowMs) return false;
    this.#endMs[phase] = Infinity;
    return true;
  }

  #endPrefill(): void {
    for (const job of this.#prefill.completeBatch()) {
      this.log.prefilled(job, this.nowMs);
      if (isComplete(job)) this.#finish(job, "prefill");
      else this.#prefilled.push(job);
    }
  }

  #endTransfer(): void {
    const transfer = this.#transfer;
    if (transfer === null || transfer.endMs > this.nowMs) return;
    this.#transfer = null;
    this.#pools.prefill.release(transfer.from);
    this.#decode.handOver(transfer.to);
  }

  #endDecode(): void {
    const { advanced, done } = this.#decode.completeBatch();
    this.log.decoded(advanced, this.nowMs);
    for (const job of done) this.#finish(job, "decode");
  }

  #finish(job: Job, heldBy: Phase): void {
    this.#pools[heldBy].release(job);
    this.log.finished(job, this.nowMs);
  }

  #startDecode(): void {
    if (this.#endMs.decode < Infinity) return;
    const preempted: Job[] = [];
    const batch = this.#decode.formBatch(preempted);
    for (const job of preempted) {
      this.#prefill.enqueueFirst(job);
      this.log.preempted(job, this.nowMs);
    }
    if (batch !== null) this.#start("decode", decodeStepMs(this.#options.profile, batch, 1, false));
  }

  #startTransfer(): void {
    const from = this.#prefilled.first();
    if (from === undefined || this.#transfer !== null) return;
    const to: Job = { ...copyJob(from), blocks: 0, heldByPrefill: false };
    if (!this.#pools.decode.grow(to, from.request.promptTokens + from.generatedTokens)) return;
    this.#prefilled.takeFirst();
    const { kvBytesPerToken, linkGbPerS } = this.#options;
    const bytesPerMs = linkGbPerS * 1e6;
    this.#transfer = { from, to, endMs: this.nowMs + (from.prefillTokens * kvBytesPerToken) / bytesPerMs };
  }

  #startPrefill(): void {
    if (this.#endMs.prefill < Infinity) return;
    const batch = this.#prefill.formBatch(this.nowMs, { kvQuotaPct: WHOLE_POOL });
    if (batch !== null) this.#start("prefill", prefillStepMs(this.#options.profile, batch, 1, false));
  }

  #start(phase: Phase, stepMs: number): void {
    this.#endMs[phase] = this.nowMs + stepMs;
    this.#busyMs[phase] += stepMs;
  }
}
