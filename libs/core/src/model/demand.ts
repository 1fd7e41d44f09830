/**
 * The load that comes in, told before any latency shows it: arrival rate, prompt lengths and their spread, answer
 * lengths. Two decaying accounts, a slow one that is believed and a fast one that notices when the load changes
 * its kind: then both start again from the window that told.
 */
import type { Signal } from "../decision.js";
import { notePrompts } from "./class-prompts.js";
import type { ClassAccounts } from "./class-prompts.js";
import { promptClasses } from "./prompts.js";
import type { PromptClass } from "./prompts.js";

/** Decayed sums. */
export interface Account {
  readonly ms: number;
  readonly arrivals: number;
  readonly promptTokens: number;
  readonly promptTokensSq: number;
  readonly finished: number;
  readonly outputTokens: number;
  /** Output tokens of those that finished; 0 where the engine does not say. */
  readonly finishedTokens: number;
}

/** What a rate is made of. */
export type Arrived = Pick<Account, "ms" | "arrivals">;

export interface DemandMemory {
  readonly slow: Account;
  readonly fast: Account;
  /** Of the arrivals alone: rates drift while lengths stay. */
  readonly recent: Arrived;
  readonly maxPromptTokens: number;
  /** Context tokens per sequence of the decode batch, as seen; 0: never. */
  readonly contextPerSequence: number;
  /** Seconds since the load was last seen to change. */
  readonly steadyS: number;
  /** By class, where the engine tells classes; absent until it has. */
  readonly classes?: ClassAccounts;
}

const EMPTY: Account = {
  ms: 0,
  arrivals: 0,
  promptTokens: 0,
  promptTokensSq: 0,
  finished: 0,
  outputTokens: 0,
  finishedTokens: 0,
};

export const NO_DEMAND: DemandMemory = {
  slow: EMPTY,
  fast: EMPTY,
  recent: { ms: 0, arrivals: 0 },
  maxPromptTokens: 0,
  contextPerSequence: 0,
  steadyS: 0,
};

/** What predictions start from; rates per second, lengths in tokens. */
export interface Demand {
  readonly ratePerS: number;
  /** How far the last 40 s are believed to tell of another rate than the last minutes: 0, not at all; 1, wholly. */
  readonly drifting: number;
  readonly promptMean: number;
  readonly promptMeanSq: number;
  /** What stands for the distribution of prompt lengths, ascending. */
  readonly prompts: readonly PromptClass[];
  readonly outputMean: number;
  readonly contextPerSequence: number;
  /** Standard deviation of the logarithm of the offered load, prefill's and decode's. */
  readonly prefillDoubt: number;
  readonly decodeDoubt: number;
}

/** 300 s of 10 requests a second put the mean prompt of ShareGPT (CV 2.2) within 4 %. */
const SLOW_MS = 300_000;
/** A drift from half of a GPU's capacity to all of it in ten minutes moves by 3 % of that capacity meanwhile. */
const RECENT_MS = 40_000;
const FAST_MS = 12_000;

/** Variance over mean of arrivals: a little more than Poisson's. */
const CLUMPED = 1.2;

/** Differences of fast and slow beyond this many standard deviations are a change: once in 10,000 by chance. */
const CHANGE_SD = 4;

/** After a change of kind the answers in flight are still the old ones: what is known of them weighs little. */
const OLD_ANSWERS = 20;

/** `noticing`: whether a change of the load's kind is looked for. */
export function noteDemand(memory: DemandMemory, latest: Signal, noticing = true): DemandMemory {
  const seen = accountOf(latest);
  const slow = add(memory.slow, seen, SLOW_MS);
  const fast = add(memory.fast, seen, FAST_MS);
  const keep = Math.exp(-seen.ms / RECENT_MS);
  const { ms, arrivals } = memory.recent;
  const recent = { ms: ms * keep + seen.ms, arrivals: arrivals * keep + seen.arrivals };
  const changed = noticing && differs(slow, fast);
  const decay = Math.exp(-latest.durationMs / 600_000);
  const greatest = latest.work?.maxPromptTokens ?? 0;
  const { decodeBatchMean, decodeContextMean } = latest.work ?? {};
  const context =
    decodeBatchMean && decodeContextMean ? decodeContextMean / Math.max(1, decodeBatchMean) : null;
  const weight = 1 - Math.exp(-latest.durationMs / 15_000);
  const before = memory.contextPerSequence;
  return {
    slow: changed ? restart(slow, seen) : slow,
    fast: changed ? seen : fast,
    recent: changed ? { ms: seen.ms, arrivals: seen.arrivals } : recent,
    maxPromptTokens: changed ? greatest : Math.max(greatest, memory.maxPromptTokens * decay),
    contextPerSequence:
      context === null ? before : before === 0 ? context : before + weight * (context - before),
    steadyS: changed ? 0 : memory.steadyS + latest.durationMs / 1000,
    ...notePrompts(changed ? undefined : memory.classes, latest, SLOW_MS),
  };
}

/**
 * The rate of the last minutes, unless that of the last 40 s lies beyond one standard deviation of it: from there to
 * two it takes over. A slow rise from half to all of a GPU's capacity is followed so, and chance is not.
 */
