/**
 * What may leave: the allocation that a policy wants, brought within the operator's and the driver's bounds.
 * In this order, each leaving a note when it changes something: limits, sum, granularity, step, stability,
 * KV floor. The operator's own static target is not held to step and stability.
 */
import type { GuardConfig, GuardNote } from "../decision.js";
import { SUM_SLACK_PCT, sameAllocation, sameSplit, splitWithin } from "../allocation.js";
import type { Allocation, Limits, Split } from "../nouns.js";
import { nearestSplit, towards } from "./grid.js";

export interface BoundsContext {
  readonly current: Allocation;
  readonly limits: Limits;
  readonly guards: Pick<GuardConfig, "maxStepPct" | "stabilityMargin">;
  /** Null: the operator's own target, not held to step and stability. */
  readonly model: {
    readonly lambdaShare: number | null;
    readonly prefillShare: (split: Split) => number;
  } | null;
}

export interface Bounded {
  readonly allocation: Allocation;
  readonly notes: readonly GuardNote[];
}

export function withinBounds(wanted: Allocation, context: BoundsContext): Bounded {
  const notes: GuardNote[] = [];
  let allocation = wanted;
  const apply = (guard: GuardNote["guard"], to: Allocation) => {
    if (sameAllocation(allocation, to)) return;
    notes.push({ guard, from: allocation, to });
    allocation = to;
  };
  const applySplit = (guard: GuardNote["guard"], bound: (split: Split) => Split) =>
    apply(guard, { ...allocation, split: bound(allocation.split) });

  const { current, limits, model } = context;
  // A split that the policy leaves alone is left alone: bounds are for moves, also for the grid.
  if (!sameSplit(wanted.split, current.split)) {
    applySplit("limits", (split) => clampSplit(split, limits));
    applySplit("sum", (split) => withinSum(split, current.split, limits));
    applySplit("granularity", (split) => nearestSplit(split, limits));
    if (model !== null) {
      applySplit("step", (split) => withinStep(split, current.split, context.guards.maxStepPct, limits));
      applySplit("stability", (split) => stable(split, context));
    }
  }
  const { minKvQuotaPct, maxKvQuotaPct } = limits;
  if (wanted.kvQuotaPct !== current.kvQuotaPct) {
    apply("kv-floor", {
      ...allocation,
      kvQuotaPct: clamp(allocation.kvQuotaPct, minKvQuotaPct, maxKvQuotaPct),
    });
  }
  return { allocation, notes };
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value));
}

function clampSplit(split: Split, limits: Limits): Split {
  return {
    prefillSmPct: clamp(split.prefillSmPct, limits.minSmPct, limits.maxSmPct),
    decodeSmPct: clamp(split.decodeSmPct, limits.minSmPct, limits.maxSmPct),
  };
}

/** Takes an excess of the sum from the cap that does not grow; from both in proportion when both or none do. */
function withinSum(split: Split, current: Split, limits: Limits): Split {
  const sum = split.prefillSmPct + split.decodeSmPct;
  if (sum <= limits.maxSumPct + SUM_SLACK_PCT) return split;
  const prefillGrows = split.prefillSmPct > current.prefillSmPct;
  const decodeGrows = split.decodeSmPct > current.decodeSmPct;
  let prefill = (split.prefillSmPct * limits.maxSumPct) / sum;
  if (prefillGrows && !decodeGrows) prefill = split.prefillSmPct;
  if (decodeGrows && !prefillGrows) prefill = limits.maxSumPct - split.decodeSmPct;
  const prefillSmPct = clamp(prefill, limits.minSmPct, limits.maxSumPct - limits.minSmPct);
  return {
    prefillSmPct: Math.min(prefillSmPct, limits.maxSmPct),
    decodeSmPct: clamp(limits.maxSumPct - prefillSmPct, limits.minSmPct, limits.maxSmPct),
  };
}

/** Each cap by `maxStepPct` at most. Limits outrank it: from an allocation outside of them the way back is one step. */
function withinStep(split: Split, current: Split, maxStepPct: number, limits: Limits): Split {
  const greatest = Math.max(
    Math.abs(split.prefillSmPct - current.prefillSmPct),
    Math.abs(split.decodeSmPct - current.decodeSmPct),
  );
  if (greatest <= maxStepPct + SUM_SLACK_PCT || !splitWithin(current, limits)) return split;
  const limited = {
    prefillSmPct: clamp(
      split.prefillSmPct,
      current.prefillSmPct - maxStepPct,
      current.prefillSmPct + maxStepPct,
    ),
    decodeSmPct: clamp(split.decodeSmPct, current.decodeSmPct - maxStepPct, current.decodeSmPct + maxStepPct),
  };
  return towards(current, limited, 1, limits);
}

/** How many places between the wanted and the current split are tried. */
const STABILITY_TRIES = 32;

/**
 * Prefill's effective share stays above lambda * margin (paper eq. 3), or does not fall at all: a split on the way
 * back to the current one is taken, the farthest that is stable.
 */
function stable(split: Split, context: BoundsContext): Split {
  const { current, guards, limits, model } = context;
  if (model === null || model.lambdaShare === null) return split;
  const floorShare = model.lambdaShare * guards.stabilityMargin;
  const nowShare = model.prefillShare(current.split);
  const keeps = (candidate: Split) => {
    const share = model.prefillShare(candidate);
    return share > floorShare || share >= nowShare;
  };
  if (keeps(split)) return split;
  for (let tried = 1; tried < STABILITY_TRIES; tried++) {
    const candidate = towards(current.split, split, 1 - tried / STABILITY_TRIES, limits);
    if (keeps(candidate)) return candidate;
  }
  return current.split;
}
