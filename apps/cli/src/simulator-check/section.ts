import type { LengthSet } from "@fulcrum/evaluation/lengths.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import type { Comparison } from "./comparison.js";
import type { QueueingPoint } from "./references.js";

/** One part of the report: figures beside their references, what was done to get them, and what they say. */
export interface Section {
  readonly title: string;
  /** How the figures came about, and what was assumed where the source is silent. */
  readonly how: readonly string[];
  readonly comparisons: readonly Comparison[];
  readonly tables: readonly FigureTable[];
  /** What the figures say beyond the comparisons; each sentence depends on them. */
  readonly findings: readonly string[];
}

export interface FigureTable {
  readonly caption: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface CheckInputs {
  readonly profile: Profile;
  readonly sharegpt: LengthSet;
  readonly longbench: LengthSet;
  readonly queueing: QueueingPoints;
}

export interface QueueingPoints {
  readonly points: readonly QueueingPoint[];
  /** Which of the 128 these are, and where the others would come from. */
  readonly about: string;
}

/** How much is simulated for each figure. */
export interface Effort {
  /** Requests of a ShareGPT run under load; LongBench takes a third. */
  readonly requests: number;
  readonly seeds: readonly number[];
  /** Requests of a run of the sensitivity study; 0 leaves the study out. */
  readonly studyRequests: number;
  /** Longest time in seconds that a benchmark point is simulated for. */
  readonly benchmarkS: number;
}

export const FULL: Effort = { requests: 6_000, seeds: [1, 2, 3], studyRequests: 3_000, benchmarkS: 360 };
/** For a first look and for tests: everything but the sensitivity study, on fewer requests. */
export const QUICK: Effort = { requests: 1_500, seeds: [1], studyRequests: 0, benchmarkS: 40 };
