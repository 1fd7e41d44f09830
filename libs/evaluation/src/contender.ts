import type { GuardConfig, PolicyConfig } from "@fulcrum/core/decision.js";
import type { Split } from "@fulcrum/core/nouns.js";
import type { PlantChange } from "./plant.js";

/** Who serves a lane. Plain JSON. */
export type Contender =
  | { readonly kind: "fixed"; readonly split: Split }
  /** From (100,100) on; `priorFrom`: the search policy is told the profile, changed so. Null: it is told nothing. */
  | {
      readonly kind: "policy";
      readonly policy: PolicyConfig;
      readonly guards: GuardConfig;
      readonly priorFrom: PlantChange | null;
    }
  | { readonly kind: "engine"; readonly engine: EngineKind };

/** Ways to serve without a split, after the semi-PD paper's baselines. */
export type EngineKind = "prefill-first" | "chunked" | "disaggregated";

/** One GPU's worth of a contender is compared: a pair of GPUs gets twice the load. */
export function gpusOf(contender: Contender): number {
  return contender.kind === "engine" && contender.engine === "disaggregated" ? 2 : 1;
}
