/**
 * Latency at a percentile as a function of the split, at the present load (paper eq. 4).
 *
 * The shape comes from the operating points, those of a similar arrival rate counting most: latency also grows
 * with load, and points of another load would put that down to the split. The level comes from now: the curve is scaled to pass through what is measured at
 * the current split. Where nothing was ever measured at a stable share, TTFT falls back on M/M/1: time in system
 * is exponential there, so its q-quantile is -ln(1-q) times its mean (paper.md §3).
 */
import type { Snapshot } from "../decision.js";
import type { Split } from "../nouns.js";
import type { Seen, Sight } from "../signal/observe.js";
import { TPOT_PRIOR, TTFT_PRIOR, fitLatency, latencyAt } from "./latency-fit.js";
import type { FitPoint, LatencyFit } from "./latency-fit.js";
import type { Load } from "./learn.js";
import { sharesAt } from "./learn.js";
import type { Learned, OperatingPoint } from "./learned.js";
import { LEAST_GAP_SHARE } from "./prefill-load.js";

/** Milliseconds; Infinity where prefill would be unstable; null where the model cannot tell. */
export type Estimate = number | null;

export interface Predictor {
  readonly load: Load;
  /** 0..1, how much of each curve's slope was measured and how much is the paper's. */
  readonly confidence: { readonly ttft: number; readonly tpot: number };
  readonly prefillShare: (split: Split) => number;
  readonly ttftMs: (split: Split) => Estimate;
  readonly tpotMs: (split: Split) => Estimate;
}

/** The level may differ from the fitted one by this factor at most; beyond, the fit is of another workload. */
const GREATEST_CORRECTION = 4;

/** An operating point loses half of its weight in ten minutes. */
const HALF_LIFE_MS = 600_000;

/** Standard deviation of the load kernel, in the logarithm of the arrival rate: 0.3 is a factor of 1.35. */
const LOAD_SIGMA = 0.3;

export function predictorOf(
  snapshot: Pick<Snapshot, "slo" | "current">,
  learned: Learned,
  load: Load,
  sight: Sight,
  nowMs: number,
): Predictor {
  const weights = learned.points.map((point) => weightOf(point, load, nowMs));
  const here = snapshot.current.split;

  const tpotFit = fitLatency(fitPoints(learned.points, weights, tpotPoint), TPOT_PRIOR);
  const decodeU = (split: Split) => inverse(sharesAt(split, load).decode);
  const tpotLevel = tpotFit === null ? null : levelOf(sight.tpot, latencyOf(tpotFit, decodeU(here)));

  const ttftFit = fitLatency(fitPoints(learned.points, weights, ttftPoint), TTFT_PRIOR);
  const queueing = queueingCurve(learned.serviceMs, snapshot.slo.ttft.percentile);
  const ttftCurve = ttftFit ?? queueing;
  const prefillU = (split: Split) => {
    if (load.lambdaShare === null) return null;
    const gap = sharesAt(split, load).prefill - load.lambdaShare;
    return gap < LEAST_GAP_SHARE ? Infinity : 1 / gap;
  };
  const ttftLevel = ttftCurve === null ? null : levelOf(sight.ttft, latencyOf(ttftCurve, prefillU(here)));

  return {
    load,
    confidence: { ttft: ttftFit?.confidence ?? 0, tpot: tpotFit?.confidence ?? 0 },
    prefillShare: (split) => sharesAt(split, load).prefill,
    ttftMs: (split) => scaled(ttftCurve, prefillU(split), ttftLevel),
    tpotMs: (split) => scaled(tpotFit, decodeU(split), tpotLevel),
  };
}

function queueingCurve(serviceMs: number | null, q: number): LatencyFit | null {
  if (serviceMs === null) return null;
  return { aMs: -Math.log(1 - q) * serviceMs, bMs: 0, confidence: 0 };
}

function inverse(share: number): number | null {
  return share > 0 ? 1 / share : null;
}

function latencyOf(fit: LatencyFit, u: number | null): Estimate {
  if (u === null) return null;
  return u === Infinity ? Infinity : latencyAt(fit, u);
}

/** What the curve must be multiplied with to pass through what is seen now; 1 when that cannot be told. */
function levelOf(seen: Seen | null, estimate: Estimate): number {
  if (seen === null || estimate === null || estimate === Infinity || !(estimate > 0) || !(seen.ms > 0))
    return 1;
  return Math.min(GREATEST_CORRECTION, Math.max(1 / GREATEST_CORRECTION, seen.ms / estimate));
}

function scaled(fit: LatencyFit | null, u: number | null, level: number | null): Estimate {
  if (fit === null || level === null) return null;
  const estimate = latencyOf(fit, u);
  return estimate === null ? null : estimate * level;
}

function weightOf(point: OperatingPoint, load: Load, nowMs: number): number {
  const ageMs = Math.max(0, nowMs - point.atMs);
  const distance =
    point.arrivalPerS > 0 && load.arrivalPerS > 0 ? Math.log(point.arrivalPerS / load.arrivalPerS) : 0;
  return 0.5 ** (ageMs / HALF_LIFE_MS) * Math.exp(-(distance ** 2) / (2 * LOAD_SIGMA ** 2));
}

/** Points lighter than this are left out: they would only cost digits. */
const LEAST_WEIGHT = 1e-3;

type PointReader = (point: OperatingPoint) => { readonly u: number; readonly latencyMs: number } | null;

function fitPoints(
  points: readonly OperatingPoint[],
  weights: readonly number[],
  read: PointReader,
): FitPoint[] {
  const usable: FitPoint[] = [];
  points.forEach((point, i) => {
    const weight = weights[i] ?? 0;
    const value = weight < LEAST_WEIGHT ? null : read(point);
    if (value !== null) usable.push({ ...value, weight });
  });
  return usable;
}

function ttftPoint(point: OperatingPoint): { u: number; latencyMs: number } | null {
  if (point.ttftMs === null || point.lambdaShare === null) return null;
  const gap = point.prefillShare - point.lambdaShare;
  return gap < LEAST_GAP_SHARE ? null : { u: 1 / gap, latencyMs: point.ttftMs };
}

function tpotPoint(point: OperatingPoint): { u: number; latencyMs: number } | null {
  return point.tpotMs === null ? null : { u: 1 / point.decodeShare, latencyMs: point.tpotMs };
}
