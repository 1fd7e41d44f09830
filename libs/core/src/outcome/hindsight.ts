/**
 * Whether a move that was only recorded would have helped: the policy's model as it was when it decided, given the load
 * that really came, for staying and for the move, beside what was observed. Pure.
 *
 * The model learns nothing of the time it is asked about: how far it is off on staying, which did happen, is then what it
 * may be off by on the move, which did not.
 */
import { sameSplit, tidy } from "../allocation.js";
import type { LatestSignal, PolicyConfig, PolicyState, SearchParams, Signal, Snapshot } from "../decision.js";
import { noteDemand, NO_DEMAND } from "../model/demand.js";
import { loadOf } from "../model/learn.js";
import { readLearned } from "../model/learned.js";
import { priorBelief } from "../model/plant-params.js";
import { predictorOf } from "../model/predictor.js";
import type { Allocation, Split } from "../nouns.js";
import { FEEDBACK_VERSION } from "../policy/feedback.js";
import { readMemory } from "../policy/search-memory.js";
import { searchModel } from "../policy/search-model.js";
import { finiteOrNull } from "../signal/fault.js";
import { see } from "../signal/observe.js";
import { figuresOf, LEAST_CLUMPING, predictedAttainment } from "./attainment.js";
import type { PredictedFigures } from "./judge.js";

export type HindsightVerdict = "would_have_helped" | "would_not" | "cannot_tell";

export interface Hindsight {
  readonly verdict: HindsightVerdict;
  readonly move: Allocation;
  readonly staying: PredictedFigures | null;
  readonly moving: PredictedFigures | null;
  /** Of requests within both bounds: moving less staying. */
  readonly gainShare: number | null;
  /** How far the model was off on what did happen. */
  readonly errorShare: number | null;
  readonly message: string;
}

/** What was decided, and what came where nothing was changed. */
export interface Recorded {
  /** What decide() was given. */
  readonly snapshot: Snapshot;
  readonly policy: PolicyConfig;
  /** What the policy knew when it had decided. */
  readonly state: PolicyState | null;
  readonly move: Allocation;
  readonly after: Signal;
  readonly minSamples: number;
}

/** A gain of less is none worth a change. */
const LEAST_GAIN_SHARE = 0.02;

export function judgeHindsight(recorded: Recorded): Hindsight {
  const { snapshot, move, after, minSamples } = recorded;
  const nothing = { move, staying: null, moving: null, gainShare: null, errorShare: null };
  const cannot = (why: string): Hindsight => ({
    ...nothing,
    verdict: "cannot_tell",
    message: `Whether the move would have helped cannot be told: ${why}.`,
  });
  const observed = figuresOf(after, snapshot.slo)?.attainmentShare ?? null;
  if (observed === null || after.finished < minSamples)
    return cannot(`${after.finished} finished requests are fewer than the ${minSamples} that are needed`);
  if (sameSplit(move.split, snapshot.current.split))
    return cannot("it moved the KV quota alone, of which the model says nothing");
  const promise = promiserOf(recorded);
  if (promise === null) return cannot(`policy ${recorded.policy.name} had no model of this instance`);
  const [staying, moving] = [promise(snapshot.current.split), promise(move.split)];
  if (staying.attainmentShare === null || moving.attainmentShare === null)
    return { ...cannot("the model has nothing to say of one of the splits"), staying, moving };
  const gainShare = moving.attainmentShare - staying.attainmentShare;
  const errorShare = Math.abs(staying.attainmentShare - observed);
  const verdict = verdictOf(gainShare, errorShare);
  const message =
    `${HEADS[verdict]}: with the load that came the model has ${percent(moving.attainmentShare)} of requests within both ` +
    `bounds at ${splitWords(move.split)} and ${percent(staying.attainmentShare)} for staying; ` +
    `${percent(observed)} were observed, so it was off by ${points(errorShare)} points on what did happen.`;
  return { verdict, move, staying, moving, gainShare, errorShare, message };
}

/**
 * A gain that is worth a change and more than the model was off by: its sign is not the model's error. It was not to be
 * where not even gain and error together are worth one.
 */
function verdictOf(gainShare: number, errorShare: number): HindsightVerdict {
  if (gainShare > LEAST_GAIN_SHARE && errorShare < gainShare) return "would_have_helped";
  return gainShare + errorShare <= LEAST_GAIN_SHARE ? "would_not" : "cannot_tell";
}

const HEADS: Readonly<Record<HindsightVerdict, string>> = {
  would_have_helped: "The move would have helped",
  would_not: "The move would not have helped",
  cannot_tell: "Whether the move would have helped cannot be told",
};

type Promiser = (split: Split) => PredictedFigures;

/** Null where the policy has no model (static, semi-pd), or had not learnt one yet. */
function promiserOf(recorded: Recorded): Promiser | null {
  const { policy } = recorded;
  if (policy.name === "search") return searchPromiser(recorded, policy.params);
  return policy.name === "feedback" ? feedbackPromiser(recorded) : null;
}

function searchPromiser({ snapshot, state, after }: Recorded, params: SearchParams): Promiser | null {
  const widest = priorBelief(params.prior);
  const known = readMemory(state, widest);
  const { maxPromptTokens, contextPerSequence } = known.demand;
  const demand = noteDemand({ ...NO_DEMAND, maxPromptTokens, contextPerSequence }, after, false);
  // Nothing is newer than that: it is not learnt from.
  const memory = { ...known, demand, learntToMs: Infinity };
  const given = { ...snapshot, latest: fromWhereItStood(snapshot, after) };
  const { model } = searchModel(given, memory, widest, params);
  if (model === null) return null;
  return (split) => {
    const prospect = model.prospectOf(split);
    const { ttftMs, tpotMs } = model.latenciesOf(prospect);
    return { ttftMs: finiteOrNull(ttftMs), tpotMs: finiteOrNull(tpotMs), attainmentShare: prospect.share };
  };
}

/** The load that came, on the queues that there were when it began to come. */
function fromWhereItStood({ latest, signal, current }: Snapshot, after: Signal): LatestSignal {
  const before = latest ?? signal;
  const { prefillWaitingTokens = null, oldestWaitMs = null, decodeWaiting = null } = before.work ?? {};
  const work = after.work && { ...after.work, prefillWaitingTokens, oldestWaitMs, decodeWaiting };
  return {
    ...after,
    generation: current.generation,
    queue: before.queue,
    ...(work === undefined ? {} : { work }),
  };
}

function feedbackPromiser({ snapshot, state, after }: Recorded): Promiser | null {
  const learned = readLearned(state, "feedback", FEEDBACK_VERSION);
  if (learned.points.length === 0) return null;
  const { slo, signal } = snapshot;
  const atMs = signal.toAtMs ?? learned.learntToMs ?? 0;
  // The level is that of the time before: the curve is not drawn through what it is asked about.
  const predictor = predictorOf(snapshot, learned, loadOf(after, learned), see(signal, slo), atMs);
  return (split) => {
    const latencies = {
      ttftMs: finiteOrNull(predictor.ttftMs(split)),
      tpotMs: finiteOrNull(predictor.tpotMs(split)),
    };
    const attainmentShare = predictedAttainment(after, latencies, slo, LEAST_CLUMPING)?.share ?? null;
    return { ...latencies, attainmentShare };
  };
}

function splitWords({ prefillSmPct, decodeSmPct }: Split): string {
  return `prefill ${tidy(prefillSmPct)} %, decode ${tidy(decodeSmPct)} %`;
}

function percent(share: number): string {
  return `${points(share)} %`;
}

function points(share: number): string {
  return tidy(Math.round(share * 1000) / 10);
}
