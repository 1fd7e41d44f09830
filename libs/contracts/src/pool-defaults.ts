/** A pool's input with everything in it that it leaves out, as the controller stores it and the CLI compares it. Pure. */
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS, DEFAULT_SEARCH, DEFAULT_SEMI_PD } from "@fulcrum/core/defaults.js";
import type { GuardConfig, PolicyConfig } from "@fulcrum/core/decision.js";
import type { Limits } from "@fulcrum/core/nouns.js";
import { DEFAULT_CANARY, type Pool, type PoolInput } from "./pools.js";
import { DEFAULT_APPROVAL } from "./proposals.js";

/** What of a pool a person writes; the rest of it the controller does. */
export type PoolSettings = Pick<Pool, keyof PoolInput>;

export function fullPool(input: PoolInput): PoolSettings {
  return {
    ...input,
    policy: fullPolicy(input.policy),
    guards: fullGuards(input.guards),
    approval: { ...DEFAULT_APPROVAL, ...input.approval },
    canary: { ...DEFAULT_CANARY, ...input.canary },
  };
}

/** A pool's row holds every parameter, so that a later change of the defaults changes no running pool. */
export function fullPolicy(input: PoolInput["policy"]): PolicyConfig {
  switch (input.name) {
    case "static":
      return input;
    case "feedback":
      return { name: input.name, params: { ...DEFAULT_FEEDBACK, ...input.params } };
    case "semi-pd":
      return { name: input.name, params: { ...DEFAULT_SEMI_PD, ...input.params } };
    case "search":
      return { name: input.name, params: { ...DEFAULT_SEARCH, ...input.params } };
  }
}

export function fullGuards(input: Partial<GuardConfig>): GuardConfig {
  return { ...DEFAULT_GUARDS, ...input };
}

const PAIRS = [
  ["minSmPct", "maxSmPct"],
  ["minKvQuotaPct", "maxKvQuotaPct"],
] as const;

/** The limit that contradicts another one, and how; null when they agree. */
export function limitsFault(limits: Partial<Limits>): { field: keyof Limits; message: string } | null {
  for (const [low, high] of PAIRS) {
    const from = limits[low];
    const to = limits[high];
    if (from === undefined || to === undefined || from <= to) continue;
    return { field: low, message: `must be at most limits.${high} (${to}), got ${from}` };
  }
  const { minSmPct, maxSumPct } = limits;
  if (minSmPct !== undefined && maxSumPct !== undefined && maxSumPct < 2 * minSmPct) {
    const least = `at least ${2 * minSmPct}, twice limits.minSmPct`;
    return { field: "maxSumPct", message: `must be ${least} (${minSmPct}), got ${maxSumPct}` };
  }
  return null;
}
