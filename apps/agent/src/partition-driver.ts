import type { Capabilities } from "@fulcrum/contracts/agent-api.js";
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";

/** What a driver can do: the wire's capabilities, and how coarsely the hardware rounds. */
export interface DriverCapabilities extends Capabilities {
  /** Greatest shortfall of a delivered cap under the asked one, percentage points: one TPC on MPS. */
  readonly roundingPct: number;
}

/** What the engine runs, read back from it: never the last command. */
export interface ActualState {
  /** Changes whenever the engine starts. */
  readonly bootId: string;
  /** The newest generation that any worker runs; every worker does when `phase` is not `switching`. */
  readonly generation: number;
  readonly phase: "steady" | "preparing" | "switching";
  readonly delivered: Allocation;
  readonly asked: Allocation;
  readonly prepared: { readonly generation: number; readonly ready: boolean } | null;
  /** The last iteration of each worker; null where the engine does not count them. Groups agree on one. */
  readonly iterations?: SwitchAt | null;
  /** Why the driver gave up the last preparation or switch by itself; null when it did not. */
  readonly failure?: {
    readonly generation: number;
    readonly code: string;
    readonly message: string;
    readonly retryable: boolean;
  } | null;
  /** What the operator should know of, as condition names such as `MpsFault`. */
  readonly conditions?: readonly string[];
}

/** For each role the iteration at whose end it switches; the same number on all ranks of a group. */
export interface SwitchAt {
  readonly prefill: number;
  readonly decode: number;
}

/** A target made deliverable: rounded and clamped to the capabilities. */
export interface Plan {
  readonly generation: number;
  readonly asked: Allocation;
  readonly roundingPct: number;
  /** What had to be changed to be deliverable, in words; empty when nothing was. */
  readonly adjusted: readonly string[];
}

export type Verdict =
  | { readonly kind: "delivered"; readonly delivered: Allocation }
  /** Not yet: worth asking again until the deadline. */
  | { readonly kind: "pending"; readonly why: string }
  | { readonly kind: "not_delivered"; readonly message: string }
  /** The driver cannot read it back: what was asked is all that is known. */
  | { readonly kind: "unverified"; readonly message: string };

/**
 * Moves the split of one engine (actuation.md §8). One action at a time; every call is bounded in time and
 * may be repeated: an agent that was killed half way calls the same again. Each throws DriverError.
 */
export interface PartitionDriver {
  probe(): Promise<DriverCapabilities>;
  observe(): Promise<ActualState>;
  /** Pure. */
  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan;
  /**
   * Starts to build the plan beside the running workers and returns; `observe` shows when it is ready.
   * Replaces what was prepared and not committed. Of the generation that runs or is prepared: changes nothing.
   */
  prepare(plan: Plan): Promise<ActualState>;
  /**
   * Starts the switch and returns; each worker switches at its own iteration boundary, or at the end of the
   * iteration named for its role (`too_late` when it is past). Until a worker gets there `observe` goes on to show
   * the generation as prepared and ready, and `rollback` takes it back: a group that cannot agree needs that.
   */
  commit(plan: Plan, switchAt?: SwitchAt | null): Promise<ActualState>;
  /** Reads back whether the running generation delivers the plan. */
  verify(plan: Plan): Promise<Verdict>;
  /**
   * Drops a prepared generation that was not committed, or that no worker has begun to switch to (it waits for its
   * iteration, say). One that workers are switching to goes back by a new generation only.
   */
  rollback(generation: number): Promise<void>;
  close(): void;
}

/**
 * `unreachable`, `timeout`, `bad_answer` and `busy` are the driver's own; other codes are the engine's words, such as
 * `stale_generation`, `out_of_bounds`, `not_ready`.
 */
export class DriverError extends Error {
  override readonly name = "DriverError";
  constructor(
    readonly code: string,
    message: string,
    /** Whether the same request may succeed later. */
    readonly retryable: boolean,
    /** What the operator should know of all the same, where the state cannot be read. */
    readonly conditions: readonly string[] = [],
  ) {
    super(message);
  }

  /** Whether the engine was not heard at all, as opposed to having refused. */
  get silent(): boolean {
    return SILENT.has(this.code);
  }
}

const SILENT: ReadonlySet<string> = new Set(["unreachable", "timeout", "bad_answer", "busy"]);
