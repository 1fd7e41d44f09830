import type { ApiBody } from "../api/client.js";
import { UNCONTROLLED, type Allocation, type SloTarget } from "@fulcrum/core/nouns.js";
import type { Pacing } from "./pacing.js";

type PoolBody = ApiBody<"createPool">;

/** One of the engines that the demo compares, and the pool it is in. Pool and instance have one name. */
export interface Lane {
  readonly name: string;
  readonly about: string;
  readonly initial: Allocation;
  /** With the policy's default parameters. */
  readonly policy:
    | { readonly name: "static"; readonly params: { readonly allocation: Allocation } }
    | { readonly name: "feedback" | "search" };
  /** Points that one decision may move a cap; absent: the pool's default. */
  readonly maxStepPct?: number;
}

const HALVES: Allocation = { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100 };

/** The policy whose lead or lag the verdict tells. */
export const SEARCH = "search";

/** The same engine and the same arrivals, four ways to share the GPU. */
export const LANES: readonly Lane[] = [
  {
    name: "fixed-50-50",
    about: "half of the SMs each, fixed",
    initial: HALVES,
    policy: { name: "static", params: { allocation: HALVES } },
  },
  {
    name: "open-100-100",
    about: "every SM for both, fixed",
    initial: UNCONTROLLED,
    policy: { name: "static", params: { allocation: UNCONTROLLED } },
  },
  {
    name: "feedback",
    about: "the paper's loop moves the split",
    initial: UNCONTROLLED,
    policy: { name: "feedback" },
  },
  {
    name: SEARCH,
    about: "Fulcrum's own policy moves the split",
    initial: UNCONTROLLED,
    policy: { name: "search" },
    // It weighs every split at each decision: a bound on the step would only delay what it chose.
    maxStepPct: 95,
  },
];

export function lanePool(lane: Lane, slo: SloTarget, pacing: Pacing): PoolBody {
  const { windowMs, controlIntervalMs, lookbackMs } = pacing;
  return {
    name: lane.name,
    model: "llama3-8b, simulated",
    mode: "enforce",
    // Policies are compared, by themselves: virtual time has no controller that takes a move back.
    autoRollback: false,
    policy: lane.policy,
    slo,
    // Decisions come with the reports, once a window. One that came a millisecond early would wait for the next:
    // measured, every third window instead of every second.
    controlIntervalMs: controlIntervalMs - Math.floor(windowMs / 2),
    lookbackMs,
    guards: laneGuards(lane, pacing),
  };
}

/** Where a lane's guards differ from a pool's defaults. */
export function laneGuards(
  { maxStepPct }: Lane,
  { dwellMs, flapWindowMs }: Pick<Pacing, "dwellMs" | "flapWindowMs">,
): { dwellMs: number; flapWindowMs: number; maxStepPct?: number } {
  return { dwellMs, flapWindowMs, ...(maxStepPct === undefined ? {} : { maxStepPct }) };
}
