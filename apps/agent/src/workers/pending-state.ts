/** How far what is pending has come on one role, as seen. Pure. */
import {
  type Cohort,
  type RoleView,
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

/** The share that the role should iterate at now. */
export function wantedPct({ pending, runs }: RoleView): number {
  return pending?.step === "switching" ? pending.smPct : runs.smPct;
}

/** The workers that will serve what is pending; null while they are not all there. */
export function preparedCohort(view: RoleView): Cohort | null {
  const { pending } = view;
  return pending && bestCohort(view, ({ smPct }) => smPct === pending.smPct);
}
