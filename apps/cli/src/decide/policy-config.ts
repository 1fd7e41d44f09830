/** A policy by name with some of its parameters given: the rest are the defaults. */
import type { FeedbackParams, PolicyConfig } from "@fulcrum/core/decision.js";
import { DEFAULT_FEEDBACK } from "@fulcrum/core/defaults.js";
import { policyFault } from "@fulcrum/core/guard/input-fault.js";
import type { Allocation, PolicyName } from "@fulcrum/core/nouns.js";
import { describeFault } from "@fulcrum/core/signal/fault.js";

export type PolicyParams = Partial<FeedbackParams> & { readonly allocation?: Allocation };

/** Policy parameters that cannot be used; the message names the field and its bound. */
export class PolicyParamsError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PolicyParamsError";
  }
}

/**
 * The policy to run on an instance that starts at `initial`, which is also a static policy's target unless one is
 * given. Throws PolicyParamsError.
 */
export function policyConfig(name: PolicyName, params: PolicyParams, initial: Allocation): PolicyConfig {
  const { allocation, ...feedback } = params;
  const config: PolicyConfig =
    name === "static"
      ? { name, params: { allocation: allocation ?? initial } }
      : { name, params: { ...DEFAULT_FEEDBACK, ...feedback } };
  const fault = policyFault(config);
  if (fault !== null) throw new PolicyParamsError(describeFault(fault));
  return config;
}
