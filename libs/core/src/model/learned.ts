/**
 * What the model has learnt, carried from decision to decision in PolicyState: the service time of a prefill,
 * the mean length of an answer, and a ring of operating points, each a place where latency was measured.
 * At most MAX_POINTS points of nine numbers: under 3 KB of JSON.
 */
import type { PolicyState } from "../decision.js";
import type { Split } from "../nouns.js";
import { finiteOrNull, isFinite, isRecord } from "../signal/fault.js";

export const MAX_POINTS = 16;

/** Latencies measured at one split and load; a latency is null when it could not be read or used. */
export interface OperatingPoint {
  readonly atMs: number;
  readonly prefillSmPct: number;
  readonly decodeSmPct: number;
  readonly arrivalPerS: number;
  /** Effective shares at the time, and lambda, null when it was unknown. */
  readonly prefillShare: number;
  readonly decodeShare: number;
  readonly lambdaShare: number | null;
  readonly ttftMs: number | null;
  readonly tpotMs: number | null;
}

export interface Learned {
  /** The percentiles that the points were read at: points of another percentile are of no use. */
  readonly ttftPercentile: number | null;
  readonly tpotPercentile: number | null;
  /** End of the newest window learnt from: one signal is learnt from once. */
  readonly learntToMs: number | null;
  readonly serviceMs: number | null;
  readonly answerTokens: number | null;
  /** Oldest first. */
  readonly points: readonly OperatingPoint[];
}

export const NOTHING_LEARNT: Learned = {
  ttftPercentile: null,
  tpotPercentile: null,
  learntToMs: null,
  serviceMs: null,
  answerTokens: null,
  points: [],
};

/** Reads a state back. A state of another policy or version, or one that makes no sense, is as good as none. */
export function readLearned(state: unknown, policy: string, version: number): Learned {
  if (!isRecord(state) || state.policy !== policy || state.version !== version || !isRecord(state.values)) {
    return NOTHING_LEARNT;
  }
  const values = state.values;
  const points = Array.isArray(values.points) ? values.points.slice(-MAX_POINTS) : [];
  return {
    ttftPercentile: finiteOrNull(values.ttftPercentile),
    tpotPercentile: finiteOrNull(values.tpotPercentile),
    learntToMs: finiteOrNull(values.learntToMs),
    serviceMs: positiveOrNull(values.serviceMs),
    answerTokens: positiveOrNull(values.answerTokens),
    points: points.map(readPoint).filter((point) => point !== null),
  };
}

export function writeLearned(learned: Learned, policy: string, version: number): PolicyState {
  return { policy, version, values: { ...learned } };
}

/** Two points at one split and nearly one load are one point: arrival rates within 20 %. */
const SAME_LOAD_RATIO = 1.2;
const MERGE_WEIGHT = 0.3;

/** Adds a point, merging it with one of the same split and load; drops the oldest beyond MAX_POINTS. */
export function rememberPoint(
  points: readonly OperatingPoint[],
  fresh: OperatingPoint,
): readonly OperatingPoint[] {
  const same = points.find((old) => sameSplit(old, fresh) && sameLoad(old.arrivalPerS, fresh.arrivalPerS));
  const others = points.filter((old) => old !== same);
  return [...others, same === undefined ? fresh : mergePoints(same, fresh)].slice(-MAX_POINTS);
}

function mergePoints(old: OperatingPoint, fresh: OperatingPoint): OperatingPoint {
  const mix = (a: number, b: number) => a + MERGE_WEIGHT * (b - a);
  const mixKnown = (a: number | null, b: number | null) => (a === null ? b : b === null ? a : mix(a, b));
  return {
    ...fresh,
    arrivalPerS: mix(old.arrivalPerS, fresh.arrivalPerS),
    prefillShare: mix(old.prefillShare, fresh.prefillShare),
    decodeShare: mix(old.decodeShare, fresh.decodeShare),
    lambdaShare: mixKnown(old.lambdaShare, fresh.lambdaShare),
    ttftMs: mixKnown(old.ttftMs, fresh.ttftMs),
    tpotMs: mixKnown(old.tpotMs, fresh.tpotMs),
  };
}

function sameSplit(a: Split, b: Split): boolean {
  return a.prefillSmPct === b.prefillSmPct && a.decodeSmPct === b.decodeSmPct;
}

function sameLoad(a: number, b: number): boolean {
  if (a <= 0 || b <= 0) return a === b;
  return Math.max(a, b) <= SAME_LOAD_RATIO * Math.min(a, b);
}

function readPoint(value: unknown): OperatingPoint | null {
  if (!isRecord(value)) return null;
  const { atMs, prefillSmPct, decodeSmPct, arrivalPerS, prefillShare, decodeShare } = value;
  if (!isFinite(atMs) || !isFinite(prefillSmPct) || !isFinite(decodeSmPct)) return null;
  if (!isFinite(arrivalPerS) || !isFinite(prefillShare) || !isFinite(decodeShare)) return null;
  if (arrivalPerS < 0 || prefillShare <= 0 || prefillShare > 1 || decodeShare <= 0 || decodeShare > 1) {
    return null;
  }
  return {
    atMs,
    prefillSmPct,
    decodeSmPct,
    arrivalPerS,
    prefillShare,
    decodeShare,
    lambdaShare: positiveOrNull(value.lambdaShare),
    ttftMs: positiveOrNull(value.ttftMs),
    tpotMs: positiveOrNull(value.tpotMs),
  };
}

/** Learnt numbers beyond this are not of this world, and squared they would overflow. */
const GREATEST_LEARNT = 1e12;

function positiveOrNull(value: unknown): number | null {
  return isFinite(value) && value > 0 && value < GREATEST_LEARNT ? value : null;
}
