/**
 * The flap budget: moves that take back the direction of the one before cost a switch and gain nothing, so only
 * so many are allowed within a window. A move further in the same direction is free.
 */
import type { GuardConfig, Move } from "../decision.js";
import { MAX_RECENT_MOVES } from "../decision.js";
import type { Split } from "../nouns.js";
import type { Gate } from "./gates.js";

/** +1 towards prefill, -1 towards decode, 0 when neither gains on the other. */
function directionOf(prefillDeltaPct: number, decodeDeltaPct: number): -1 | 0 | 1 {
  const net = prefillDeltaPct - decodeDeltaPct;
  if (net > 0) return 1;
  return net < 0 ? -1 : 0;
}

/** Reversals among moves, oldest first; moves without a direction do not count. */
export function countReversals(moves: readonly Move[]): { reversals: number; last: -1 | 0 | 1 } {
  let reversals = 0;
  let last: -1 | 0 | 1 = 0;
  for (const move of moves) {
    const direction = directionOf(move.prefillDeltaPct, move.decodeDeltaPct);
    if (direction === 0) continue;
    if (last !== 0 && direction !== last) reversals += 1;
    last = direction;
  }
  return { reversals, last };
}

/** What of the flap budget is used at `nowMs`. */
export function flapsOf(
  recentMoves: readonly Move[],
  { flapWindowMs }: Pick<GuardConfig, "flapWindowMs">,
  nowMs: number,
): ReturnType<typeof countReversals> {
  return countReversals(
    recentMoves.slice(-MAX_RECENT_MOVES).filter((move) => nowMs - move.atMs <= flapWindowMs),
  );
}

/** Holds a move that would be one reversal too many. */
export function flapGate(
  from: Split,
  to: Split,
  recentMoves: readonly Move[],
  guards: Pick<GuardConfig, "flapBudget" | "flapWindowMs">,
  nowMs: number,
): Gate | null {
  const { reversals, last } = flapsOf(recentMoves, guards, nowMs);
  const direction = directionOf(to.prefillSmPct - from.prefillSmPct, to.decodeSmPct - from.decodeSmPct);
  if (direction === 0 || last === 0 || direction === last || reversals < guards.flapBudget) return null;
  const minutes = Math.round(guards.flapWindowMs / 6_000) / 10;
  return {
    reason: "FLAP_BUDGET",
    message: `The split has changed direction ${reversals} times in ${minutes} minutes, and ${guards.flapBudget} are allowed.`,
  };
}
