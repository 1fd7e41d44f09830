/**
 * What the authors' own controller does: class `DynamicPartitioner` of branch `distserve_base` of
 * github.com/infinigence/Semi-PD (paper.md §7.2), which is not Algorithm 1 of the paper. It is here to be compared with.
 *
 * Once per `requestsPerDecision` finished requests with a TPOT, all served at the split in force, it looks at a
 * percentile of TPOT and of TTFT. TPOT counts as missed when its percentile times `tpotMargin` exceeds the bound.
 * - One missed, its cap below the top: the cap is raised by steps until its prediction meets the bound, or
 *   `maxSteps` are made, or it is at the top.
 * - One missed, its cap at the top: the other cap is lowered by as many steps as keep the other's prediction
 *   within its bound, down to the floor.
 * - Both missed: both caps to the top when both are below it, otherwise nothing.
 * Predictions scale what was measured by curves that the authors fitted offline, for one GPU and model.
 *
 * One deviation. The original scales the waiting and the processing time of the very request at TTFT's percentile;
 * no engine reports these. Processing is taken as the mean duration of a prefill iteration where the engine tells
 * (busy time over batches), else as the median TTFT; waiting is the rest of the percentile. From 80 to 100 the
 * two curves differ by at most 6 % over the 6 points of one decision: so far can a wrong split move a prediction.
 *
 * Faults of the original that are mended, because they are slips and not policy:
 * - index `int(0.9 n + 1)` passes the end for n <= 10 and is the 362nd of 400: here the SLO's own percentile;
 * - lowering a cap that is below the floor raised it to the floor: here such a cap has no room;
 * - a first step that breaks the other target respawned the worker at the same cap, or two points higher when
 *   the floor had cut the step: here it is not taken and nothing moves;
 * - both windows were gated on the prefill worker's switch only: here a window counts when it ran wholly at one split;
 * - no TTFT sample counted as met: here nothing is done.
 * Kept on purpose, because they are what it decides: raising never asks the other phase; the margin is in the
 * verdict and not in the predictions; the last step is taken although it still misses; no gain is too small; each
 * curve jumps to 1 at 100 (from 1.03, 1.05 and 1.12), and the waiting curve falls from 98 to 89, so that a smaller
 * prefill cap is predicted to wait less; load is not looked at; at a low rate 400 requests take as long as they take.
 */
import type { Candidate, HoldReason, PolicyState, SemiPdParams, Snapshot } from "../decision.js";
import { sameSplit, tidy } from "../allocation.js";
import type { LatencyTarget, Phase, Split } from "../nouns.js";
import { percentile } from "../signal/histogram.js";
import type { Percentile } from "../signal/histogram.js";
import { markChosen } from "./candidate.js";
import type { PolicyOutcome, SplitOutcome } from "./outcome.js";
import { clearSample, collectSample, finishedOf, writeSample } from "./semi-pd-sample.js";
import type { SemiPdSample } from "./semi-pd-sample.js";

/** Predicted latencies at the SLO's percentiles, ms; null where the sample cannot tell. */
export interface SemiPdEstimate {
  readonly ttftMs: number | null;
  readonly tpotMs: number | null;
}

export interface SemiPdAnswer {
  readonly outcome: PolicyOutcome;
  readonly state: PolicyState;
  readonly predict: (split: Split) => SemiPdEstimate;
}

/** Wants a split, or to hold. The snapshot must have been checked; its `state` is what was answered the time before. */
export function semiPdPolicy(snapshot: Snapshot, params: SemiPdParams): SemiPdAnswer {
  const { current, slo } = snapshot;
  const sample = collectSample(snapshot, params);
  const ttft = sample.ttft && percentile(sample.ttft, slo.ttft.percentile);
  const tpot = sample.tpot && percentile(sample.tpot, slo.tpot.percentile);
  const seen: Measured = { ttft, tpot, processingMs: processingMs(sample, ttft) };
  const predict = (split: Split) => estimate(seen, current.split, split);

  const finished = finishedOf(sample);
  const full = finished >= params.requestsPerDecision;
  const counted = `${finished} of ${params.requestsPerDecision} finished requests`;
  const forSplit: SplitOutcome = full
    ? decideSplit(snapshot, params, seen, predict)
    : {
        reason: "THIN_SIGNAL",
        split: current.split,
        candidates: [],
        why: `Since the last decision ${counted} are in`,
      };
  const { reason, split, candidates, why } = forSplit;
  return {
    outcome: { reason, wanted: { split, kvQuotaPct: current.kvQuotaPct }, candidates, why },
    state: writeSample(full ? clearSample(sample) : sample),
    predict,
  };
}

