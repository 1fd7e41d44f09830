/**
 * Turns of a worker's loop: its iterations, and the looks for work while it has none. They go on at a steady pace
 * when there is no load, so that "switch at the end of turn n" comes to pass on an idle engine too.
 */
import type { Phase } from "@fulcrum/core/nouns.js";
import type { Work } from "./work-counters.js";

/** A number of turns for each phase's worker. */
export type Turns = Readonly<Record<Phase, number>>;

/** A worker that has nothing to do looks for work this often. */
export const IDLE_TURN_MS = 10;
/** Sums of times are not exact; this far from a whole turn is the turn. */
const EPSILON = 1e-6;

type Worked = Pick<Work, "iterations" | "busyMs">;

/** Turns that have ended by `nowMs`. */
export function turnsOf(phase: Phase, work: Worked, nowMs: number): number {
  return work.iterations[phase] + Math.floor((nowMs - work.busyMs[phase]) / IDLE_TURN_MS + EPSILON);
}

/** How long a worker that stays idle needs to get to `turn`; Infinity when it is there. */
export function idleMsUntil(turn: number, phase: Phase, work: Worked, nowMs: number): number {
  const leftMs = (turn - work.iterations[phase]) * IDLE_TURN_MS - (nowMs - work.busyMs[phase]);
  return leftMs > EPSILON * IDLE_TURN_MS ? leftMs : Infinity;
}
