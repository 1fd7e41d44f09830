import { Fifo } from "./fifo.js";
import type { SimRequest } from "./job.js";

/** Requests announced ahead of time, in the order of arrival. */
export class ArrivalQueue {
  #requests = new Fifo<SimRequest>();
  #lastArrivalMs = 0;

  /** When the next request arrives; Infinity without one. */
  get nextAtMs(): number {
    return this.#requests.first()?.arrivalMs ?? Infinity;
  }

  /** Throws RangeError: see Serving.submit. */
  submit(request: SimRequest, nowMs: number): void {
    const { arrivalMs, promptTokens, outputTokens } = request;
    const earliestMs = Math.max(nowMs, this.#lastArrivalMs);
    if (!(arrivalMs >= earliestMs)) {
      throw new RangeError(`arrivalMs must be at least ${earliestMs}, got ${arrivalMs}`);
    }
    if (!(Number.isInteger(promptTokens) && promptTokens >= 1)) {
      throw new RangeError(`promptTokens must be a whole number of at least 1, got ${promptTokens}`);
    }
    if (!(Number.isInteger(outputTokens) && outputTokens >= 1)) {
      throw new RangeError(`outputTokens must be a whole number of at least 1, got ${outputTokens}`);
    }
    if (this.#requests.length >= 1_000_000) throw new RangeError("at most 1000000 requests may be announced");
    this.#lastArrivalMs = arrivalMs;
    this.#requests.push(request);
  }

  /** The next request if it has arrived by `nowMs`. */
  takeDue(nowMs: number): SimRequest | undefined {
    return this.nextAtMs <= nowMs ? this.#requests.takeFirst() : undefined;
  }

  copy(): ArrivalQueue {
    const copy = new ArrivalQueue();
    copy.#requests = this.#requests.copy((request) => request);
    copy.#lastArrivalMs = this.#lastArrivalMs;
    return copy;
  }
}
