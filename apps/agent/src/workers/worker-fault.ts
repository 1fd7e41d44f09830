/** Which workers must not be used any more, and why. Pure. */
import { type Move, type RoleView, type WorkerView, holdsTurn, isWarm, smCountOf } from "./role-view.js";

export function condemnations(view: RoleView): readonly Move[] {
  const judged = view.workers
    .filter(({ alive, fault, retiring }) => alive && fault === null && retiring === null)
    .map((worker) => ({ worker, fault: faultOf(worker, view) ?? lostGroup(worker, view) }));
  return judged.flatMap(({ worker, fault }): Move[] =>
    fault === null ? [] : [{ kind: "condemn", worker: worker.id, ...fault }],
  );
}

type Fault = { readonly code: string; readonly message: string };

function faultOf(worker: WorkerView, view: RoleView): Fault | null {
  return connectionFault(worker, view) ?? shareFault(worker, view) ?? progressFault(worker, view);
}

function connectionFault(worker: WorkerView, { nowMs, limits }: RoleView): Fault | null {
  const { id, state, connected, sinceMs, heardAtMs } = worker;
  if (!connected && nowMs - heardAtMs > limits.reconnectMs) {
    return { code: "not_connected", message: `${id} has not been connected for ${limits.reconnectMs} ms` };
  }
  const isComing = state === null || state === "new" || state === "attaching";
  if (!isComing || nowMs - sinceMs <= limits.attachMs) return null;
  return { code: "attach_timeout", message: `${id} was not ready within ${limits.attachMs} ms` };
}

function shareFault(worker: WorkerView, { hardware, canTerminateClient }: RoleView): Fault | null {
  const { id, smPct, smCount } = worker;
  if (!isWarm(worker) || smCount === null) return null;
  const wanted = smCountOf(smPct, hardware);
  if (smCount > wanted && smCount >= hardware.smCount) {
    return uncapped(worker, wanted, canTerminateClient);
  }
  if (smCount <= wanted && smCount >= wanted - hardware.smPerTpc) return null;
  return { code: "wrong_share", message: `${id} under ${smPct} % sees ${smCount} SMs, not ${wanted}` };
}

function progressFault(worker: WorkerView, { nowMs, limits }: RoleView): Fault | null {
  const { id, state, connected, took, heardAtMs } = worker;
  const silentMs = nowMs - heardAtMs;
  if (!connected) return null;
  if (holdsTurn(worker) && silentMs > limits.hangMs) {
    return { code: "hung", message: `${id} has made no progress for ${limits.hangMs} ms` };
  }
  if (state !== "armed" || !took || silentMs <= limits.takeMs) return null;
  return {
    code: "never_iterated",
    message: `${id} took the turn and did not iterate in ${limits.takeMs} ms`,
  };
}

/** With no daemon, or another pipe directory, CUDA runs without a cap and says nothing (NVIDIA MPS documentation). */
function uncapped({ id, smPct, smCount }: WorkerView, wanted: number, usesMps: boolean): Fault {
  const why = usesMps
    ? "no MPS daemon answers at its CUDA_MPS_PIPE_DIRECTORY, or it is another daemon's"
    : "its HSA_CU_MASK does not hold";
  return {
    code: "uncapped",
    message: `${id} under ${smPct} % sees all ${smCount} SMs instead of ${wanted}: ${why}`,
  };
}

/** Ranks that compute together cannot go on when one of them is gone. */
function lostGroup(worker: WorkerView, { workers, ranks }: RoleView): Fault | null {
  if (ranks.length === 1) return null;
  const lost = workers.find(
    (other) =>
      other.rank !== worker.rank &&
      other.generation === worker.generation &&
      other.smPct === worker.smPct &&
      // One that was let go is not lost.
      (other.fault !== null || (!other.alive && other.retiring === null)),
  );
  if (!lost) return null;
  return {
    code: "group_lost",
    message: `rank ${lost.rank} of its group is gone: ${lost.fault?.message ?? lost.id}`,
  };
}
