/** What a supervisor sees of one role (prefill or decode) on the local ranks of an instance, and what it may do next. */
import type { WorkerOp, WorkerState } from "@fulcrum/contracts/worker-protocol.js";

export type RetireStep = "drain" | "leave" | "sigterm" | "terminate_client" | "sigkill";

export interface WorkerView {
  readonly id: string;
  readonly rank: number;
  /** What it was started for; with standby workers that of the time of their start. */
  readonly generation: number;
  readonly smPct: number;
  readonly alive: boolean;
  readonly connected: boolean;
  /** As it last said, `new` from its start on; null: another agent started it and this one has not heard it yet. */
  readonly state: WorkerState | null;
  /** The highest turn it was told. */
  readonly turn: number | null;
  /** Whether it was told to make that turn itself. */
  readonly took: boolean;
  /** The last iteration that it was heard to have run. */
  readonly iteration: number;
  readonly smCount: number | null;
  /** When it was started, or first seen by this agent. */
  readonly sinceMs: number;
  /** The last sign of life: an event, a state or iteration that changed, a connection made or broken. */
  readonly heardAtMs: number;
  /** When its iteration was last heard to change, or it connected. */
  readonly iteratedAtMs: number;
  /** As it told when its turn came: the first iteration that it runs under that turn. */
  readonly began: { readonly turn: number; readonly iteration: number } | null;
  /** A request that is not answered yet. */
  readonly inFlight: WorkerOp | null;
  readonly standby: boolean;
  readonly retiring: { readonly step: RetireStep; readonly sinceMs: number } | null;
  /** Why it must not be used any more. */
  readonly fault: { readonly code: string; readonly message: string } | null;
}

export interface SupervisorLimits {
  /** From the start of a worker to ready. */
  readonly attachMs: number;
  /** Without a sign of life of a worker that iterates. */
  readonly hangMs: number;
  /** Without a connection. */
  readonly reconnectMs: number;
  /** From the turn to the first iteration. */
  readonly takeMs: number;
  /** For a hand-over; with an iteration that is agreed on, without one more iteration before it. */
  readonly handOverMs: number;
  readonly drainMs: number;
  readonly leaveMs: number;
  readonly sigtermMs: number;
  readonly terminateMs: number;
}

export interface Hardware {
  /** SMs, or CUs, of one GPU. */
  readonly smCount: number;
  /** SMs per TPC: the share is rounded down to whole ones. */
  readonly smPerTpc: number;
}

/** What several ranks were told: each passes its turn at the end of one and the same iteration. */
export interface Agreement {
  readonly at: number;
  /** By rank, the turn that it is told to make. */
  readonly turns: ReadonlyMap<number, number>;
  /** Since when this agent knows of it. */
  readonly sinceMs: number;
}

export interface RoleView {
  readonly nowMs: number;
  readonly ranks: readonly number[];
  readonly workers: readonly WorkerView[];
  /** What this role runs, or ran last. */
  readonly runs: { readonly generation: number; readonly smPct: number };
  readonly pending: {
    readonly generation: number;
    readonly smPct: number;
    readonly step: "preparing" | "switching";
    /** The iteration at whose end to switch; null: the supervisor's choice. */
    readonly at: number | null;
  } | null;
  /** The last one that was written down; whoever was told is told the same again. */
  readonly agreed: Agreement | null;
  /** What ran before, kept warm until then. */
  readonly previous: { readonly smPct: number; readonly untilMs: number } | null;
  readonly standbyPcts: readonly number[];
  /** Per rank the highest turn that the role has had, as far as is known. */
  readonly highestTurn: ReadonlyMap<number, number>;
  /** Nothing is started anew before: the pause after a fault. */
  readonly startNotBeforeMs: number;
  /** No turn is taken before: somebody else gives turns here, and that is not fought over. */
  readonly takeNotBeforeMs: number;
  readonly limits: SupervisorLimits;
  readonly hardware: Hardware;
  readonly canTerminateClient: boolean;
}

