import { allocation } from "@fulcrum/contracts/primitives.js";
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { z } from "zod";
import { type DriverCapabilities, DriverError, type Plan, type Verdict } from "../../partition-driver.js";

/** Read back from the engine. */
export interface Reading {
  /** Changes when the engine began anew and so lost what was applied to it. */
  readonly bootId: string;
  readonly delivered: Allocation;
  /** Where the engine itself keeps the generation it runs. */
  readonly generation?: number;
  /** Whether that is what was applied last; left out where it cannot be told. */
  readonly runs?: boolean;
}

export interface Applied {
  readonly generation: number;
  readonly asked: Allocation;
}

export interface Move extends Applied {
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
  read(applied: Applied | null): Promise<Reading>;
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

/** A generation that an engine, a gateway or a file tells: below the wire's 2^31 - 1, so that newer ones still fit. */
export const MAX_TOLD_GENERATION = 2_000_000_000;
export const toldGeneration = z.int().min(0).max(MAX_TOLD_GENERATION);

const told = z.object({
  bootId: z.string().min(1).max(200),
  delivered: allocation,
  generation: toldGeneration.optional(),
});

/** The last line: what is out of range is neither kept nor reported. @throws DriverError `bad_answer` */
export function checkedReading(reading: Reading): Reading {
  const checked = told.safeParse(reading);
  if (checked.success) return reading;
  const issue = checked.error.issues[0];
  throw new DriverError("bad_answer", `the read-back's ${issue?.path.join(".")}: ${issue?.message}`, true);
}
