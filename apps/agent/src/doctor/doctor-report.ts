/** What the doctor says; `fulcrum agent doctor --json` prints it as it is. Fields are added, not changed. */
import type { DoctorFacts } from "./doctor-facts.js";

export interface DoctorReport {
  readonly version: 1;
  /** Whether an agent can do its work here: no check fails. */
  readonly usable: boolean;
  readonly checks: readonly Check[];
  readonly drivers: readonly DriverVerdict[];
  /** What to do, the most urgent first. */
  readonly fixes: readonly Fix[];
  readonly facts: DoctorFacts;
}

export interface Check {
  readonly id: string;
  /** `warn`: it works, and something is worth knowing. `skip`: there was nothing to check. */
  readonly status: "ok" | "warn" | "fail" | "skip";
  readonly says: string;
  readonly fix: string | null;
}

export interface Fix {
  readonly check: string;
  readonly why: string;
  /** A command, or what to write where. */
  readonly command: string;
}

export const DRIVERS = [
  "engine-sim",
  "mps-respawn",
  "semi-pd-static",
  "sglang-pdmux",
  "kvcached",
  "admission-cap",
  "rocm-cu-mask",
] as const;

export type DriverName = (typeof DRIVERS)[number];

export interface DriverVerdict {
  readonly driver: DriverName;
  readonly works: boolean;
  readonly reason: string;
  /** null where it works, or where nothing can make it work. */
  readonly fix: string | null;
}
