/** What a supervisor may see, for tables of what it does next. */
import type { RoleView, WorkerView } from "../role-view.js";
import { HARDWARE, LIMITS } from "./worker-world.js";

export const NOW = 100_000;

/** One that was prepared and waits. */
export function worker(id: string, change: Partial<WorkerView>): WorkerView {
  return {
    id,
    rank: 0,
    generation: 1,
    smPct: 50,
    alive: true,
    connected: true,
    state: "ready",
    turn: null,
    took: false,
    iteration: 0,
    smCount: null,
    sinceMs: NOW - 500,
    heardAtMs: NOW - 50,
    iteratedAtMs: NOW - 50,
    began: null,
    inFlight: null,
    standby: false,
    retiring: null,
    fault: null,
    ...change,
  };
}

/** Of a role on rank 0 that runs 50 %. */
export function view(workers: readonly WorkerView[], change: Partial<RoleView> = {}): RoleView {
  return {
    nowMs: NOW,
    ranks: [0],
    workers,
    runs: { generation: 1, smPct: 50 },
    pending: null,
    previous: null,
    standbyPcts: [],
    highestTurn: new Map(),
    startNotBeforeMs: 0,
    takeNotBeforeMs: 0,
    agreed: null,
    limits: LIMITS,
    hardware: HARDWARE,
    canTerminateClient: true,
    ...change,
  };
}
