import type { SloTarget } from "@fulcrum/core/nouns.js";
import type { TraceFormat } from "./trace-format.js";

/** What the engines serve. */
export interface Load {
  /** As the closing table calls it. */
  readonly name: string;
  /** The engines' flags. */
  readonly flags: readonly string[];
  /** Null: the bundled workload. */
  readonly trace: {
    readonly file: string;
    readonly format: TraceFormat;
    /** For lengths, which carry no times. */
    readonly ratePerS: number | null;
  } | null;
  readonly rateScale: number;
}

/** The bundled one: apps/engine-sim/data. */
export const WORKLOAD = "chat-and-documents";

/** What is played, in real time or in virtual time. */
export interface DemoSetting {
  /** Wall time. */
  readonly durationS: number;
  /** Engine seconds per second. */
  readonly speed: number;
  readonly seed: number;
  readonly slo: SloTarget;
  readonly load: Load;
}

/** Engine time that preparing a new split takes. */
export const PREPARE_MS = 2_000;
