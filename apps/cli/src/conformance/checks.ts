/** What the rules have in common: limits, and checks that more than one of them makes. */
import { type Candidate, RuleBroken, pause } from "./candidate.js";

/** A pause in which a worker that does what it must not do would have done it. */
export const STILL_MS = 400;
export const FIRST_ITERATION_MS = 5_000;
export const HAND_OVER_MS = 30_000;
export const EXIT_MS = 10_000;
export const RECONNECT_MS = 5_000;
export const PROGRESS_MS = 3_000;
export const AHEAD_ITERATIONS = 20;
/** Far enough not to come while it is taken back. */
export const FAR_ITERATIONS = 100_000;

export interface Workers {
  /** Starts the next one; the first is `a`, and so on. */
  readonly start: (name: "a" | "b" | "c") => Candidate;
  readonly attachMs: number;
}

export interface Rule {
  readonly name: string;
  readonly check: (workers: Workers) => Promise<void>;
}

export async function handOver(
  from: Candidate,
  to: Candidate,
  turn: number,
  at: number | null,
): Promise<void> {
  const heard = to.events.length;
  const { iteration: last } = await from.accept({ op: "hand_over", turn, at }, HAND_OVER_MS);
  if (last === undefined) throw new RuleBroken("the answer to hand_over must say the last iteration it ran");
  if (at !== null) same("the answer", { iteration: last }, { iteration: at });
  const began = await to.event("iterating", FIRST_ITERATION_MS, heard);
  same("event iterating", { turn: began.turn, iteration: began.iteration }, { turn, iteration: last + 1 });
  await from.reach("handed_over");
  await stays(from, last);
}

export function onlyGrow(iterations: readonly number[]): void {
  const falls = iterations.some((iteration, at) => at > 0 && iteration < (iterations[at - 1] ?? 0));
  if (falls) throw new RuleBroken(`iteration fell: ${iterations.join(", ")}`);
}

/** It must not run an iteration for a while. */
export async function stays(candidate: Candidate, iteration: number): Promise<void> {
  const from = candidate.events.length;
  await pause(STILL_MS);
  const now = await candidate.status();
  const iterated = candidate.events
    .slice(from)
    .some(({ event }) => event === "iterating" || event === "progress");
  if (now.state === "iterating" || now.iteration > iteration || iterated) {
    throw new RuleBroken(`it iterates without the turn: state ${now.state}, iteration ${now.iteration}`);
  }
}

export async function exits(candidate: Candidate): Promise<void> {
  const exit = await candidate.until("its end", EXIT_MS, () => candidate.exit);
  if (exit.code !== 0)
    throw new RuleBroken(`it ended with ${exit.signal ?? `exit code ${exit.code}`}, not with 0`);
}

export function same(what: string, is: Record<string, unknown>, should: Record<string, unknown>): void {
  const off = Object.entries(should).filter(([field, value]) => is[field] !== value);
  if (off.length === 0) return;
  const parts = off.map(
    ([field, value]) => `${field} must be ${JSON.stringify(value)}, got ${JSON.stringify(is[field])}`,
  );
  throw new RuleBroken(`${what}: ${parts.join(", ")}`);
}
