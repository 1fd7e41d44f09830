import type { Decision, GuardConfig, PolicyConfig } from "@fulcrum/core/decision.js";
import { DecisionLoop } from "@fulcrum/core/decision-loop.js";
import type { Allocation, Limits } from "@fulcrum/core/nouns.js";
import type { Controller } from "./run-lane.js";

export interface PolicyControllerOptions {
  readonly policy: PolicyConfig;
  readonly guards: GuardConfig;
  readonly limits: Limits;
  readonly initial: Allocation;
  readonly controlIntervalMs: number;
  /** Hears of every decision. */
  readonly onDecision?: (decision: Decision) => void;
}

/** A policy behind decide(), with the memory that a controller would keep for it. */
export function policyController(options: PolicyControllerOptions): Controller {
  const loop = new DecisionLoop({ instance: "simulated", ...options });
  return (sighting) => {
    const { decision } = loop.observe(sighting);
    options.onDecision?.(decision);
    return decision.kind === "move" ? decision.allocation : null;
  };
}
