/**
 * Fits latency = a * u + b, the shape of both halves of eq. 4: u = 1/(f - lambda) for TTFT, u = 1/f for TPOT,
 * f the effective share.
 *
 * One operating point cannot tell a from b, and points close together barely can (paper.md §3). So the line
 * goes through the weighted centre of the points, and its slope is a ridge estimate: the points' own slope,
 * pulled towards the prior's share of slope in latency with the strength of one point that lies a quarter of
 * the mean u away. With one point the slope is the prior's; with spread-out points it is theirs. Coefficients
 * stay non-negative (a larger share never predicts a larger latency).
 */
export interface FitPoint {
  readonly u: number;
  readonly latencyMs: number;
  /** Above 0; 1 for a point seen now at the present load. */
  readonly weight: number;
}

/** `confidence`, 0..1: how much of the slope comes from the points and not from the prior. */
export interface LatencyFit {
  readonly aMs: number;
  readonly bMs: number;
  readonly confidence: number;
}

/** A prior in the paper's normalised latency (Fig 10): only the ratio a : b matters. */
export interface ShapePrior {
  readonly a: number;
  readonly b: number;
}

/** semi-PD Fig 10, Llama3-8B on ShareGPT, under load. */
export const TTFT_PRIOR: ShapePrior = { a: 0.6809, b: 0.022 };
export const TPOT_PRIOR: ShapePrior = { a: 0.6284, b: 0.3818 };

const PRIOR_SPREAD = 0.25;

/** At least this part of the latency scales with 1/share: a slope of zero would call every move useless for ever. */
const LEAST_SLOPE_PART = 0.1;

/** Null when there is no usable point. */
export function fitLatency(points: readonly FitPoint[], prior: ShapePrior): LatencyFit | null {
  let weight = 0;
  let sumU = 0;
  let sumLatency = 0;
  for (const point of points) {
    weight += point.weight;
    sumU += point.weight * point.u;
    sumLatency += point.weight * point.latencyMs;
  }
  if (!(weight > 0)) return null;
  const meanU = sumU / weight;
  const meanLatency = sumLatency / weight;
  if (!(meanU > 0) || !(meanLatency > 0)) return null;

  let spread = 0;
  let product = 0;
  for (const point of points) {
    spread += point.weight * (point.u - meanU) ** 2;
    product += point.weight * (point.u - meanU) * (point.latencyMs - meanLatency);
  }
  const steepest = meanLatency / meanU;
  const priorSlope = (meanLatency * prior.a) / (prior.a * meanU + prior.b);
  const priorSpread = (PRIOR_SPREAD * meanU) ** 2;
  const slope = (product + priorSpread * priorSlope) / (spread + priorSpread);
  const aMs = Math.min(steepest, Math.max(LEAST_SLOPE_PART * steepest, slope));
  return { aMs, bMs: Math.max(0, meanLatency - aMs * meanU), confidence: spread / (spread + priorSpread) };
}

export function latencyAt(fit: LatencyFit, u: number): number {
  return fit.aMs * u + fit.bMs;
}
