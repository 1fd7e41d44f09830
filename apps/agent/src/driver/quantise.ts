import type { Allocation, GeneratedAllocation, Limits } from "@fulcrum/core/nouns.js";
import type { DriverCapabilities, Plan, Verdict } from "../partition-driver.js";

/**
 * Rounds a target to the driver's granularity and clamps it to its limits. The controller does the same with
 * the limits it was told; this is the last line, for a driver whose limits have changed since.
 */
export function quantise(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
  const { limits } = capabilities;
  const adjusted: string[] = [];
  const keep = (name: string, wanted: number, got: number): number => {
    if (Math.abs(wanted - got) > 1e-9) adjusted.push(`${name} ${wanted} -> ${got}`);
    return got;
  };
  const capped = withinSum(
    sm(target.split.prefillSmPct, limits),
    sm(target.split.decodeSmPct, limits),
    limits,
  );
  const asked: Allocation = {
    split: {
      prefillSmPct: keep("prefillSmPct", target.split.prefillSmPct, capped.prefill),
      decodeSmPct: keep("decodeSmPct", target.split.decodeSmPct, capped.decode),
    },
    kvQuotaPct: keep(
      "kvQuotaPct",
      target.kvQuotaPct,
      clamp(target.kvQuotaPct, limits.minKvQuotaPct, limits.maxKvQuotaPct),
    ),
  };
  return { generation: target.generation, asked, roundingPct: capabilities.roundingPct, adjusted };
}

/** To the nearest multiple of the granularity within the bounds; a bound itself is always deliverable. */
function sm(pct: number, limits: Limits): number {
  const rounded = tidy(Math.round(pct / limits.granularityPct) * limits.granularityPct);
  return clamp(rounded, limits.minSmPct, limits.maxSmPct);
}

/** Too much in all is taken from the larger cap first, which loses least of its speed by it. */
function withinSum(
  prefill: number,
  decode: number,
  limits: Limits,
): { readonly prefill: number; readonly decode: number } {
  const over = prefill + decode - limits.maxSumPct;
  if (over <= 0) return { prefill, decode };
  const cut = (cap: number, by: number): number => {
    const steps = Math.ceil(tidy(by / limits.granularityPct));
    return Math.max(limits.minSmPct, tidy(cap - steps * limits.granularityPct));
  };
  const even = Math.min(over, Math.abs(prefill - decode));
  const lowered =
    prefill >= decode ? { prefill: cut(prefill, even), decode } : { prefill, decode: cut(decode, even) };
  const left = lowered.prefill + lowered.decode - limits.maxSumPct;
  if (left <= 0) return lowered;
  const halved = { prefill: cut(lowered.prefill, left / 2), decode: cut(lowered.decode, left / 2) };
  return halved;
}

/**
 * Whether a read-back is what the plan asked: a cap may fall short by the hardware's rounding and must not
 * exceed what was asked; the quota within one point.
 */
export function judge(plan: Plan, delivered: Allocation): Verdict {
  const off = [
    capOff("prefillSmPct", plan.asked.split.prefillSmPct, delivered.split.prefillSmPct, plan.roundingPct),
    capOff("decodeSmPct", plan.asked.split.decodeSmPct, delivered.split.decodeSmPct, plan.roundingPct),
    Math.abs(plan.asked.kvQuotaPct - delivered.kvQuotaPct) > 1 + ROUNDED_READING
      ? `kvQuotaPct asked ${plan.asked.kvQuotaPct}, delivered ${delivered.kvQuotaPct}`
      : null,
  ].filter((text) => text !== null);
  return off.length === 0
    ? { kind: "delivered", delivered }
    : { kind: "not_delivered", message: off.join("; ") };
}

/** Read-backs come with two decimals. */
const ROUNDED_READING = 0.011;

function capOff(name: string, asked: number, delivered: number, roundingPct: number): string | null {
  const short = asked - delivered;
  const fits = short <= roundingPct + ROUNDED_READING && short >= -ROUNDED_READING;
  return fits ? null : `${name} asked ${asked}, delivered ${delivered}`;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

/** Nine decimals: a multiple of 6.1 must not come out as 54.89999999999999. */
function tidy(value: number): number {
  return Math.round(value * 1e9) / 1e9;
}