export type Move =
  | {
      readonly kind: "start";
      readonly rank: number;
      readonly generation: number;
      readonly smPct: number;
      readonly standby: boolean;
    }
  | { readonly kind: "attach"; readonly worker: string }
  | { readonly kind: "iterate"; readonly worker: string; readonly turn: number; readonly take: boolean }
  | {
      /** All ranks at once; `at` is "agree" where several ranks must stop at one iteration. */
      readonly kind: "hand_over";
      readonly workers: readonly {
        readonly worker: string;
        readonly rank: number;
        readonly turn: number;
      }[];
      readonly at: number | null | "agree";
    }
  /** A hand-over that is not wanted any more is taken back, or one that is armed for it disarmed. */
  | { readonly kind: "keep"; readonly worker: string }
  | { readonly kind: "retire"; readonly worker: string; readonly step: RetireStep }
  | { readonly kind: "condemn"; readonly worker: string; readonly code: string; readonly message: string }
  /** The process has gone; nothing needs to be known of it any more. */
  | { readonly kind: "forget"; readonly worker: string }
  /** What is pending is given up; the role stays at, or goes back to, what it runs. */
  | { readonly kind: "fail"; readonly code: string; readonly message: string };

/** The SMs that a worker under `smPct` sees: rounded down to whole TPCs (NVIDIA: 188 SMs at 25 % are 46). */
export function smCountOf(smPct: number, { smCount, smPerTpc }: Hardware): number {
  return Math.max(smPerTpc, Math.floor((smPct / 100) * (smCount / smPerTpc) + 1e-9) * smPerTpc);
}

export const holdsTurn = ({ alive, state }: WorkerView): boolean =>
  alive && (state === "iterating" || state === "handing_over");

/** Was asked to hand over, and as far as is known neither has nor stays. */
export const isPassing = ({ alive, state, inFlight }: WorkerView): boolean =>
  alive &&
  (state === "handing_over" || (state === "iterating" && (inFlight === "hand_over" || inFlight === "keep")));

/** Alive, but this agent does not know what it does: it may be iterating. */
export const isUnheard = ({ alive, state }: WorkerView): boolean => alive && state === null;

/** Attached and warmed up: can iterate, or does. */
export const isWarm = ({ state }: WorkerView): boolean =>
  state === "ready" ||
  state === "armed" ||
  state === "handed_over" ||
  state === "iterating" ||
  state === "handing_over";

export const isUsable = ({ alive, fault, retiring }: WorkerView): boolean =>
  alive && fault === null && retiring === null;

/** One worker per rank, all of one generation and share: ranks of a tensor-parallel group move together. */
export type Cohort = ReadonlyMap<number, WorkerView>;

/**
 * The best cohort of usable workers for which `fits`, complete over all ranks: one that iterates before one that is
 * warm before one that is being prepared, then the newest. null if there is none.
 */
export function bestCohort(view: RoleView, fits: (worker: WorkerView) => boolean): Cohort | null {
  const byKey = new Map<string, Map<number, WorkerView>>();
  for (const worker of view.workers) {
    if (!isUsable(worker) || !fits(worker)) continue;
    const key = `${worker.generation} ${worker.smPct}`;
    const cohort = byKey.get(key) ?? new Map<number, WorkerView>();
    const other = cohort.get(worker.rank);
    if (!other || standing(worker) > standing(other)) cohort.set(worker.rank, worker);
    byKey.set(key, cohort);
  }
  let best: Cohort | null = null;
  for (const cohort of byKey.values()) {
    if (cohort.size !== view.ranks.length) continue;
    if (best === null || rankOf(cohort) > rankOf(best)) best = cohort;
  }
  return best;
}

function standing(worker: WorkerView): number {
  if (holdsTurn(worker)) return 3;
  if (isWarm(worker)) return 2;
  return worker.state === "attaching" ? 1 : 0;
}

/** Generations stay below 2^31, so that the sum is exact. */
function rankOf(cohort: Cohort): number {
  const members = [...cohort.values()];
  const holds = members.filter(holdsTurn).length;
  const least = Math.min(...members.map(standing));
  return (holds * 8 + least) * 2 ** 32 + (members[0]?.generation ?? 0);
}

/** One above every turn that the rank's role is known to have had. */
export function nextTurn({ workers, highestTurn }: RoleView, rank: number): number {
  const told = workers.filter((worker) => worker.rank === rank).map(({ turn }) => turn ?? 0);
  return Math.max(highestTurn.get(rank) ?? 0, ...told) + 1;
}