interface Measured {
  readonly ttft: Percentile | null;
  readonly tpot: Percentile | null;
  /** Part of TTFT's percentile that is taken as processing. */
  readonly processingMs: number | null;
}

function processingMs(sample: SemiPdSample, ttft: Percentile | null): number | null {
  if (sample.ttft === null || ttft === null) return null;
  const median = percentile(sample.ttft, 0.5)?.ms ?? ttft.ms;
  const told = sample.prefillBatches > 0 ? sample.prefillBusyMs / sample.prefillBatches : median;
  return Math.min(ttft.ms, told);
}

/** The authors' curves: latency at a cap over latency at 100, as a polynomial in u = 100/cap, forced to 1 at 100. */
const tpotCurve = (u: number) => (u === 1 ? 1 : 0.6099 * u + 0.4153);
const processingCurve = (u: number) => (u === 1 ? 1 : 0.7324 * u + 0.3185);
const waitingCurve = (u: number) => (u === 1 ? 1 : 1.4047 * u ** 2 - 3.1594 * u + 2.8735);

/** A cap of 0 runs nothing; the curves are asked no lower than 1. */
function inverse(capPct: number): number {
  return 100 / Math.max(1, capPct);
}

function estimate(seen: Measured, from: Split, to: Split): SemiPdEstimate {
  const scale = (curve: (u: number) => number, phase: "prefillSmPct" | "decodeSmPct") =>
    curve(inverse(to[phase])) / curve(inverse(from[phase]));
  const { ttft, tpot, processingMs: processing } = seen;
  const tpotMs = tpot && !tpot.overflow ? tpot.ms * scale(tpotCurve, "decodeSmPct") : null;
  if (ttft === null || ttft.overflow || processing === null) return { ttftMs: null, tpotMs };
  const waitingMs = (ttft.ms - processing) * scale(waitingCurve, "prefillSmPct");
  return { ttftMs: waitingMs + processing * scale(processingCurve, "prefillSmPct"), tpotMs };
}

function decideSplit(
  snapshot: Snapshot,
  params: SemiPdParams,
  seen: Measured,
  predict: (split: Split) => SemiPdEstimate,
): SplitOutcome {
  const { slo, current, limits } = snapshot;
  const ttft = verdictOf(seen.ttft, slo.ttft.boundMs, 1);
  const tpot = verdictOf(seen.tpot, slo.tpot.boundMs, params.tpotMargin);
  const margin = `, times ${tidy(params.tpotMargin)}`;
  const why = `${say("TTFT", seen.ttft, slo.ttft, "")} and ${say("TPOT", seen.tpot, slo.tpot, margin)}`;
  const hold = (reason: HoldReason, because: string): SplitOutcome => {
    return { reason, split: current.split, candidates: [], why: `${because}: ${why}` };
  };
  if (ttft === "unknown" || tpot === "unknown") {
    return hold("CANNOT_TELL", "The latency histograms are empty or end below an SLO bound");
  }
  if (ttft === "met" && tpot === "met") return hold("BOTH_MET", "Both targets are met");
  const top = limits.maxSmPct;
  const { prefillSmPct, decodeSmPct } = current.split;
  if (ttft === "missed" && tpot === "missed") {
    if (prefillSmPct >= top || decodeSmPct >= top) {
      return hold("BOTH_MISSED_HOLD", "Both targets are missed and a cap is at its top already");
    }
    const split: Split = { prefillSmPct: top, decodeSmPct: top };
    const candidates = [{ ...weigh(split, snapshot, predict), verdict: "chosen" as const }];
    return { reason: "BOTH_MISSED", split, candidates, why: `Both targets are missed: ${why}` };
  }
  const side: Phase = ttft === "missed" ? "prefill" : "decode";
  const own = side === "prefill" ? prefillSmPct : decodeSmPct;
  const moved =
    own < top ? raise(side, snapshot, params, predict) : lowerOther(side, snapshot, params, predict);
  const because = moved.because === null ? "" : `, but ${moved.because}`;
  return { ...moved, why: `${why}${because}` };
}

interface Moved extends Omit<SplitOutcome, "why"> {
  readonly because: string | null;
}

