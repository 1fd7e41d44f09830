/** One step of learning from one fresh signal, and the load that predictions start from. */
import type { Signal } from "../decision.js";
import type { SloTarget, Split } from "../nouns.js";
import { meanMs, sampleCount } from "../signal/histogram.js";
import type { Sight } from "../signal/observe.js";
import { effectiveShare } from "./effective-share.js";
import { rememberPoint } from "./learned.js";
import type { Learned, OperatingPoint } from "./learned.js";
import { blend, lambdaShareOf, serviceMsFrom } from "./prefill-load.js";

/** What the phases do at the present load; unknown busy shares are taken as always busy, the cautious side. */
export interface Load {
  readonly arrivalPerS: number;
  readonly lambdaShare: number | null;
  readonly prefillBusyShare: number;
  readonly decodeBusyShare: number;
}

/** Effective shares of both phases under `split` at `load`. */
export function sharesAt(split: Split, load: Load): { readonly prefill: number; readonly decode: number } {
  const prefill = effectiveShare(split, "prefill", load.decodeBusyShare);
  // A prefill worker with share f is busy lambda/f of the time (eq. 3): a larger share leaves decode more room.
  const prefillBusy =
    load.lambdaShare === null ? load.prefillBusyShare : prefill > 0 ? load.lambdaShare / prefill : 1;
  return { prefill, decode: effectiveShare(split, "decode", prefillBusy) };
}

export function loadOf(signal: Signal, learned: Learned): Load {
  const arrivalPerS = signal.durationMs > 0 ? (signal.arrivals * 1000) / signal.durationMs : 0;
  return {
    arrivalPerS,
    lambdaShare: lambdaShareOf(learned.serviceMs, arrivalPerS),
    prefillBusyShare: Math.min(1, signal.busy.prefillShare ?? 1),
    decodeBusyShare: Math.min(1, signal.busy.decodeShare ?? 1),
  };
}

/** Learns from a fresh signal that was measured under `split`. A signal that was learnt from before changes nothing. */
export function learn(
  learned: Learned,
  split: Split,
  signal: Signal,
  sight: Sight,
  slo: SloTarget,
  nowMs: number,
): Learned {
  if (signal.durationMs <= 0 || signal.toAtMs === null || signal.ttft === null) return learned;
  if (learned.learntToMs !== null && signal.toAtMs <= learned.learntToMs) return learned;
  const elapsedMs = learned.learntToMs === null ? 0 : signal.toAtMs - learned.learntToMs;
  const samePercentiles =
    learned.ttftPercentile === slo.ttft.percentile && learned.tpotPercentile === slo.tpot.percentile;

  const measuredMs = serviceMsFrom({
    busyShare: signal.busy.prefillShare,
    share: effectiveShare(split, "prefill", Math.min(1, signal.busy.decodeShare ?? 1)),
    arrivalPerS: (signal.arrivals * 1000) / signal.durationMs,
    servedPerS: (sampleCount(signal.ttft) * 1000) / signal.durationMs,
    meanTtftMs: meanMs(signal.ttft),
  });
  const answerTokens = signal.finished > 0 ? signal.outputTokens / signal.finished : null;
  const next: Learned = {
    ttftPercentile: slo.ttft.percentile,
    tpotPercentile: slo.tpot.percentile,
    learntToMs: signal.toAtMs,
    serviceMs:
      measuredMs === null ? learned.serviceMs : compact(blend(learned.serviceMs, measuredMs, elapsedMs)),
    answerTokens:
      answerTokens === null || answerTokens <= 0
        ? learned.answerTokens
        : compact(blend(learned.answerTokens, answerTokens, elapsedMs)),
    points: samePercentiles ? learned.points : [],
  };
  const point = pointOf(split, loadOf(signal, next), sight, nowMs);
  return point === null ? next : { ...next, points: rememberPoint(next.points, point) };
}

function pointOf(split: Split, load: Load, sight: Sight, nowMs: number): OperatingPoint | null {
  const shares = sharesAt(split, load);
  if (!(shares.prefill > 0) || !(shares.decode > 0)) return null;
  const ttftMs = sight.ttft !== null && !sight.ttft.overflow && sight.ttft.ms > 0 ? sight.ttft.ms : null;
  const tpotMs = sight.tpot !== null && !sight.tpot.overflow && sight.tpot.ms > 0 ? sight.tpot.ms : null;
  if (ttftMs === null && tpotMs === null) return null;
  return {
    atMs: nowMs,
    prefillSmPct: split.prefillSmPct,
    decodeSmPct: split.decodeSmPct,
    arrivalPerS: compact(load.arrivalPerS),
    prefillShare: compact(shares.prefill),
    decodeShare: compact(shares.decode),
    lambdaShare: load.lambdaShare === null ? null : compact(load.lambdaShare),
    ttftMs: ttftMs === null ? null : compact(ttftMs),
    tpotMs: tpotMs === null ? null : compact(tpotMs),
  };
}

/** Six digits are more than was measured, and keep the stored state small. */
function compact(value: number): number {
  return Number(value.toPrecision(6));
}
