/** What the search policy carries from one evaluation to the next, as plain JSON of about 2 KB. */
import type { PolicyState } from "../decision.js";
import type { Account, Arrived, DemandMemory } from "../model/demand.js";
import { NO_DEMAND } from "../model/demand.js";
import type { Gaussian } from "../model/kalman.js";
import type { PromptAccount } from "../model/class-prompts.js";
import { GREATEST, LEAST } from "../model/plant-params.js";
import { MAX_WINDOW_CLASSES } from "../nouns.js";
import { isFinite, isRecord } from "../signal/fault.js";

export const SEARCH_VERSION = 3;

/** Waits may be this much longer or shorter than the model says, as a logarithm: a factor of 4. */
export const MOST_WAIT_BIAS = 1.4;

/** All requests of ten minutes, the longest restart: more regret than that says nothing more. */
export const MOST_REGRET = 600;

export interface SearchMemory {
  /** End of the newest window learnt from: a window is learnt from once. */
  readonly learntToMs: number | null;
  readonly belief: Gaussian;
  readonly demand: DemandMemory;
  /** Standard deviation of ln TPOT among the requests of a window; ln of mean TPOT over mean iteration. */
  readonly tpotSpread: number;
  readonly tpotBias: number;
  /** ln of the waits for prefill over what the queueing model says. */
  readonly waitBias: number;
  /** Whether the engine has ever told how long its iterations take; a silent window does not make it blind. */
  readonly told: boolean;
  /** Seconds of windows that ran wholly at one split: what the belief rests on. */
  readonly learntS: number;
  /** Share-seconds of requests that are believed lost by staying: what a change is weighed against. */
  readonly regret: number;
}

export function freshMemory(prior: Gaussian): SearchMemory {
  return {
    learntToMs: null,
    belief: prior,
    demand: NO_DEMAND,
    // ShareGPT answers on the simulator at half load scatter by 0.1, near saturation by 0.2.
    tpotSpread: 0.15,
    tpotBias: 0,
    waitBias: 0,
    told: false,
    learntS: 0,
    regret: 0,
  };
}

export function writeMemory(memory: SearchMemory): PolicyState {
  const { mean, covariance } = memory.belief;
  const values = {
    learntToMs: memory.learntToMs,
    mean: mean.map(compact),
    covariance: covariance.map((row, i) => row.slice(0, i + 1).map(compact)),
    demand: compactAll(memory.demand),
    tpotSpread: compact(memory.tpotSpread),
    tpotBias: compact(memory.tpotBias),
    waitBias: compact(memory.waitBias),
    told: memory.told,
    learntS: compact(memory.learntS),
    regret: compact(memory.regret),
  };
  return { policy: "search", version: SEARCH_VERSION, values };
}

/** A state of another policy or version, or one that makes no sense, is as good as none. */
export function readMemory(state: unknown, prior: Gaussian): SearchMemory {
  const fresh = freshMemory(prior);
  if (!isRecord(state) || state.policy !== "search" || state.version !== SEARCH_VERSION) return fresh;
  const { values } = state;
  if (!isRecord(values)) return fresh;
  const belief = readBelief(values.mean, values.covariance, prior.mean.length);
  const demand = readDemand(values.demand);
  const { learntToMs, tpotSpread, tpotBias, waitBias, learntS, regret } = values;
  if (belief === null || demand === null || !isFinite(learntToMs)) return fresh;
  if (!isFinite(tpotSpread) || !isFinite(tpotBias)) return fresh;
  if (!isFinite(waitBias) || !isFinite(learntS) || !isFinite(regret)) return fresh;
  return {
    learntToMs,
    belief,
    demand,
    tpotSpread: Math.min(2, Math.max(0.02, tpotSpread)),
    tpotBias: Math.min(3, Math.max(-3, tpotBias)),
    waitBias: Math.min(MOST_WAIT_BIAS, Math.max(-MOST_WAIT_BIAS, waitBias)),
    told: values.told === true,
    learntS: Math.max(0, learntS),
    regret: Math.min(MOST_REGRET, Math.max(0, regret)),
  };
}

