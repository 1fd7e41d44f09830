/** What a worker's answer says of it. Pure. */
import type {
  WorkerAcceptance,
  WorkerOp,
  WorkerRequest,
  WorkerState,
} from "@fulcrum/contracts/worker-protocol.js";
import type { WorkerView } from "./role-view.js";

/** What a worker is and does: while it changes, the worker lives. */
const SIGNS_OF_LIFE = ["state", "turn", "took", "iteration"] as const;

/** `isNew`: whether it shows that the worker does something; one that hangs may still answer, the same each time. */
export function changeOf(
  request: WorkerRequest,
  answer: WorkerAcceptance,
  before: WorkerView,
): { readonly change: Partial<WorkerView>; readonly isNew: boolean } {
  const { turn, iteration, smCount } = answer;
  const state = answer.state ?? stateAfter(request.op, before.state);
  const told = request.op === "iterate" || request.op === "hand_over" ? request.turn : undefined;
  const said = turn === undefined ? told : turn;
  const change: Partial<WorkerView> = {
    ...(request.op === "iterate" ? { took: request.take === true } : {}),
    ...(state === undefined ? {} : { state }),
    ...(said === undefined ? {} : { turn: said }),
    ...(iteration === undefined ? {} : { iteration }),
    ...(smCount === undefined ? {} : { smCount }),
  };
  const isNew = SIGNS_OF_LIFE.some((field) => field in change && change[field] !== before[field]);
  return { change, isNew };
}

/** Where an answer does not say it itself. */
function stateAfter(op: WorkerOp, before: WorkerState | null): WorkerState | undefined {
  if (op === "iterate") return "armed";
  if (op === "hand_over") return "handed_over";
  if (op === "drain") return "draining";
  if (op !== "keep") return undefined;
  return before === "armed" ? "ready" : before === "handing_over" ? "iterating" : undefined;
}
