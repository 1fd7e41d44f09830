/** Whether an alert that fires is over: it ends on evidence, not for want of it. A total outage finishes nothing at all. */
import { type Burn, LEAST_REQUESTS, spanWords } from "./burn.js";

/** An alert ends once there was a reason for so long, so that a rate at its threshold does not fire at every look. */
export const QUIET_MS = 120_000;

/** What was heard of the pool over the last QUIET_MS. */
export interface Heard {
  readonly instances: number;
  /** Requests that came in; 0 also where no instance reported. */
  readonly arrivals: number;
}

export type Standing =
  | { readonly state: "firing"; readonly message: string }
  /** Ends once it has been so for `afterMs`. */
  | { readonly state: "ending"; readonly afterMs: number; readonly message: string };

/**
 * With enough requests in the short window the pair itself tells. With fewer, a long window below the threshold tells too, unless many
 * arrive and few finish; else it fires on until nothing has arrived for as long as the long window.
 */
export function standingOf(burn: Burn, { instances, arrivals }: Heard): Standing {
  const { firing, message, shortRequests, longRate, longMs, threshold } = burn;
  if (firing) return { state: "firing", message };
  if (shortRequests >= LEAST_REQUESTS) return { state: "ending", afterMs: QUIET_MS, message };
  if (instances === 0)
    return { state: "ending", afterMs: QUIET_MS, message: "The pool has no instance any more." };
  const long = spanWords(longMs);
  if (longRate !== null && longRate < threshold && arrivals < LEAST_REQUESTS)
    return { state: "ending", afterMs: QUIET_MS, message: `${message} Over ${long} it burns below that.` };
  if (arrivals === 0)
    return {
      state: "ending",
      afterMs: longMs,
      message: `${message} It ends without evidence that it is over: no request was heard to arrive for ${long}.`,
    };
  return {
    state: "firing",
    message: `${message} It fires on: requests arrive, and too few finish to tell that it is over.`,
  };
}
