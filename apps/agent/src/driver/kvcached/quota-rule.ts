/** Which limit may be written to a kvcached segment, and when. Bytes; pure. */
import type { SegmentReading } from "./segment.js";

export interface QuotaUnits {
  /** What the engine reserved when it started: a greater limit cannot be mapped. */
  readonly startTotalBytes: number;
  /** One page in every layer and KV buffer: the engine rounds a limit down to it. */
  readonly bundleBytes: number;
  /** kvcached #498: exactly the start-up value is ignored, so the whole is one bundle less. */
  readonly restoreOneBundleShort: boolean;
}

export function greatestLimit({ startTotalBytes, bundleBytes, restoreOneBundleShort }: QuotaUnits): number {
  if (!restoreOneBundleShort) return startTotalBytes;
  return Math.max(bundleBytes, (Math.floor(startTotalBytes / bundleBytes) - 1) * bundleBytes);
}

/** The fewest whole bundles that are 1 % or more: a quota below that cannot be told. */
export function leastLimit({ startTotalBytes, bundleBytes }: QuotaUnits): number {
  return Math.max(1, Math.ceil(startTotalBytes / 100 / bundleBytes - 1e-6)) * bundleBytes;
}

/** The deliverable limit at or below a share of the start-up total, and at least the least one. */
export function limitOfPct(kvQuotaPct: number, units: QuotaUnits): number {
  const { startTotalBytes, bundleBytes } = units;
  if (kvQuotaPct >= 100) return greatestLimit(units);
  // 1e-6 of a bundle: a percentage made from whole bundles must come back as the same bundles.
  const bundles = Math.floor((startTotalBytes * kvQuotaPct) / 100 / bundleBytes + 1e-6);
  return Math.min(greatestLimit(units), Math.max(leastLimit(units), bundles * bundleBytes));
}

/** Nine decimals, so that limitOfPct gives the same limit again. */
export function pctOfLimit(limitBytes: number, { startTotalBytes }: QuotaUnits): number {
  return Math.round((limitBytes / startTotalBytes) * 1e11) / 1e9;
}

/**
 * What to write now on the way to `targetBytes`. A shrink stops one bundle above what is in use, unless a drain is
 * asked: below it the engine admits nothing until enough has finished. Null: nothing to write.
 */
export function nextLimit(
  targetBytes: number,
  reading: Pick<SegmentReading, "limitBytes" | "usedBytes">,
  bundleBytes: number,
  drain: boolean,
): number | null {
  const { limitBytes, usedBytes } = reading;
  if (targetBytes >= limitBytes || drain) return targetBytes === limitBytes ? null : targetBytes;
  const floorBytes = (Math.ceil(usedBytes / bundleBytes) + 1) * bundleBytes;
  const next = Math.max(targetBytes, floorBytes);
  return next < limitBytes ? next : null;
}

/** What an instance may hold of the GPU's memory: its limit, and while it drains what it still has mapped. */
export function heldBytes({ limitBytes, usedBytes, preallocBytes }: SegmentReading): number {
  return Math.max(limitBytes, usedBytes + preallocBytes);
}

/**
 * The second phase of a move between instances of one GPU: the greatest limit that fits beside what the others may
 * still hold. As long as every growth asks this, the sum of what is held never grows beyond the budget, whoever dies
 * in between: a shrink that was written stays, a growth that was not is asked again.
 */
export function roomBytes(budgetBytes: number, others: readonly SegmentReading[]): number {
  return budgetBytes - others.reduce((sum, other) => sum + heldBytes(other), 0);
}