function rateOf({ slow, recent }: DemandMemory): Pick<Demand, "ratePerS" | "drifting"> {
  const steady = slow.arrivals / slow.ms;
  const now = recent.arrivals / recent.ms;
  const sd = Math.sqrt(Math.max(1, CLUMPED * steady * recent.ms)) / recent.ms;
  const drifting = Math.min(1, Math.max(0, Math.abs(now - steady) / sd - 1));
  return { ratePerS: 1000 * (steady + drifting * (now - steady)), drifting };
}

/** Null before anything has arrived. */
export function demandOf(memory: DemandMemory): Demand | null {
  const { slow } = memory;
  if (!(slow.arrivals > 0.5) || !(slow.ms > 0)) return null;
  const promptMean = Math.max(1, slow.promptTokens / slow.arrivals);
  const promptMeanSq = Math.max(promptMean ** 2, slow.promptTokensSq / slow.arrivals);
  const answers = answersOf(slow);
  return {
    ...rateOf(memory),
    promptMean,
    promptMeanSq,
    prompts: promptClasses(promptMean, promptMeanSq, memory.maxPromptTokens),
    outputMean: answers.mean,
    contextPerSequence:
      memory.contextPerSequence > 0 ? memory.contextPerSequence : promptMean + answers.mean / 2,
    prefillDoubt: Math.sqrt(promptMeanSq / promptMean ** 2 / slow.arrivals),
    decodeDoubt: Math.hypot(answers.doubt, 1 / Math.sqrt(slow.arrivals)),
  };
}

/**
 * The mean answer. All tokens generated, also by requests that still run, over the requests that finished err on
 * the long side while a batch fills; the mean of those that finished errs on the short side, since short answers
 * finish first. The truth lies between, and their distance says how far it is known.
 */
function answersOf(slow: Account): { readonly mean: number; readonly doubt: number } {
  if (!(slow.finished > 0.5)) return { mean: DEFAULT_OUTPUT, doubt: 1 };
  const answers = slow.finished + SUPPOSED_ANSWERS;
  const supposed = SUPPOSED_ANSWERS * DEFAULT_OUTPUT;
  const long = Math.max(1, (slow.outputTokens + supposed) / answers);
  const short = slow.finishedTokens > 0 ? Math.max(1, (slow.finishedTokens + supposed) / answers) : long;
  const scatter = 1 / Math.sqrt(answers);
  // Answers scatter less than exponential ones (CV 0.73 for ShareGPT), for which the long side would be exact.
  const apart = Math.log(long / short);
  return { mean: short * Math.exp(0.9 * apart), doubt: Math.hypot(scatter, 0.25 * apart) };
}

/** Until the first answer has finished: ShareGPT's and Azure's means are 330 and 217. */
const DEFAULT_OUTPUT = 250;
/**
 * So many answers of that length are taken as seen. The first to finish are the short ones: without these, LongBench's
 * answers (mean 90, half of them under 65) looked a third too short for the first half minute, and decode was starved.
 */
const SUPPOSED_ANSWERS = 6;

function accountOf(latest: Signal): Account {
  const { arrivals, promptTokens, finished } = latest;
  const told = latest.work?.promptTokensSq ?? null;
  // Without the squares: a coefficient of variation of 1.
  const promptTokensSq = told ?? (arrivals > 0 ? (2 * promptTokens ** 2) / arrivals : 0);
  return {
    ms: latest.durationMs,
    arrivals,
    promptTokens,
    promptTokensSq,
    finished,
    outputTokens: latest.outputTokens,
    finishedTokens: latest.work?.finishedOutputTokens ?? 0,
  };
}

function add(old: Account, seen: Account, tauMs: number): Account {
  const keep = Math.exp(-seen.ms / tauMs);
  return {
    ms: old.ms * keep + seen.ms,
    arrivals: old.arrivals * keep + seen.arrivals,
    promptTokens: old.promptTokens * keep + seen.promptTokens,
    promptTokensSq: old.promptTokensSq * keep + seen.promptTokensSq,
    finished: old.finished * keep + seen.finished,
    outputTokens: old.outputTokens * keep + seen.outputTokens,
    finishedTokens: old.finishedTokens * keep + seen.finishedTokens,
  };
}

/** Whether the fast account tells of another load than the slow one: in its rate, or in its mean prompt. */
function differs(slow: Account, fast: Account): boolean {
  if (slow.arrivals < 10 || slow.ms < 2 * FAST_MS) return false;
  const expected = (slow.arrivals / slow.ms) * fast.ms;
  // Arrivals of real traces scatter three times as wide as Poisson's over 10 s (data.md §2).
  if (Math.abs(fast.arrivals - expected) > CHANGE_SD * Math.sqrt(1.5 * expected + 4)) return true;
  if (fast.arrivals < 5) return false;
  const mean = slow.promptTokens / slow.arrivals;
  const variance = Math.max(slow.promptTokensSq / slow.arrivals - mean ** 2, (0.1 * mean) ** 2);
  const difference = Math.abs(fast.promptTokens / fast.arrivals - mean);
  return difference > CHANGE_SD * Math.sqrt(variance / fast.arrivals);
}

function restart(slow: Account, seen: Account): Account {
  const weight = slow.finished > OLD_ANSWERS ? OLD_ANSWERS / slow.finished : 1;
  return {
    ...seen,
    finished: slow.finished * weight,
    outputTokens: slow.outputTokens * weight,
    finishedTokens: slow.finishedTokens * weight,
  };
}
