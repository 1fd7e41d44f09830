import type { Scenario } from "./scenarios.js";
import { BIN_MS, type LaneSummary } from "./summary.js";

/** A change of the load, and when the load changes again or ends. */
export interface LoadChange {
  readonly atMs: number;
  readonly untilMs: number;
}

/** The starts of the later phases in which something comes. */
export function changesOf(scenario: Scenario): readonly LoadChange[] {
  const phases = scenario.load(1, () => 1);
  let startMs = 0;
  const changes: LoadChange[] = [];
  for (const [index, { durationMs, streams }] of phases.entries()) {
    if (index > 0 && streams.length > 0) changes.push({ atMs: startMs, untilMs: startMs + durationMs });
    startMs += durationMs;
  }
  return changes;
}

/** A lane is back when it is this near to what is attained once everything has settled. */
const NEAR = 0.05;

/** Bins of arrivals that must agree: a bin of ten seconds holds too few long prompts to tell by itself. */
const AGREEING_BINS = 3;

/**
 * Time from a change until a lane's attainment is back within 5 points of the level: the end of the first ten
 * seconds that, taken together with the next twenty, reach it. At least ten seconds; the whole phase when it never
 * is. `level`: see settledLevel.
 */
export function recoveryMs(bins: LaneSummary["bins"], change: LoadChange, level: number): number {
  const first = Math.ceil(change.atMs / BIN_MS);
  const end = Math.floor(change.untilMs / BIN_MS);
  for (let bin = first; bin + AGREEING_BINS <= end; bin += 1) {
    const share = shareOf(bins, bin, bin + AGREEING_BINS);
    if (share !== null && share >= level - NEAR) return (bin + 1) * BIN_MS - change.atMs;
  }
  return change.untilMs - change.atMs;
}

/** What the oracle attains in the second half of the phase that begins with a change; null when nothing came. */
export function settledLevel(oracle: LaneSummary["bins"], { atMs, untilMs }: LoadChange): number | null {
  return shareOf(oracle, Math.ceil((atMs + untilMs) / 2 / BIN_MS), Math.floor(untilMs / BIN_MS));
}

/** Share within both bounds of the requests in bins [from, to); null without requests. */
export function shareOf(bins: LaneSummary["bins"], from: number, to: number): number | null {
  const total = sum(bins.requests.slice(from, to));
  return total === 0 ? null : sum(bins.ok.slice(from, to)) / total;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
