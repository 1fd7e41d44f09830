import type { PhasePrior, SearchPrior } from "@fulcrum/core/decision.js";
import type { PhaseCost, Profile } from "@fulcrum/simulator/profile.js";

/** What the search policy may know beforehand of a GPU and model that a profile describes. */
export function priorOf(profile: Profile): SearchPrior {
  return { prefill: phasePrior(profile.prefill), decode: phasePrior(profile.decode) };
}

/** (a/f + b)/(a + b) = 1 + s (1/f - 1) with s = a/(a + b). */
function phasePrior({ kernelMs, engineMs, smShare }: PhaseCost): PhasePrior {
  const sensitivity = ({ a, b }: { readonly a: number; readonly b: number }) => a / (a + b);
  const small = sensitivity(smShare.small);
  const large = sensitivity(smShare.large);
  return {
    kernelMs,
    engineMs,
    sensitivity: (small + large) / 2,
    growth: { small: smShare.small.size, large: smShare.large.size, gain: large - small },
  };
}
