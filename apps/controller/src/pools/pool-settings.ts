import { limitsFault } from "@fulcrum/contracts/pool-defaults.js";
import type { Limits } from "@fulcrum/core/nouns.js";
import { ProblemError } from "../http/problem-error.js";

export function checkLimits(limits: Partial<Limits>): void {
  const fault = limitsFault(limits);
  if (fault === null) return;
  const field = `limits.${fault.field}`;
  throw new ProblemError("invalid_request", `${field}: ${fault.message}`, [
    { field, message: fault.message },
  ]);
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
