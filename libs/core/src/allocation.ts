/** Small questions about allocations. */
import type { Allocation, Limits, Split } from "./nouns.js";

/** `prefill 60 %, decode 40 %, KV quota 100 %`. */
export function describeAllocation(allocation: Allocation): string {
  const { split, kvQuotaPct } = allocation;
  return `prefill ${tidy(split.prefillSmPct)} %, decode ${tidy(split.decodeSmPct)} %, KV quota ${tidy(kvQuotaPct)} %`;
}

export function sameSplit(a: Split, b: Split): boolean {
  return a.prefillSmPct === b.prefillSmPct && a.decodeSmPct === b.decodeSmPct;
}

export function sameAllocation(a: Allocation, b: Allocation): boolean {
  return sameSplit(a.split, b.split) && a.kvQuotaPct === b.kvQuotaPct;
}

/** Sums of caps are compared with this slack: multiples of 6.1 do not add up exactly in binary. */
export const SUM_SLACK_PCT = 1e-6;

/** Whether a split keeps to the bounds of each cap and of their sum; granularity is not asked. */
export function splitWithin(split: Split, limits: Limits): boolean {
  return (
    split.prefillSmPct >= limits.minSmPct &&
    split.prefillSmPct <= limits.maxSmPct &&
    split.decodeSmPct >= limits.minSmPct &&
    split.decodeSmPct <= limits.maxSmPct &&
    split.prefillSmPct + split.decodeSmPct <= limits.maxSumPct + SUM_SLACK_PCT
  );
}

/** A number as a person writes it: at most two decimals. */
export function tidy(value: number): string {
  return String(Math.round(value * 100) / 100);
}
