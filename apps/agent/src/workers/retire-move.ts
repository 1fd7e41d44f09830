import type { Move, RetireStep, RoleView, WorkerView } from "./role-view.js";

/**
 * The next step of a worker that is to go, null while it may still do what it was told. The order is the one that
 * does no harm to the other clients of its GPU (actuation.md §2.3): drain, leave, SIGTERM, the MPS daemon's
 * terminate_client, and only then SIGKILL. Each step has its limit; a worker without a connection begins at SIGTERM.
 */
export function retireMove(worker: WorkerView, view: RoleView): Move | null {
  const step = worker.retiring === null ? firstStep(worker) : nextStep(worker, view);
  return step && { kind: "retire", worker: worker.id, step };
}

function firstStep({ connected, state }: WorkerView): RetireStep {
  if (!connected) return "sigterm";
  return state === "ready" || state === "armed" || state === "handed_over" ? "drain" : "leave";
}

function nextStep({ retiring, connected, inFlight }: WorkerView, view: RoleView): RetireStep | null {
  const { limits, nowMs, canTerminateClient } = view;
  if (retiring === null) return null;
  const { step } = retiring;
  const tookMs = nowMs - retiring.sinceMs;
  if (step === "drain" && !connected) return "sigterm";
  // Answered, or not in time: what it still holds, the resident takes back when it is gone.
  if (step === "drain") return inFlight === "drain" && tookMs < limits.drainMs ? null : "leave";
  if (step === "leave") return tookMs < limits.leaveMs ? null : "sigterm";
  if (step === "terminate_client") return tookMs < limits.terminateMs ? null : "sigkill";
  if (step === "sigkill" || tookMs < limits.sigtermMs) return null;
  return canTerminateClient ? "terminate_client" : "sigkill";
}
