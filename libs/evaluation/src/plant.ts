import type { OverlapRule, PhaseCost, Profile, SmShareCurves } from "@fulcrum/simulator/profile.js";

/** How the simulated GPU differs from the profile: what nothing public measures is varied. Plain JSON. */
export interface PlantChange {
  readonly overlapRule?: OverlapRule;
  /** Factor on both contention terms. */
  readonly contention?: number;
  /** Factor on both engine constants. */
  readonly engine?: number;
  /** Factor on all step times, kernels and engine. */
  readonly stepTimes?: number;
  /** The SM-share curves of another model. */
  readonly curves?: { readonly prefill: SmShareCurves; readonly decode: SmShareCurves };
}

export function changedProfile(profile: Profile, change: PlantChange): Profile {
  const { overlapRule, contention = 1, curves } = change;
  return {
    ...profile,
    prefill: changedPhase(profile.prefill, change, curves?.prefill),
    decode: changedPhase(profile.decode, change, curves?.decode),
    contention: {
      ...profile.contention,
      decodeByPrefill: profile.contention.decodeByPrefill * contention,
      prefillByDecode: profile.contention.prefillByDecode * contention,
      overlapRule: overlapRule ?? profile.contention.overlapRule,
    },
  };
}

function changedPhase(cost: PhaseCost, change: PlantChange, curves: SmShareCurves | undefined): PhaseCost {
  const { engine = 1, stepTimes = 1 } = change;
  const [constant, perSize, perWeight] = cost.kernelMs;
  return {
    ...cost,
    // A grid is measured kernel time: scaled step times are told by the fit alone.
    ...(stepTimes !== 1 && { grid: undefined }),
    kernelMs: [constant * stepTimes, perSize * stepTimes, perWeight * stepTimes],
    engineMs: cost.engineMs * engine * stepTimes,
    smShare: curves ?? cost.smShare,
  };
}

/** LLaMA-65B at TP4 under MPS (MuxServe's table; fits a/f + b to its medians): another model's curves. */
export const OTHER_CURVES: NonNullable<PlantChange["curves"]> = {
  prefill: { small: { size: 256, a: 0.481, b: 0.509 }, large: { size: 4096, a: 0.569, b: 0.404 } },
  decode: { small: { size: 16, a: 0.116, b: 0.849 }, large: { size: 64, a: 0.468, b: 0.517 } },
};
