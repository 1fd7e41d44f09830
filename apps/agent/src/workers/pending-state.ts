/** How far what is pending has come on one role, as seen. Pure. */
import {
  type Cohort,
  type RoleView,
  type WorkerView,
  bestCohort,
  holdsTurn,
  isPassing,
  isUnheard,
  isUsable,
  isWarm,
} from "./role-view.js";

/** Whether every rank iterates on a worker of the share that is wanted. */
export function isSwitched(view: RoleView): boolean {
  return view.ranks.every((rank) =>
    view.workers.some(
      (worker) =>
        worker.rank === rank &&
        worker.state === "iterating" &&
        worker.alive &&
        worker.smPct === wantedPct(view),
    ),
  );
}

/** Whether every rank has a warm worker of the pending share, and no earlier order to hand over is still out. */
export function isPrepared(view: RoleView): boolean {
  const cohort = preparedCohort(view);
  const isClear = !view.workers.some(
    (worker) => isUsable(worker) && (isPassing(worker) || isUnheard(worker)),
  );
  return isClear && cohort !== null && [...cohort.values()].every(isWarm);
}

/** Whether a rank has left what it ran for what is pending: before, the switch can be taken back without a trace. */
export function hasBegun({ pending, runs, ranks, workers }: RoleView): boolean {
  if (pending?.step !== "switching" || pending.smPct === runs.smPct) return false;
  return ranks.some((rank) => {
    const held = workers.filter((worker) => worker.rank === rank && (holdsTurn(worker) || isUnheard(worker)));
    return held.length === 0 || held.some(({ smPct }) => smPct === pending.smPct);
  });
}

/** Less than a few of the workers' signs of life, about one a second, says nothing of whether they go on. */
const LEAST_STANDSTILL_MS = 3_000;

/**
 * In words, the rank that stands still before the iteration that this agent chose; null while none does. One that the
 * controller named is left alone: ranks under other agents wait for it too.
 */
export function standstill({ pending, agreed, workers, limits, nowMs }: RoleView): string | null {
  if (pending?.step !== "switching" || pending.at !== null || agreed === null) return null;
  const limitMs = Math.max(limits.handOverMs, LEAST_STANDSTILL_MS);
  const still = workers.find(
    (worker) =>
      holdsTurn(worker) &&
      worker.connected &&
      worker.smPct !== pending.smPct &&
      agreed.turns.has(worker.rank) &&
      worker.iteration < agreed.at &&
      nowMs - Math.max(worker.iteratedAtMs, agreed.sinceMs) > limitMs,
  );
  if (!still) return null;
  const { id, rank, iteration } = still;
  return `rank ${rank} (${id}) stands still at iteration ${iteration} for ${limitMs} ms, before ${agreed.at}, where all ranks were to switch`;
}

/**
 * In words, that the ranks did not leave off at one iteration; null when they did, or it is not known. What the old
 * workers told counts, and where one was not heard, with what the new ones began.
 */
export function partedRanks(view: RoleView): string | null {
  const { pending, runs, ranks, workers } = view;
  if (pending === null || pending.smPct === runs.smPct || ranks.length === 1) return null;
  const holders = ranks.map((rank) =>
    workers.find((worker) => worker.rank === rank && holdsTurn(worker) && worker.smPct === pending.smPct),
  );
  const last = holders.map((holder) => holder && lastOfOld(view, holder));
  const first = holders.map((holder) => (holder?.began?.turn === holder?.turn ? holder?.began : null));
  return (
    differing(last, ranks, "handed over after iteration") ??
    differing(
      first.map((began) => began?.iteration ?? null),
      ranks,
      "began with iteration",
    )
  );
}

/** Of the worker that made the holder's turn. */
function lastOfOld({ workers }: RoleView, { rank, turn }: WorkerView): number | null {
  const old = workers.find(
    (worker) => worker.rank === rank && worker.state === "handed_over" && worker.turn === turn,
  );
  return old?.iteration ?? null;
}

function differing(
  iterations: readonly (number | null | undefined)[],
  ranks: readonly number[],
  what: string,
): string | null {
  const known = iterations.filter((iteration) => iteration !== null && iteration !== undefined);
  if (known.length < ranks.length || new Set(known).size === 1) return null;
  return ranks.map((rank, index) => `rank ${rank} ${what} ${known[index]}`).join(", ");
}

/** The share that the role should iterate at now. */
export function wantedPct({ pending, runs }: RoleView): number {
  return pending?.step === "switching" ? pending.smPct : runs.smPct;
}

/** The workers that will serve what is pending; null while they are not all there. */
export function preparedCohort(view: RoleView): Cohort | null {
  const { pending } = view;
  return pending && bestCohort(view, ({ smPct }) => smPct === pending.smPct);
}
