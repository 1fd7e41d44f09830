/** What a policy returns: what it wants and why, before any guard. */
import type { Candidate, ReasonCode } from "../decision.js";
import type { Allocation, Split } from "../nouns.js";

export interface PolicyOutcome {
  readonly reason: ReasonCode;
  /** The current allocation when the policy wants to hold. */
  readonly wanted: Allocation;
  readonly candidates: readonly Candidate[];
  /** The first half of the message, without a full stop: what is seen and, on hold, why nothing follows. */
  readonly why: string;
}

/** The same for the split alone; `split` is the current one on hold. */
export interface SplitOutcome {
  readonly reason: ReasonCode;
  readonly split: Split;
  readonly candidates: readonly Candidate[];
  readonly why: string;
}
