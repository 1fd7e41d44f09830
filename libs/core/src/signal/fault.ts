/**
 * What is wrong with a number that came from outside: which field, and the bound it breaks.
 * The value itself is kept only when it is finite: NaN and null are the same thing after a trip through JSON,
 * and a decision must read the same before and after one.
 */
export interface Fault {
  readonly field: string;
  readonly bound: string;
  readonly value: number | null;
}

/** Counts, tokens and sums above this are a broken counter, not a busy engine (30,000 years of one token per second). */
export const HUGE = 1e12;

/** Latest instant that a JavaScript date can hold, epoch ms. */
export const LAST_INSTANT_MS = 8.64e15;

export function isFinite(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

export function finiteOrNull(value: unknown): number | null {
  return isFinite(value) ? value : null;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Null when `value` is a finite number from `min` to `max`, both included. */
export function rangeFault(field: string, value: unknown, min: number, max: number): Fault | null {
  if (isFinite(value) && value >= min && value <= max) return null;
  return { field, bound: `a number from ${min} to ${max}`, value: finiteOrNull(value) };
}

/** Null when `value` is a whole number from `min` to `max`, both included. */
export function wholeFault(field: string, value: unknown, min: number, max: number): Fault | null {
  if (isFinite(value) && Number.isSafeInteger(value) && value >= min && value <= max) return null;
  return { field, bound: `a whole number from ${min} to ${max}`, value: finiteOrNull(value) };
}

/** As rangeFault, but null is allowed: the engine does not say. */
export function gaugeFault(field: string, value: unknown, min: number, max: number): Fault | null {
  return value === null ? null : rangeFault(field, value, min, max);
}

export function shapeFault(field: string, bound: string): Fault {
  return { field, bound, value: null };
}

/** The first fault of a list of checks; the list is short and evaluated in order. */
export function firstFault(...faults: readonly (Fault | null)[]): Fault | null {
  for (const fault of faults) if (fault !== null) return fault;
  return null;
}

/** One sentence without its full stop: `arrivals is -3, must be a whole number from 0 to 1000000000000`. */
export function describeFault(fault: Fault): string {
  const found = fault.value === null ? "is not a usable value" : `is ${fault.value}`;
  return `${fault.field} ${found}, must be ${fault.bound}`;
}
