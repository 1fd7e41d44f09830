/** What a supervisor of one instance is told at its start. */
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import type { Logger } from "pino";
import type { MpsPort } from "../mps/mps-port.js";
import type { QuotaPort } from "./quota-port.js";
import type { Residents } from "./residents.js";
import type { Hardware, SupervisorLimits } from "./role-view.js";
import type { WorkerCommand } from "./worker-spec.js";

export interface SupervisorOptions extends WorkerCommand {
  readonly ranks: readonly number[];
  readonly folder: string;
  readonly startUp: Allocation;
  readonly standby: Readonly<Record<WorkerRole, readonly number[]>>;
  readonly keepWarmMs: number;
  readonly switching: "overlapped" | "naive";
  readonly limits: SupervisorLimits;
  readonly hardware: Hardware;
  readonly residents: Residents;
  readonly mps: MpsPort | null;
  readonly quota: QuotaPort | null;
  readonly log: Logger;
}
