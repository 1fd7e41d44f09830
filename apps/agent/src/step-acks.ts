import type { Ack, RankStep } from "@fulcrum/contracts/agent-api.js";
import type { ActualState } from "./partition-driver.js";
import type { IterationRate } from "./iteration-rate.js";
import type { Failure, JournalState } from "./journal.js";

export interface ToldStep {
  readonly instance: string;
  readonly ranks: readonly number[];
  readonly generation: number;
  readonly attempt: number;
  readonly step: RankStep;
  readonly failure: Failure | null;
  readonly atMs: number;
}

/** What the controller is told of a step, one acknowledgement for each rank, with what was read back last. */
export function stepAcks(
  { ranks, ...told }: ToldStep,
  actual: ActualState | null,
  target: JournalState["target"],
  rate: IterationRate,
): Ack[] {
  const unread = told.step === "verified" && target?.readBackMissing === true;
  const delivered = unread ? null : (actual?.delivered ?? null);
  // Only where the group agrees on one: a controller that keeps no gates does not know the field.
  const counts = told.step === "ready" && target?.commit !== undefined && actual?.iterations;
  const iterations = counts ? { iterations: rate.progress(counts) } : {};
  return ranks.map((rank) => ({ ...told, rank, delivered, ...iterations }));
}
