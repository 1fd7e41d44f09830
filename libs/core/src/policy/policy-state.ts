/** What can be asked of any policy's state without knowing the policy. */
import type { PolicyState } from "../decision.js";
import { isFinite, isRecord } from "../signal/fault.js";

/** The end of the newest window that the state holds something of; null: of none, or it does not say. */
export function seenToMs(state: PolicyState | null): number | null {
  const values = isRecord(state?.values) ? state.values : {};
  const { learntToMs, countedToMs } = values;
  if (isFinite(learntToMs)) return learntToMs;
  return isFinite(countedToMs) ? countedToMs : null;
}

/** A state to be handed on unread, as it will be read back from its row; null when it is none of `policy`'s. */
export function stateFor(state: unknown, policy: string): PolicyState | null {
  if (!isRecord(state) || state.policy !== policy || !isFinite(state.version)) return null;
  if (!isRecord(state.values)) return null;
  try {
    return {
      policy,
      version: state.version,
      values: JSON.parse(JSON.stringify(state.values)) as object as PolicyState["values"],
    };
  } catch {
    return null;
  }
}