/** Far above any prior's; what is greater was not learnt. */
const MOST_VARIANCE = 100;

function readBelief(mean: unknown, covariance: unknown, size: number): Gaussian | null {
  if (!Array.isArray(mean) || mean.length !== size || !Array.isArray(covariance)) return null;
  const means: unknown[] = mean;
  const rows: unknown[] = covariance;
  const cell = (i: number, j: number): unknown => {
    const row: unknown = rows[Math.max(i, j)];
    return Array.isArray(row) ? (row as unknown[])[Math.min(i, j)] : null;
  };
  const inside = (value: unknown, i: number): value is number =>
    isFinite(value) && value >= (LEAST[i] ?? value) - 1e-6 && value <= (GREATEST[i] ?? value) + 1e-6;
  if (!means.every(inside)) return null;
  const full = means.map((_, i) => means.map((__, j) => cell(i, j)));
  if (!full.every((row) => row.every(isFinite))) return null;
  const whole: readonly (readonly number[])[] = full;
  const variance = (i: number) => whole[i]?.[i] ?? 0;
  const bounded = (value: number, i: number, j: number) =>
    i === j ? value > 0 && value <= MOST_VARIANCE : value ** 2 <= 1.001 * variance(i) * variance(j);
  if (!whole.every((row, i) => row.every((value, j) => bounded(value, i, j)))) return null;
  return { mean: means, covariance: whole };
}

function readDemand(value: unknown): DemandMemory | null {
  if (!isRecord(value)) return null;
  const slow = readNumbers<Account>(value.slow, NO_DEMAND.slow);
  const fast = readNumbers<Account>(value.fast, NO_DEMAND.fast);
  const recent = readNumbers<Arrived>(value.recent, NO_DEMAND.recent);
  const { maxPromptTokens, contextPerSequence, steadyS } = value;
  if (slow === null || fast === null || recent === null) return null;
  if (!isAmount(maxPromptTokens) || !isAmount(contextPerSequence) || !isAmount(steadyS)) return null;
  const classes = readClasses(value.classes);
  if (classes === null) return null;
  return { slow, fast, recent, maxPromptTokens, contextPerSequence, steadyS, ...classes };
}

const NO_PROMPTS: PromptAccount = { arrivals: 0, promptTokens: 0, promptTokensSq: 0 };

function readClasses(value: unknown): Pick<DemandMemory, "classes"> | null {
  if (value === undefined) return {};
  if (!isRecord(value) || Object.keys(value).length > MAX_WINDOW_CLASSES) return null;
  const entries = Object.entries(value).map(
    ([name, account]) => [name, readNumbers<PromptAccount>(account, NO_PROMPTS)] as const,
  );
  const good = entries.every((entry): entry is readonly [string, PromptAccount] => entry[1] !== null);
  return good ? { classes: Object.fromEntries(entries) } : null;
}

/** Sums beyond it are no count of anything; their squares are still finite. */
const MOST = 1e30;

function isAmount(value: unknown): value is number {
  return isFinite(value) && value >= 0 && value <= MOST;
}

/** An object with the same fields as `like`, each a number from 0 to MOST; else null. */
function readNumbers<T extends object>(value: unknown, like: { readonly [K in keyof T]: number }): T | null {
  if (!isRecord(value)) return null;
  const keys = Object.keys(like);
  const good = keys.every((key) => isAmount(value[key]));
  return good ? (Object.fromEntries(keys.map((key) => [key, value[key]])) as T) : null;
}

/** Six digits are more than was measured. */
function compact(value: number): number {
  return Number(value.toPrecision(6));
}

function compactAll(value: object): Record<string, unknown> {
  const entries = Object.entries(value).map(([key, field]: [string, unknown]) => {
    if (typeof field === "number") return [key, compact(field)];
    return [key, isRecord(field) ? compactAll(field) : field];
  });
  return Object.fromEntries(entries) as Record<string, unknown>;
}
