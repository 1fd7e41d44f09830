import type { LengthSource } from "@fulcrum/evaluation/lengths.js";
import { OPEN_SPLIT } from "@fulcrum/evaluation/best-fixed.js";
import { median } from "@fulcrum/evaluation/statistics.js";
import { createInstance } from "@fulcrum/simulator/instance.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { submitAll } from "@fulcrum/simulator/serving.js";
import { poissonLoad } from "./serve.js";

export const SPEED_RATE_PER_S = 12;
export const SPEED_TARGET = 200;
const REQUESTS = 6_000;
const RUNS = 3;

export interface Speed {
  /** Simulated seconds per second of one core, the middle of a few runs. */
  readonly timesRealTime: number;
  readonly simulatedS: number;
  readonly requests: number;
}

/** `nowMs` reads a clock that does not jump. ShareGPT-like lengths at 12 requests per second on (100,100). */
export function measureSpeed(profile: Profile, source: LengthSource, nowMs: () => number): Speed {
  const requests = poissonLoad(source, REQUESTS, 1).at(SPEED_RATE_PER_S);
  const endMs = requests.at(-1)?.arrivalMs ?? 0;
  const runs = Array.from({ length: RUNS }, () => {
    const instance = createInstance({
      profile,
      initial: { split: OPEN_SPLIT, kvQuotaPct: 100, generation: 1 },
    });
    const startMs = nowMs();
    submitAll(instance, requests);
    instance.advanceTo(endMs);
    return endMs / (nowMs() - startMs);
  });
  return {
    timesRealTime: median(runs) ?? Number.NaN,
    simulatedS: endMs / 1000,
    requests: REQUESTS,
  };
}
