import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import type { DriverCapabilities, Plan, Verdict } from "../partition-driver.js";

/** Read back from the engine. */
export interface Reading {
  /** Changes when the engine began anew and so lost what was applied to it. */
  readonly bootId: string;
  readonly delivered: Allocation;
  /** Where the engine itself keeps the generation it runs. */
  readonly generation?: number;
}

export interface Move {
  readonly generation: number;
  readonly asked: Allocation;
  /** The agent died while it was at this: any part of it may have been done. */
  readonly resumed: boolean;
}

/**
 * What a StagedDriver moves: the driver keeps generations, repeats and crashes; the knob knows its engine. Every call
 * is bounded in time and throws DriverError; none runs beside another, except `read`, `probe` and `verify` of others
 * while a slow `apply` is under way.
 */
export interface Knob {
  /** `apply` takes longer than a caller of `commit` should wait: a restart. */
  readonly appliesSlowly: boolean;
  probe(): Promise<DriverCapabilities>;
  read(asked: Allocation | null): Promise<Reading>;
  /** Pure but for what the last probe learned. */
  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan;
  /** @throws DriverError when it may not be prepared now, with why */
  accept(asked: Allocation): Promise<void>;
  /** Why it cannot be applied yet; null when it can. */
  waitsFor(asked: Allocation): Promise<string | null>;
  /** Done, or put back, when it ends; may be called again for the same generation. */
  apply(move: Move): Promise<void>;
  verify(plan: Plan, reading: Reading): Promise<Verdict>;
  close(): void;
}
