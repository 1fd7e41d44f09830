import { poolInput } from "@fulcrum/contracts/pools.js";
import { DEFAULT_GUARDS } from "@fulcrum/core/defaults.js";
import { SAMPLE_SLO } from "@fulcrum/core/fixtures.js";
import { describe, expect, it } from "vitest";
import { LANES, lanePool } from "./lanes.js";
import { pacingOf } from "./pacing.js";

describe("pacingOf", () => {
  it.each([1, 4, 8, 16])("decides every 8 s of engine time at %dx, on windows that fit in twice", (speed) => {
    const pacing = pacingOf(speed);
    expect(pacing.controlIntervalMs * speed).toBeCloseTo(8_000, -1);
    expect(pacing.dwellMs).toBe(2 * pacing.controlIntervalMs);
    expect(2 * pacing.windowMs).toBeLessThanOrEqual(pacing.controlIntervalMs);
  });

  it.each([0.1, 1, 4, 50])("gives pools that the controller accepts at %dx", (speed) => {
    const pacing = pacingOf(speed);
    for (const lane of LANES) {
      const pool = poolInput.parse(lanePool(lane, SAMPLE_SLO, pacing));
      // An agent's window, and what the engine's last windows must still count as.
      expect(pacing.windowMs).toBeGreaterThanOrEqual(50);
      expect(pacing.windowMs).toBeLessThan(DEFAULT_GUARDS.staleAfterMs);
      expect(pool.lookbackMs).toBeGreaterThan(pacing.windowMs);
    }
  });
});
