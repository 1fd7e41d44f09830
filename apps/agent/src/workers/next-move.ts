/**
 * The supervisor's rule: from what is seen of one role, the moves to make now. Level-triggered and pure: nothing is
 * remembered that can be seen, so an agent that was killed at any point, or missed anything, goes on from what it
 * finds.
 *
 * One cohort (a worker per rank) holds the turn. When another is wanted it is armed, and the holder told to hand over
 * (delayed switching: the new one is ready before; asynchronous: each role by itself at its own iteration). Only
 * when no living worker can hold the turn is it taken. A holder is never stopped before another is armed. A hand-over
 * that is not wanted any more is taken back; one that has happened is followed by another back.
 */
import {
  type Cohort,
  type Move,
  type RoleView,
  type WorkerView,
  bestCohort,
  holdsTurn,
  isPassing,
  isUnheard,
  isUsable,
  isWarm,
  nextTurn,
} from "./role-view.js";
import { preparedCohort, standstill, wantedPct } from "./pending-state.js";
import { retireMove } from "./retire-move.js";
import { condemnations } from "./worker-fault.js";

/** Of the workers that serve or are prepared; standby workers come on top. */
const MAX_GENERATIONS = 2;

export function nextMoves(view: RoleView): readonly Move[] {
  const condemned = condemnations(view);
  // What follows must see them as condemned.
  if (condemned.length > 0) return condemned;
  const failure = failureOf(view);
  if (failure) return [failure];

  const wanted = bestCohort(view, ({ smPct }) => smPct === wantedPct(view));
  const prepared = preparedCohort(view);
  const server = servingCohort(view, wanted);
  const kept = keepers(view, [wanted, prepared, server]);
  return [
    ...forget(view),
    ...attach(view),
    ...takeBack(view, server, kept),
    ...(server ? passTurn(view, server) : []),
    ...retire(view, kept),
    ...start(view, wanted, prepared, kept),
  ];
}

/** What is pending cannot come any more: a worker of it is gone or condemned, or a rank does not get to its iteration. */
function failureOf(view: RoleView): Move | null {
  const { pending, workers, runs, ranks } = view;
  if (pending === null || pending.smPct === runs.smPct) return null;
  if (pending.step === "preparing" && ranks.some((rank) => isInTheWay(view, rank))) {
    return fail("gave_way", `the worker at ${runs.smPct} % was lost; its replacement goes first`);
  }
  const ofPending = workers.filter(({ smPct }) => smPct === pending.smPct);
  const lost = ofPending.find(
    ({ alive, fault, generation }) => generation === pending.generation && (!alive || fault !== null),
  );
  if (lost) return fail(lost.fault?.code ?? "worker_died", lost.fault?.message ?? `${lost.id} has ended`);
  const missing =
    pending.step === "switching" &&
    ranks.some((rank) => !ofPending.some((worker) => worker.rank === rank && isUsable(worker)));
  if (missing) return fail("worker_died", "a worker that was prepared has ended");
  const still = standstill(view);
  return still === null ? null : fail("iteration_not_reached", still);
}

/** What runs was lost, another worker serves instead, and the one that is prepared takes its replacement's place. */
function isInTheWay(view: RoleView, rank: number): boolean {
  const good = view.workers.filter(
    (worker) => worker.rank === rank && worker.alive && worker.fault === null && worker.retiring === null,
  );
  const counted = good.filter((worker) => !isSpare(worker, view));
  return counted.length >= MAX_GENERATIONS && !good.some(({ smPct }) => smPct === view.runs.smPct);
}

function fail(code: string, message: string): Move {
  return { kind: "fail", code, message };
}

/** Who should hold the turn now: the wanted cohort once it is warm; anything warm if somewhere nobody holds it. */
function servingCohort(view: RoleView, wanted: Cohort | null): Cohort | null {
  if (wanted && [...wanted.values()].every(isWarm)) return wanted;
  const orphaned = view.ranks.some(
    (rank) =>
      !view.workers.some((worker) => worker.rank === rank && (holdsTurn(worker) || isUnheard(worker))),
  );
  return orphaned ? bestCohort(view, isWarm) : null;
}

