import type { ApiBody } from "../api/client.js";
import { UNCONTROLLED, type Allocation, type SloTarget } from "@fulcrum/core/nouns.js";

type PoolBody = ApiBody<"createPool">;

/** One of the engines that the demo compares, and the pool it is in. Pool and instance have one name. */
export interface Lane {
  readonly name: string;
  readonly about: string;
  readonly initial: Allocation;
  readonly policy: PoolBody["policy"];
}

const HALVES: Allocation = { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100 };

/** The same engine and the same arrivals, three ways to share the GPU. */
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
    about: "Fulcrum moves the split",
    initial: UNCONTROLLED,
    policy: { name: "feedback" },
  },
];

/** Shorter than a pool's defaults by the speed-up, so that 90 s show several decisions. */
export const WINDOW_MS = 1_000;
const CONTROL_INTERVAL_MS = 2_000;
const LOOKBACK_MS = 8_000;
const DWELL_MS = 4_000;
/** A demo lasts a minute or two: reversals are counted over this, not over an hour. */
const FLAP_WINDOW_MS = 60_000;

export function lanePool(lane: Lane, slo: SloTarget): PoolBody {
  return {
    name: lane.name,
    model: "llama3-8b, simulated",
    mode: "enforce",
    policy: lane.policy,
    slo,
    controlIntervalMs: CONTROL_INTERVAL_MS,
    lookbackMs: LOOKBACK_MS,
    guards: { dwellMs: DWELL_MS, flapWindowMs: FLAP_WINDOW_MS },
  };
}

/** How many of the newest windows the live view folds: as far back as the controller looks. */
export const VIEW_WINDOWS = LOOKBACK_MS / WINDOW_MS;
