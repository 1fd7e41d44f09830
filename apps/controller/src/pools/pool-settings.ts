import type { PoolInput } from "@fulcrum/contracts/pools.js";
import type { GuardConfig, PolicyConfig } from "@fulcrum/core/decision.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS, DEFAULT_SEARCH, DEFAULT_SEMI_PD } from "@fulcrum/core/defaults.js";
import type { Limits } from "@fulcrum/core/nouns.js";
import { ProblemError } from "../http/problem-error.js";

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

export function checkLimits(limits: Partial<Limits>): void {
  for (const [low, high] of PAIRS) {
    const from = limits[low];
    const to = limits[high];
    if (from === undefined || to === undefined || from <= to) continue;
    const message = `must be at most limits.${high} (${to}), got ${from}`;
    throw new ProblemError("invalid_request", `limits.${low}: ${message}`, [
      { field: `limits.${low}`, message },
    ]);
  }
}

/** What a driver can do, narrowed by what the pool allows. */
export function narrowLimits(driver: Limits, pool: Partial<Limits>): Limits {
  return {
    minSmPct: Math.max(driver.minSmPct, pool.minSmPct ?? 0),
    maxSmPct: Math.min(driver.maxSmPct, pool.maxSmPct ?? 100),
    maxSumPct: Math.min(driver.maxSumPct, pool.maxSumPct ?? 200),
    granularityPct: Math.max(driver.granularityPct, pool.granularityPct ?? 0),
    minKvQuotaPct: Math.max(driver.minKvQuotaPct, pool.minKvQuotaPct ?? 0),
    maxKvQuotaPct: Math.min(driver.maxKvQuotaPct, pool.maxKvQuotaPct ?? 100),
  };
}