/** Who should hold the turn and was asked to hand it over goes on; who waits for it in vain is disarmed after that. */
function takeBack(view: RoleView, server: Cohort | null, kept: ReadonlySet<string>): readonly Move[] {
  const { workers, pending } = view;
  // An agent that has just begun and has not heard them all: what was committed goes on.
  if (server === null && pending?.step === "switching") return [];
  return workers.flatMap((worker): readonly Move[] => {
    if (!isUsable(worker) || !worker.connected || worker.inFlight === "keep") return [];
    const serves = server?.get(worker.rank)?.id === worker.id;
    const mustStay = isPassing(worker) && (serves || server === null);
    const waits = worker.state === "armed" && !worker.took && worker.inFlight === null;
    const inVain = waits && !serves && kept.has(worker.id) && !isAwaited(worker, workers);
    return mustStay || inVain ? [{ kind: "keep", worker: worker.id }] : [];
  });
}

/** Armed, and the turn may still come to it, or has and this is not heard yet. Ranks that compute together wait together. */
function isAwaited({ rank, state }: WorkerView, workers: readonly WorkerView[]): boolean {
  if (state !== "armed") return false;
  const isHeld = workers.some((other) => other.rank === rank && holdsTurn(other));
  return !isHeld || workers.some((other) => isPassing(other) || isUnheard(other));
}

function passTurn(view: RoleView, server: Cohort): readonly Move[] {
  const steps = [...server].map(([rank, next]) => passStep(view, rank, next));
  const arming = steps.flatMap((step) => (step.kind === "move" ? [step.move] : []));
  const due = steps.flatMap((step) => (step.kind === "hand_over" ? [step] : []));
  const { agreed } = view;
  // Some were told already: the others hear the same, whoever is away just now.
  const rest = agreed === null ? [] : due.filter(({ rank, turn }) => agreed.turns.get(rank) === turn);
  if (agreed !== null && rest.length > 0) return [...arming, handOver(rest, agreed.at)];
  const allArmed = steps.every(({ kind }) => kind === "hand_over" || kind === "done");
  if (!allArmed || due.length === 0) return arming;
  const at = view.pending?.step === "switching" ? view.pending.at : null;
  // Ranks that compute together must stop at one iteration; a lone rank stops at once.
  const agree = at === null && view.ranks.length > 1 && due.length === view.ranks.length;
  return [handOver(due, agree ? "agree" : at)];
}

type HandOverStep = Extract<PassStep, { kind: "hand_over" }>;

function handOver(steps: readonly HandOverStep[], at: number | null | "agree"): Move {
  return { kind: "hand_over", workers: steps.map(({ worker, rank, turn }) => ({ worker, rank, turn })), at };
}

type PassStep =
  | { readonly kind: "done" }
  | { readonly kind: "wait" }
  | { readonly kind: "move"; readonly move: Move }
  | {
      readonly kind: "hand_over";
      readonly worker: string;
      readonly rank: number;
      readonly turn: number;
    };

function passStep(view: RoleView, rank: number, next: WorkerView): PassStep {
  const holder = view.workers.find(
    (worker) => worker.rank === rank && worker.id !== next.id && holdsTurn(worker),
  );
  if (!holder) return holdsTurn(next) ? { kind: "done" } : take(view, next);
  // It is going, or was asked already, or cannot be asked: what comes of that is seen later.
  if (holder.retiring !== null || holder.inFlight !== null || !holder.connected) return { kind: "wait" };
  if (next.inFlight !== null || !next.connected) return { kind: "wait" };
  if (holder.state === "handing_over") {
    // Asked by an agent before this one; the request may be repeated.
    return holder.turn === null
      ? { kind: "wait" }
      : { kind: "hand_over", worker: holder.id, rank, turn: holder.turn };
  }
  // Two that iterate: the one that lost its turn is about to find out.
  if (holdsTurn(next)) return { kind: "wait" };
  if (next.state === "armed" && next.turn !== null && next.turn > (holder.turn ?? 0)) {
    return { kind: "hand_over", worker: holder.id, rank, turn: next.turn };
  }
  return {
    kind: "move",
    move: { kind: "iterate", worker: next.id, turn: nextTurn(view, rank), take: false },
  };
}

/** Nobody living holds the turn. While one that was not heard yet may hold it, nobody takes it. */
function take(view: RoleView, next: WorkerView): PassStep {
  if (!next.connected || next.inFlight !== null || (next.state === "armed" && next.took))
    return { kind: "wait" };
  if (view.workers.some((worker) => worker.rank === next.rank && isUnheard(worker))) return { kind: "wait" };
  if (view.nowMs < view.takeNotBeforeMs) return { kind: "wait" };
  const turn = next.state === "armed" && next.turn !== null ? next.turn : nextTurn(view, next.rank);
  return { kind: "move", move: { kind: "iterate", worker: next.id, turn, take: true } };
}

