/**
 * How predictions turned out, by the split they were made for. The model has errors that no parameter of it can
 * take up; what came out better or worse than predicted at a split is believed of that split most, of its
 * neighbours less, and half of it of every split.
 */
import type { Split } from "../nouns.js";

/** Decayed sums over requests measured at one split: how many, how many within each bound, how many predicted. */
export interface Trial {
  readonly prefillSmPct: number;
  readonly decodeSmPct: number;
  readonly n: number;
  readonly ttftOk: number;
  readonly ttftPredicted: number;
  readonly tpotOk: number;
  readonly tpotPredicted: number;
}

export const MAX_TRIALS = 8;

/** Two minutes: long enough for a few hundred requests, short enough to forget another load. */
const TRIAL_TAU_MS = 120_000;

/** Requests that a correction must outweigh; latencies of neighbours in a queue are not independent. */
const DOUBT = 80;

/** Points of SM at which a neighbour's lesson counts 0.6. */
const REACH_PCT = 20;
const EVERYWHERE = 0.2;

export interface Outcome {
  readonly n: number;
  readonly ttftShare: number;
  readonly tpotShare: number;
  readonly predictedTtftShare: number;
  readonly predictedTpotShare: number;
}

export function noteTrial(
  trials: readonly Trial[],
  split: Split,
  outcome: Outcome | null,
  elapsedMs: number,
): readonly Trial[] {
  const keep = Math.exp(-elapsedMs / TRIAL_TAU_MS);
  const aged = trials.map((trial) => ({ ...trial, ...scaled(trial, keep) })).filter((trial) => trial.n > 1);
  if (outcome === null || outcome.n <= 0) return aged;
  const here = (trial: Trial) =>
    trial.prefillSmPct === split.prefillSmPct && trial.decodeSmPct === split.decodeSmPct;
  const old = aged.find(here);
  const fresh: Trial = {
    prefillSmPct: split.prefillSmPct,
    decodeSmPct: split.decodeSmPct,
    n: (old?.n ?? 0) + outcome.n,
    ttftOk: (old?.ttftOk ?? 0) + outcome.n * outcome.ttftShare,
    ttftPredicted: (old?.ttftPredicted ?? 0) + outcome.n * outcome.predictedTtftShare,
    tpotOk: (old?.tpotOk ?? 0) + outcome.n * outcome.tpotShare,
    tpotPredicted: (old?.tpotPredicted ?? 0) + outcome.n * outcome.predictedTpotShare,
  };
  return [...aged.filter((trial) => !here(trial)), fresh].slice(-MAX_TRIALS);
}

function scaled(trial: Trial, keep: number): Omit<Trial, "prefillSmPct" | "decodeSmPct"> {
  return {
    n: trial.n * keep,
    ttftOk: trial.ttftOk * keep,
    ttftPredicted: trial.ttftPredicted * keep,
    tpotOk: trial.tpotOk * keep,
    tpotPredicted: trial.tpotPredicted * keep,
  };
}

/** What to add to the log-odds of the predicted shares at a split. */
export interface Correction {
  readonly ttft: number;
  readonly tpot: number;
}

/** A trial as a correction is made of it. */
export interface Lesson {
  readonly prefillSmPct: number;
  readonly decodeSmPct: number;
  readonly n: number;
  readonly ttft: number;
  readonly tpot: number;
}

export function lessonsOf(trials: readonly Trial[]): readonly Lesson[] {
  return trials.map(({ prefillSmPct, decodeSmPct, n, ttftOk, ttftPredicted, tpotOk, tpotPredicted }) => ({
    prefillSmPct,
    decodeSmPct,
    n,
    ttft: surprise(ttftOk, ttftPredicted, n),
    tpot: surprise(tpotOk, tpotPredicted, n),
  }));
}

export function correctionAt(lessons: readonly Lesson[], split: Split): Correction {
  let weight = DOUBT;
  let ttft = 0;
  let tpot = 0;
  for (const lesson of lessons) {
    const dx = (lesson.prefillSmPct - split.prefillSmPct) / REACH_PCT;
    const dy = (lesson.decodeSmPct - split.decodeSmPct) / REACH_PCT;
    const w = lesson.n * (EVERYWHERE + (1 - EVERYWHERE) * Math.exp(-(dx * dx + dy * dy) / 2));
    weight += w;
    ttft += w * lesson.ttft;
    tpot += w * lesson.tpot;
  }
  return { ttft: ttft / weight, tpot: tpot / weight };
}

/** Log-odds of what came out less those of what was predicted; the shares kept off 0 and 1. */
function surprise(ok: number, predicted: number, n: number): number {
  return logit(ok / n) - logit(predicted / n);
}

const EDGE = 0.01;

export function logit(share: number): number {
  const inside = Math.min(1 - EDGE, Math.max(EDGE, share));
  return Math.log(inside / (1 - inside));
}

/** The share with its log-odds moved; one beyond the edges keeps its distance to them. */
export function corrected(share: number, by: number): number {
  if (by === 0) return share;
  const odds = Math.exp(by);
  return (share * odds) / (1 - share + share * odds);
}
