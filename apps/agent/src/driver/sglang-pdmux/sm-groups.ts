/** SM groups of SGLang's pdmux: prefill + decode = all SMs, prefill in whole units of the GPU (actuation.md §4.1). */
import { type GeneratedAllocation, type Limits, type Split, WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import type { Plan } from "../../partition-driver.js";

export interface SmUnits {
  readonly smCount: number;
  /** Least SMs of a part, and the unit it comes in: 8 and 8 on Hopper, 4 and 2 on Ampere and Ada, 2 and 2 on Volta. */
  readonly leastSms: number;
  readonly unitSms: number;
}

/** [prefill SMs, decode SMs] */
export type SmGroup = readonly [number, number];

/** SGLang's get_arch_constraints (pdmux_context.py @00d56e2). */
const UNITS: Readonly<Record<string, readonly [number, number]>> = {
  "6": [1, 1],
  "7": [2, 2],
  "8": [4, 2],
  "9": [8, 8],
};

export function smUnits(smCount: number, computeCapability: string): SmUnits {
  const [leastSms, unitSms] = UNITS[computeCapability.charAt(0)] ?? [8, 8];
  return { smCount, leastSms, unitSms };
}

/** Exclusive parts: the caps cannot overlap. */
export function smLimits({ smCount, leastSms, unitSms }: SmUnits): Limits {
  return {
    ...WIDEST_LIMITS,
    // Six decimals, downwards: the controller's multiples have six, and one unit must not fall below the least.
    minSmPct: Math.max(1, Math.floor((1e8 * leastSms) / smCount) / 1e6),
    maxSmPct: 100 - (100 * leastSms) / smCount,
    maxSumPct: 100,
    granularityPct: (100 * unitSms) / smCount,
    minKvQuotaPct: 100,
    maxKvQuotaPct: 100,
  };
}

/**
 * The group nearest to a split. What the split leaves idle goes to both phases alike: no SM can be left out. Decode
 * gets what prefill's whole units leave, so that its share need not be on the grid.
 */
export function nearestGroup(
  { prefillSmPct, decodeSmPct }: Split,
  { smCount, leastSms, unitSms }: SmUnits,
): SmGroup {
  const prefillPct = (prefillSmPct + 100 - decodeSmPct) / 2;
  const units = Math.round((prefillPct / 100) * (smCount / unitSms));
  const most = Math.floor((smCount - leastSms) / unitSms) * unitSms;
  const least = Math.ceil(leastSms / unitSms) * unitSms;
  const prefill = Math.min(most, Math.max(least, units * unitSms));
  return [prefill, smCount - prefill];
}

export function splitOfGroup([prefill, decode]: SmGroup, smCount: number): Split {
  return { prefillSmPct: pctOf(prefill, smCount), decodeSmPct: pctOf(decode, smCount) };
}

export function planGroup(target: GeneratedAllocation, group: SmGroup, { smCount }: SmUnits): Plan {
  const split = splitOfGroup(group, smCount);
  const adjusted = (["prefillSmPct", "decodeSmPct"] as const)
    .filter((field) => Math.abs(target.split[field] - split[field]) > 1e-9)
    .map((field) => `${field} ${target.split[field]} -> ${split[field]}`);
  if (target.kvQuotaPct !== 100) adjusted.push(`kvQuotaPct ${target.kvQuotaPct} -> 100`);
  // A read-back comes with as many digits as the plan: nothing is rounded by the hardware any more.
  return { generation: target.generation, asked: { split, kvQuotaPct: 100 }, roundingPct: 0, adjusted };
}

/** Two decimals, as read-backs come; an empty part is shown as the least that a share can be. */
function pctOf(sms: number, smCount: number): number {
  return Math.max(1, Math.round((10_000 * sms) / smCount) / 100);
}
