/** What the rules have in common: limits, and checks that more than one of them makes. */
import { smCountOf } from "@fulcrum/agent/workers/role-view.js";
import { ANSWER_MS, type Candidate, type Status, pause } from "./candidate.js";
import { type Heard, RuleBroken } from "./conversation.js";
import type { Stage } from "./stage.js";

/** SMs come in pairs (TPCs) on every NVIDIA GPU since Pascal. */
const SM_PER_TPC = 2;
/** A pause in which a worker that does what it must not do would have done it. */
export const STILL_MS = 300;
export const FIRST_ITERATION_MS = 5_000;
export const HAND_OVER_MS = 30_000;
export const EXIT_MS = 10_000;
/** Tries to connect are a second apart. */
export const RECONNECT_MS = 5_000;
/** Longest silence of a worker that iterates; the protocol's is about a second. */
export const PROGRESS_MS = 3_000;
export const AHEAD_ITERATIONS = 20;
/** Far enough not to come while it is taken back. */
export const FAR_ITERATIONS = 100_000;

export interface Rule {
  readonly name: string;
  readonly check: (stage: Stage) => Promise<void>;
}

/** The next turn goes from one that iterates to one that is armed for it. */
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

/** Takes the next turn. @returns its first iteration. */
export async function takeTurn(
  stage: Stage,
  candidate: Candidate,
): Promise<Extract<Heard, { event: "iterating" }>> {
  const heard = candidate.events.length;
  stage.turn += 1;
  await candidate.accept({ op: "iterate", turn: stage.turn, take: true });
  const began = await candidate.event("iterating", FIRST_ITERATION_MS, heard);
  same("event iterating", { turn: began.turn }, { turn: stage.turn });
  return began;
}

/** Those that a `keep` took back, at once. */
export async function areAnswered(handOvers: readonly Promise<unknown>[]): Promise<void> {
  const late = pause(ANSWER_MS).then(() => {
    throw new RuleBroken(`keep was accepted, and hand_over not answered with kept within ${ANSWER_MS} ms`);
  });
  await Promise.race([late, Promise.all(handOvers)]);
}

/** It must not run an iteration for a while. @returns its status then. */
export async function stays(candidate: Candidate, iteration: number): Promise<Status> {
  const from = candidate.events.length;
  await pause(STILL_MS);
  const now = await candidate.status();
  const said = candidate.events
    .slice(from)
    .find(({ event }) => event === "iterating" || event === "progress");
  if (said !== undefined) throw new RuleBroken(`it iterates without the turn: it said ${said.event}`);
  if (now.state === "iterating" || now.iteration > iteration) {
    throw new RuleBroken(`it iterates without the turn: state ${now.state}, iteration ${now.iteration}`);
  }
  return now;
}

/** It was stopped by the role's turn, which is now the stage's. */
export async function isFenced(stage: Stage, candidate: Candidate, from: number): Promise<void> {
  const fenced = await candidate.event("fenced", FIRST_ITERATION_MS, from);
  const { state, iteration } = await candidate.status();
  same("state", { state }, { state: "handed_over" });
  same("event fenced", { turn: fenced.turn, iteration: fenced.iteration }, { turn: stage.turn, iteration });
  await stays(candidate, iteration);
}

export async function exits(candidate: Candidate, limitMs = EXIT_MS): Promise<void> {
  const exit = await candidate.until("its end", limitMs, () => candidate.exit);
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

/**
 * What is wrong with the SMs that it sees, as an agent reads them back (`wrong_share`, `uncapped`); null if nothing is, or
 * nobody has said how many the GPU has.
 */
export function wrongShare({ options }: Stage, { spec, said }: Candidate): string | null {
  const ready = said.find("ready");
  const total = options.gpuSmCount;
  if (total === null || ready === undefined) return null;
  const { smCount } = ready;
  const wanted = smCountOf(spec.smPct, { smCount: total, smPerTpc: SM_PER_TPC });
  const must = `under ${spec.smPct} % of ${total} SMs it must see ${wanted}`;
  if (smCount === null) return `${must}, and it cannot tell`;
  if (smCount <= wanted && smCount >= wanted - SM_PER_TPC) return null;
  const why = smCount === total ? ": no MPS daemon answers at its pipe directory, so nothing caps it" : "";
  return `${must}, and it sees ${smCount}${why}`;
}