/** Up to the first step that is predicted to meet, else the last one. */
function raise(
  side: Phase,
  snapshot: Snapshot,
  params: SemiPdParams,
  predict: (split: Split) => SemiPdEstimate,
): Moved {
  const { limits } = snapshot;
  const candidates: Candidate[] = [];
  let { split } = snapshot.current;
  for (let step = 1; step <= params.maxSteps; step++) {
    const cap = Math.min(limits.maxSmPct, capOf(split, side) + params.stepPct);
    split = withCap(split, side, cap);
    const meets = meetsTarget(side, predict(split), snapshot);
    candidates.push({ ...weigh(split, snapshot, predict), verdict: meets ? "meets" : "misses" });
    if (meets || cap >= limits.maxSmPct) break;
  }
  return { reason: reasonOf(side), split, candidates: markChosen(candidates, split), because: null };
}

/** Down to the last step that is predicted to keep the other target. */
function lowerOther(
  side: Phase,
  snapshot: Snapshot,
  params: SemiPdParams,
  predict: (split: Split) => SemiPdEstimate,
): Moved {
  const { current, limits } = snapshot;
  const other: Phase = side === "prefill" ? "decode" : "prefill";
  const floor = Math.max(params.floorPct, limits.minSmPct);
  const candidates: Candidate[] = [];
  let { split } = current;
  if (capOf(split, other) <= floor) {
    const because = `its cap is at the top and the ${other} cap at its floor`;
    return { reason: "NO_ROOM", split, candidates, because };
  }
  for (let step = 1; step <= params.maxSteps && capOf(split, other) > floor; step++) {
    const next = withCap(split, other, Math.max(floor, capOf(split, other) - params.stepPct));
    const keeps = meetsTarget(other, predict(next), snapshot);
    candidates.push({ ...weigh(next, snapshot, predict), verdict: keeps ? "misses" : "breaks-other" });
    if (!keeps) break;
    split = next;
  }
  if (sameSplit(split, current.split)) {
    const because = `its cap is at the top and lowering the ${other} cap is predicted to break the other target`;
    return { reason: "WOULD_BREAK_OTHER", split, candidates, because };
  }
  return { reason: reasonOf(side), split, candidates: markChosen(candidates, split), because: null };
}

function reasonOf(side: Phase): "TTFT_MISSED" | "TPOT_MISSED" {
  return side === "prefill" ? "TTFT_MISSED" : "TPOT_MISSED";
}

function capOf(split: Split, phase: Phase): number {
  return phase === "prefill" ? split.prefillSmPct : split.decodeSmPct;
}

function withCap(split: Split, phase: Phase, capPct: number): Split {
  const { prefillSmPct, decodeSmPct } = split;
  return phase === "prefill" ? { prefillSmPct: capPct, decodeSmPct } : { prefillSmPct, decodeSmPct: capPct };
}

function meetsTarget(phase: Phase, predicted: SemiPdEstimate, snapshot: Snapshot): boolean {
  const ms = phase === "prefill" ? predicted.ttftMs : predicted.tpotMs;
  const { boundMs } = phase === "prefill" ? snapshot.slo.ttft : snapshot.slo.tpot;
  return ms !== null && ms <= boundMs;
}

function weigh(
  split: Split,
  snapshot: Snapshot,
  predict: (split: Split) => SemiPdEstimate,
): Omit<Candidate, "verdict"> {
  return { allocation: { split, kvQuotaPct: snapshot.current.kvQuotaPct }, ...predict(split) };
}

function verdictOf(seen: Percentile | null, boundMs: number, margin: number): "met" | "missed" | "unknown" {
  if (seen === null) return "unknown";
  if (seen.ms * margin > boundMs) return "missed";
  if (!seen.overflow) return "met";
  // The true value lies above the highest bucket bound; on which side of a higher SLO bound, nobody knows.
  return seen.ms >= boundMs ? "missed" : "unknown";
}

function say(name: string, seen: Percentile | null, target: LatencyTarget, margin: string): string {
  const label = `${name} p${tidy(target.percentile * 100)}`;
  if (seen === null) return `${label} is unknown`;
  const value = seen.overflow ? `over ${tidy(seen.ms)} ms` : `${tidy(seen.ms)} ms`;
  return `${label} ${value}${margin} against ${tidy(target.boundMs)} ms`;
}
