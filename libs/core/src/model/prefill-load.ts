/**
 * Offered prefill load. Eq. 2 and 3 in shares: time in system w = l100/(f - lambda) with lambda = r * l100, so
 * lambda, the smallest stable prefill share, follows from the arrival rate of this moment and from l100, the
 * time that one prefill takes on a whole GPU, which changes slowly. A lambda that is itself refitted lags every
 * step of the load; this one leads it.
 */

/** l100 is believed within these bounds, ms: a one-token prefill and a minute of one. */
const LEAST_SERVICE_MS = 0.1;
const GREATEST_SERVICE_MS = 60_000;

/** A share closer to lambda than this is called unstable: 1/(f - lambda) says nothing there. */
export const LEAST_GAP_SHARE = 0.02;

const LEARN_TAU_MS = 60_000;
const LEAST_LEARN_SHARE = 0.05;
const GREATEST_LEARN_SHARE = 0.5;

export interface PrefillMeasurement {
  /** Share of the time in which the prefill worker ran; null when the engine does not say. */
  readonly busyShare: number | null;
  /** Effective share of the GPU that it ran on. */
  readonly share: number;
  readonly arrivalPerS: number;
  readonly servedPerS: number;
  /** Mean TTFT; null without samples. */
  readonly meanTtftMs: number | null;
}

/**
 * l100 in ms from one signal; null when it cannot be told.
 * With a busy share: work done per request served, `busy * f / served rate`. Without one: eq. 2 solved for
 * l100 with the measured mean TTFT as w, `w * f / (1 + r * w)`, an upper estimate since w holds more than
 * prefill; by Little's law it puts lambda below f, and close to it under a backlog.
 */
export function serviceMsFrom(measured: PrefillMeasurement): number | null {
  if (!(measured.share > 0)) return null;
  let serviceMs: number | null = null;
  if (measured.busyShare !== null && measured.servedPerS > 0) {
    serviceMs = (Math.min(1, measured.busyShare) * measured.share * 1000) / measured.servedPerS;
  } else if (measured.meanTtftMs !== null) {
    const inSystem = (measured.arrivalPerS * measured.meanTtftMs) / 1000;
    serviceMs = (measured.meanTtftMs * measured.share) / (1 + inSystem);
  }
  if (serviceMs === null || !(serviceMs > 0)) return null;
  return Math.min(GREATEST_SERVICE_MS, Math.max(LEAST_SERVICE_MS, serviceMs));
}

/** Exponential mean whose weight grows with the time since the last one; the first value is taken whole. */
export function blend(old: number | null, fresh: number, elapsedMs: number): number {
  if (old === null) return fresh;
  const share = 1 - Math.exp(-Math.max(0, elapsedMs) / LEARN_TAU_MS);
  const weight = Math.min(GREATEST_LEARN_SHARE, Math.max(LEAST_LEARN_SHARE, share));
  return old + weight * (fresh - old);
}

/** Lambda as a share of one GPU (may pass 1 under overload); null when either operand is unknown. */
export function lambdaShareOf(serviceMs: number | null, arrivalPerS: number | null): number | null {
  if (serviceMs === null || arrivalPerS === null) return null;
  return (serviceMs * arrivalPerS) / 1000;
}
