import { ArrivalQueue } from "./arrival-queue.js";
import { EventLog } from "./event-log.js";
import { createJob, type Job, type RefusalReason, type SimEvent, type SimRequest } from "./job.js";

/**
 * A way to serve requests, in virtual time that starts at 0 and moves only by advanceTo. Instance and the
 * baselines are all of this kind: the same requests in, the same events out.
 */
export interface Serving {
  /**
   * Announces a request that arrives now or later; in the order of arrival. At most 1,000,000 may be
   * announced ahead of time. Throws RangeError on a request from the past or with counts below 1.
   */
  submit(request: SimRequest): void;
  /** Lets time pass up to and including `tMs`; what happened, in order of time. Throws RangeError if it is past. */
  advanceTo(tMs: number): SimEvent[];
  /** Whether nothing is left to be done for requests that were submitted. */
  readonly idle: boolean;
  /** How many GPUs it occupies. */
  readonly gpus: number;
}

/** A rate of a whole deployment as a rate per GPU: what deployments of different sizes are compared by. */
export function perGpu(serving: Pick<Serving, "gpus">, ratePerS: number): number {
  return ratePerS / serving.gpus;
}

/** Announces many requests, in the order of arrival; same bounds as submit. Constant time for each. */
export function submitAll(serving: Serving, requests: Iterable<SimRequest>): void {
  for (const request of requests) serving.submit(request);
}

/** The clock, the requests still to come and the events not yet handed out, which every Serving here has. */
export abstract class ServingLoop implements Serving {
  protected nowMs = 0;
  protected readonly log = new EventLog();
  #arrivals = new ArrivalQueue();

  submit(request: SimRequest): void {
    this.#arrivals.submit(request, this.nowMs);
  }

  advanceTo(tMs: number): SimEvent[] {
    if (!(tMs >= this.nowMs)) {
      throw new RangeError(`advanceTo must not go back from ${this.nowMs}, got ${tMs}`);
    }
    // Ends: every pass handles at least one arrival, iteration end or switch, and iterations take time.
    for (let nextMs = this.#nextMs(); nextMs <= tMs; nextMs = this.#nextMs()) {
      this.nowMs = nextMs;
      this.settle();
    }
    this.nowMs = tMs;
    return this.log.take();
  }

  get idle(): boolean {
    return this.#nextMs() === Infinity;
  }

  abstract readonly gpus: number;

  /** When something other than an arrival is next due; Infinity when nothing is. */
  protected abstract nextOwnMs(): number;

  /** Does everything that is due at the present instant. */
  protected abstract settle(): void;

  /** Takes a request that has arrived, or says why not. */
  protected abstract accept(job: Job): RefusalReason | null;

  protected takeArrivals(): void {
    for (;;) {
      const request = this.#arrivals.takeDue(this.nowMs);
      if (request === undefined) return;
      const { id, promptTokens } = request;
      this.log.add({ type: "arrived", atMs: this.nowMs, id, promptTokens });
      const reason = this.accept(createJob(request));
      if (reason !== null) this.log.add({ type: "refused", atMs: this.nowMs, id, reason });
    }
  }

  /** Makes this loop stand where `other` stands; events that `other` has not handed out stay its own. */
  protected standLike(other: ServingLoop): void {
    this.nowMs = other.nowMs;
    this.#arrivals = other.#arrivals.copy();
  }

  #nextMs(): number {
    return Math.min(this.#arrivals.nextAtMs, this.nextOwnMs());
  }
}
