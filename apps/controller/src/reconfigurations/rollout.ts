/** The rules of a rollout, pure: what state the ranks' steps add up to, and how long each may take. */
import type { Capabilities, RankStep } from "@fulcrum/contracts/agent-api.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import type { ReconfigurationState } from "@fulcrum/contracts/resources.js";
import type { RolloutConfig } from "../config.js";

const ORDER: readonly RankStep[] = ["preparing", "ready", "armed", "switched", "verified"];

/** Whether a rank that is at `from` learns something new from an acknowledgement of `to`. */
export function isProgress(from: RankStep | null, to: RankStep): boolean {
  if (to === "failed") return from !== "failed" && from !== "verified";
  if (from === "failed") return false;
  return ORDER.indexOf(to) > (from === null ? -1 : ORDER.indexOf(from));
}

/**
 * A group is only as far as its slowest rank: all ranks of an instance move together (semi-PD §4.5). One that is armed
 * still runs the old allocation, so for the group it is ready.
 */
export function stateOf(steps: readonly (RankStep | null)[], rankCount: number): ReconfigurationState {
  if (steps.length < rankCount || steps.some((step) => step === null || step === "failed")) return "offered";
  const slowest = Math.min(...steps.map((step) => ORDER.indexOf(step!)));
  const step = ORDER[slowest]!;
  return step === "armed" || step === "failed" ? "ready" : step;
}

/**
 * How long a rollout may stay in a state before it is offered again. A driver that says how long it
 * prepares gets three times that on top, since preparing runs beside live work; one that restarts the engine takes
 * that time to switch.
 */
export function stepTimeoutMs(
  state: ReconfigurationState,
  config: RolloutConfig,
  { live, prepareMs }: Pick<Capabilities, "live" | "prepareMs">,
): number {
  const preparesMs = 3 * (prepareMs ?? 0);
  switch (state) {
    case "offered":
      return config.offerTimeoutMs;
    case "preparing":
      return config.prepareTimeoutMs + preparesMs;
    case "ready":
      return config.switchTimeoutMs + (live ? 0 : preparesMs);
    case "switched":
      return config.verifyTimeoutMs;
    default:
      return 0;
  }
}

/** Whole TPCs are up to 2 points each way (2 of 108 SMs, floor of two caps); a share further off was not delivered. */
const DELIVERED_TOLERANCE_PCT = 5;

/**
 * What is wrong with what a rank read back; null when it is what was asked, or when nothing could be read. A driver whose
 * partitions lie further apart than the tolerance may be off by one of its steps.
 */
export function deliveredFault(
  asked: Allocation,
  delivered: Allocation | null,
  granularityPct: number,
): string | null {
  if (delivered === null) return null;
  const tolerancePct = Math.max(DELIVERED_TOLERANCE_PCT, granularityPct);
  const pairs = [
    ["prefillSmPct", asked.split.prefillSmPct, delivered.split.prefillSmPct],
    ["decodeSmPct", asked.split.decodeSmPct, delivered.split.decodeSmPct],
    ["kvQuotaPct", asked.kvQuotaPct, delivered.kvQuotaPct],
  ] as const;
  const off = pairs.find(([, want, got]) => Math.abs(want - got) > tolerancePct);
  return off ? `${off[0]} is ${off[2]}, asked ${off[1]} (at most ${tolerancePct} points apart)` : null;
}

/** Back-off before the next attempt: doubled each time, at most a minute. */
export function backoffMs(attempt: number, config: RolloutConfig): number {
  return Math.min(config.retryBackoffMs * 2 ** (attempt - 1), 60_000);
}
