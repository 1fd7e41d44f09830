/** A policy by name with some of its parameters given: the rest are the defaults. */
import type {
  FeedbackParams,
  GuardConfig,
  PolicyConfig,
  SearchParams,
  SearchPrior,
  SemiPdParams,
} from "@fulcrum/core/decision.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS, DEFAULT_SEARCH, DEFAULT_SEMI_PD } from "@fulcrum/core/defaults.js";
import { guardsFault, policyFault } from "@fulcrum/core/guard/input-fault.js";
import { UNCONTROLLED, type Allocation, type PolicyName } from "@fulcrum/core/nouns.js";
import { describeFault, isRecord } from "@fulcrum/core/signal/fault.js";
import { suggestion } from "../text/near-names.js";

/** Those of any policy; which of them one has is checked. */
export type PolicyParams = Partial<FeedbackParams & SemiPdParams & SearchParams> & {
  readonly allocation?: Allocation;
};

/** Parameters or guards that cannot be used; the message names the field and its bound. */
export class PolicyParamsError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PolicyParamsError";
  }
}

/**
 * The policy to run on an instance that starts at `initial`, which is also a static policy's target unless one is
 * given. Throws PolicyParamsError on a parameter that the policy does not have, or out of bounds.
 */
export function policyConfig(name: PolicyName, params: PolicyParams, initial: Allocation): PolicyConfig {
  refuseUnknown("policy.params", `a parameter of the ${name} policy`, params, PARAM_NAMES[name]);
  const config = completed(name, params, initial);
  const fault = policyFault(config);
  if (fault !== null) throw new PolicyParamsError(describeFault(fault));
  return config;
}

/** The guards with those given over the defaults. Throws PolicyParamsError as policyConfig does. */
export function guardConfig(given: Partial<GuardConfig>): GuardConfig {
  refuseUnknown("guards", "a guard", given, DEFAULT_GUARDS);
  const guards: GuardConfig = { ...DEFAULT_GUARDS, ...given };
  const fault = guardsFault(guards);
  if (fault !== null) throw new PolicyParamsError(describeFault(fault));
  return guards;
}

function completed(name: PolicyName, params: PolicyParams, initial: Allocation): PolicyConfig {
  switch (name) {
    case "static":
      return { name, params: { allocation: params.allocation ?? initial } };
    case "feedback":
      return { name, params: { ...DEFAULT_FEEDBACK, ...params } };
    case "semi-pd":
      return { name, params: { ...DEFAULT_SEMI_PD, ...params } };
    case "search":
      return { name, params: { ...DEFAULT_SEARCH, ...params } };
  }
}

/** Only its names are read. */
const ANY_GROWTH = { small: 0, large: 0, gain: 0 };
const ANY_PHASE = { kernelMs: [0, 0, 0], engineMs: 0, sensitivity: 0, growth: ANY_GROWTH } as const;
const ANY_PRIOR: SearchPrior = { prefill: ANY_PHASE, decode: ANY_PHASE };

const PARAM_NAMES: Readonly<Record<PolicyName, object>> = {
  static: { allocation: UNCONTROLLED },
  feedback: DEFAULT_FEEDBACK,
  "semi-pd": DEFAULT_SEMI_PD,
  search: { ...DEFAULT_SEARCH, prior: ANY_PRIOR },
};

/** A name that is misspelt would otherwise be ignored, and the default be taken for what was meant. */
function refuseUnknown(path: string, what: string, given: object, known: object): void {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(known, name)) {
      const hint = suggestion("name", name, Object.keys(known));
      throw new PolicyParamsError(`${path}.${name} is not ${what}. ${hint}`);
    }
    const inner = (known as Record<string, unknown>)[name];
    if (isRecord(value) && isRecord(inner)) refuseUnknown(`${path}.${name}`, what, value, inner);
  }
}
