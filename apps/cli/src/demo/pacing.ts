/** How often the demo measures and decides: fixed in engine time, so that a faster engine is decided on sooner. */
import { DEFAULT_LOOKBACK_MS } from "@fulcrum/core/defaults.js";

/** Milliseconds of wall time. */
export interface Pacing {
  readonly windowMs: number;
  readonly controlIntervalMs: number;
  readonly lookbackMs: number;
  readonly dwellMs: number;
  readonly flapWindowMs: number;
}

/** Milliseconds of engine time: two windows a decision, two decisions before a change may be changed again. */
const CONTROL_INTERVAL_MS = 8_000;
const DWELL_MS = 16_000;
/** A demo lasts minutes of engine time: reversals are counted over four of them, not over an hour. */
const FLAP_WINDOW_MS = 240_000;

/** Four scrapes of each engine a second are enough for a laptop; with less than one the live view stands still. */
const LEAST_WINDOW_MS = 250;
const MOST_WINDOW_MS = 1_000;
/** The least that a pool accepts, of lookback and of flap window. */
const LEAST_MEMORY_MS = 1_000;

/** `speed`: engine seconds per second. Above 16 decisions come later in engine time than they should. */
export function pacingOf(speed: number): Pacing {
  const wallMs = (engineMs: number) => Math.round(engineMs / speed);
  const controlIntervalMs = Math.max(2 * LEAST_WINDOW_MS, wallMs(CONTROL_INTERVAL_MS));
  return {
    windowMs: Math.min(MOST_WINDOW_MS, Math.floor(controlIntervalMs / 2)),
    controlIntervalMs,
    lookbackMs: Math.min(600_000, Math.max(LEAST_MEMORY_MS, wallMs(DEFAULT_LOOKBACK_MS))),
    dwellMs: wallMs(DWELL_MS),
    flapWindowMs: Math.max(LEAST_MEMORY_MS, wallMs(FLAP_WINDOW_MS)),
  };
}
