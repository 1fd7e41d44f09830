/** What the lines of the table of targets are made with. */
import type { Place, Results } from "./results.js";

/** A line of the table of targets. */
export interface TargetLine {
  readonly measure: string;
  readonly wanted: string;
  readonly measured: string;
  readonly verdict: "met" | "missed" | "not run";
}

/** The contender that the targets are about, and the one that controls nothing. */
export const SEARCH = "search";
export const OPEN = "100/100";

/** The name under which the clairvoyant's highest rates are kept. */
export const ORACLE = "oracle";

/** Attainment of one contender less another's where both were run. */
export function difference(results: Results, at: Place, one: string, other: string): number | null {
  const [a, b] = [results.lane(at, one), results.lane(at, other)];
  return a === null || b === null ? null : a.bothOk - b.bothOk;
}

export interface At<T> {
  readonly at: Place;
  readonly value: T;
}

export function allOf(places: readonly Place[], of: (at: Place) => number | null): readonly At<number>[] {
  return places.flatMap((at) => {
    const value = of(at);
    return value === null ? [] : [{ at, value }];
  });
}

export function least(values: readonly At<number>[]): At<number> | undefined {
  return values.reduce<At<number> | undefined>(
    (found, each) => (found === undefined || each.value < found.value ? each : found),
    undefined,
  );
}

export function lessBestFixed(results: Results, at: Place): number | null {
  const search = results.lane(at, SEARCH);
  const bounds = results.bounds(at);
  return search === null || bounds === null ? null : search.bothOk - bounds.best.bothOk;
}

export function grid(scenario: string, fraction: number, seed: number): Place {
  return { section: "grid", variant: "", scenario, fraction, seed };
}

/** "+1.2 points". */
export function points(share: number): string {
  const value = (100 * share).toFixed(1);
  return `${Number(value) > 0 ? "+" : ""}${value === "-0.0" ? "0.0" : value} points`;
}

export function line(measure: string, wanted: string, measured: string, met: boolean): TargetLine {
  return { measure, wanted, measured, verdict: met ? "met" : "missed" };
}

export function notRun(measure: string, wanted: string): TargetLine {
  return { measure, wanted, measured: "-", verdict: "not run" };
}
