import type { SloTarget } from "@fulcrum/core/nouns.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import type { LengthSet } from "../lengths.js";
import { World } from "../world.js";

/** Round numbers near an 8B model on a large GPU: prefill 0.07 ms a token, decode 12 ms and little more. */
export const profile: Profile = {
  name: "test",
  sources: "made up",
  smCount: 100,
  smPerTpc: 1,
  prefill: { kernelMs: [5, 0.07, 0], engineMs: 5, smShare: curves(0.7, 0.3) },
  decode: { kernelMs: [10, 0.05, 1e-4], engineMs: 2, smShare: curves(0.4, 0.6) },
  contention: { decodeByPrefill: 0.2, prefillByDecode: 0.1, overlapToPrefill: 0.5 },
  kvTotalTokens: 160_000,
  kvBlockTokens: 16,
  maxBatch: 256,
  maxBatchedTokens: 4096,
};

function curves(a: number, b: number): Profile["prefill"]["smShare"] {
  return { small: { size: 1, a, b }, large: { size: 100, a, b } };
}

export function slo(ttftMs: number, tpotMs: number): SloTarget {
  return {
    ttft: { percentile: 0.9, boundMs: ttftMs },
    tpot: { percentile: 0.9, boundMs: tpotMs },
    attainmentShare: 0.9,
  };
}

function between(prompt: readonly [number, number], output: readonly [number, number]): LengthSet {
  const table = [
    {
      weight: 1,
      promptTokens: [
        [0, prompt[0]],
        [1, prompt[1]],
      ],
      outputTokens: [
        [0, output[0]],
        [1, output[1]],
      ],
    },
  ] as const;
  return { source: { kind: "table", table }, about: "made up" };
}

export const lengths = {
  chat: between([10, 500], [50, 600]),
  documents: between([2800, 3200], [20, 160]),
  "long-answers": between([10, 60], [300, 700]),
};

export const world = new World({ profile, lengths, traces: {} });