function forget({ workers }: RoleView): readonly Move[] {
  return workers.filter(({ alive }) => !alive).map(({ id }) => ({ kind: "forget", worker: id }));
}

function attach({ workers }: RoleView): readonly Move[] {
  return workers
    .filter(
      (worker) => isUsable(worker) && worker.connected && worker.state === "new" && worker.inFlight === null,
    )
    .map(({ id }) => ({ kind: "attach", worker: id }));
}

/** The workers that stay: who serves, who is prepared or wanted, what is kept warm, one standby worker per share. */
function keepers(view: RoleView, cohorts: readonly (Cohort | null)[]): ReadonlySet<string> {
  const kept = new Set<string>();
  for (const cohort of cohorts) for (const { id } of cohort?.values() ?? []) kept.add(id);
  for (const worker of view.workers) {
    const mayIterate = worker.fault === null && (holdsTurn(worker) || isUnheard(worker));
    const mayBegin = isUsable(worker) && isAwaited(worker, view.workers);
    if (mayIterate || mayBegin) kept.add(worker.id);
  }
  const shares = keptShares(view);
  for (const worker of view.workers) {
    const { id, rank, smPct } = worker;
    if (!isUsable(worker) || !shares.has(smPct)) continue;
    // One per rank and share is enough.
    const taken = view.workers.some(
      (other) => kept.has(other.id) && other.rank === rank && other.smPct === smPct,
    );
    if (!taken) kept.add(id);
  }
  return kept;
}

function keptShares({ pending, previous, runs, standbyPcts, nowMs }: RoleView): ReadonlySet<number> {
  const shares = new Set([runs.smPct, ...standbyPcts]);
  if (pending) shares.add(pending.smPct);
  // What is prepared takes the place of what was kept warm.
  else if (previous && nowMs < previous.untilMs) shares.add(previous.smPct);
  return shares;
}

function retire(view: RoleView, kept: ReadonlySet<string>): readonly Move[] {
  return view.workers.flatMap((worker) => {
    if (!worker.alive || kept.has(worker.id)) return [];
    const move = retireMove(worker, view);
    return move ? [move] : [];
  });
}

function start(
  view: RoleView,
  wanted: Cohort | null,
  prepared: Cohort | null,
  kept: ReadonlySet<string>,
): readonly Move[] {
  const { pending, runs, ranks, standbyPcts, nowMs, startNotBeforeMs, workers } = view;
  const moves: Move[] = [];
  const startMissing = (generation: number, smPct: number, standby: boolean): void => {
    // The rest of a group that broke must be gone first: who joins it would be taken for a part of it.
    const broken = workers.some(
      (worker) => worker.smPct === smPct && worker.generation === generation && !isUsable(worker),
    );
    if (broken && ranks.length > 1) return;
    for (const rank of ranks) {
      const has = workers.some(
        (worker) => worker.rank === rank && worker.smPct === smPct && kept.has(worker.id),
      );
      const live = workers.filter(
        (worker) => worker.rank === rank && worker.alive && !isSpare(worker, view),
      ).length;
      const starting = moves.filter(
        (move) => move.kind === "start" && move.rank === rank && !move.standby,
      ).length;
      if (has || (!standby && live + starting >= MAX_GENERATIONS)) continue;
      moves.push({ kind: "start", rank, generation, smPct, standby });
    }
  };
  if (nowMs >= startNotBeforeMs && !wanted && pending?.step !== "switching") {
    startMissing(runs.generation, runs.smPct, false);
  }
  if (pending?.step === "preparing" && !prepared && pending.smPct !== runs.smPct) {
    startMissing(pending.generation, pending.smPct, false);
  }
  if (pending === null && wanted && nowMs >= startNotBeforeMs) {
    for (const smPct of standbyPcts) startMissing(runs.generation, smPct, true);
  }
  return moves;
}

/** A standby worker that neither serves nor is about to. */
function isSpare(worker: WorkerView, { standbyPcts, runs, pending }: RoleView): boolean {
  const { smPct } = worker;
  return (
    standbyPcts.includes(smPct) && smPct !== runs.smPct && smPct !== pending?.smPct && !holdsTurn(worker)
  );
}
