/**
 * For comparison only: a switch as the paper's naive way does it (semi-PD §4.3, Fig. 6a): both workers stop, then
 * their successors are started, and nothing runs meanwhile. Neither delayed (prepared before) nor asynchronous (each
 * role by itself). Never for serving.
 */
import { condemnations } from "./worker-fault.js";
import { type Move, type RoleView, type WorkerView, holdsTurn, isUsable, nextTurn } from "./role-view.js";
import { retireMove } from "./retire-move.js";

/** `othersStopped`: whether the other role's old workers have gone too; before, nothing new is started. */
export function naiveMoves(view: RoleView, othersStopped: boolean): readonly Move[] {
  const { pending, workers, ranks } = view;
  if (pending === null) return [];
  const condemned = condemnations(view);
  if (condemned.length > 0) return condemned;
  const lost = workers.find((worker) => isNew(worker, view) && (!worker.alive || worker.fault !== null));
  if (lost) {
    const { code, message } = lost.fault ?? { code: "worker_died", message: `${lost.id} has ended` };
    return [{ kind: "fail", code, message }];
  }
  const moves = workers.flatMap((worker): readonly Move[] => {
    if (!worker.alive) return [{ kind: "forget", worker: worker.id }];
    return isNew(worker, view) ? bringUp(worker, view) : stop(worker, view);
  });
  if (!othersStopped || !hasStopped(view)) return moves;
  const empty = ranks.filter((rank) => !workers.some((worker) => worker.rank === rank && worker.alive));
  const { generation, smPct } = pending;
  return [
    ...moves,
    ...empty.map((rank) => ({ kind: "start", rank, generation, smPct, standby: false }) as const),
  ];
}

function isNew({ generation }: WorkerView, { pending }: RoleView): boolean {
  return generation === pending?.generation;
}

function bringUp(worker: WorkerView, view: RoleView): readonly Move[] {
  const { id, rank, connected, inFlight, state, turn, took } = worker;
  if (!connected || inFlight !== null || !isUsable(worker)) return [];
  if (state === "new") return [{ kind: "attach", worker: id }];
  const waits = state === "ready" || (state === "armed" && !took);
  return waits ? [{ kind: "iterate", worker: id, turn: turn ?? nextTurn(view, rank), take: true }] : [];
}

function stop(worker: WorkerView, view: RoleView): readonly Move[] {
  const { id, rank, retiring, connected, inFlight } = worker;
  if (holdsTurn(worker) && retiring === null && connected) {
    if (inFlight !== null) return [];
    return [
      {
        kind: "hand_over",
        workers: [{ worker: id, rank, turn: nextTurn(view, rank) }],
        at: view.pending?.at ?? null,
      },
    ];
  }
  const move = retireMove(worker, view);
  return move ? [move] : [];
}

/** Whether no worker of an earlier generation lives. */
export function hasStopped({ workers, pending }: RoleView): boolean {
  return !workers.some(({ alive, generation }) => alive && generation !== pending?.generation);
}

export function isNaivelySwitched({ workers, ranks, pending }: RoleView): boolean {
  return ranks.every((rank) =>
    workers.some(
      (worker) =>
        worker.rank === rank &&
        worker.alive &&
        worker.state === "iterating" &&
        worker.generation === pending?.generation,
    ),
  );
}
