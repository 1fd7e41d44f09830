import type { Assignment, SwitchAt } from "@fulcrum/contracts/agent-api.js";

/** Closed from the offer until every rank is ready; it does not close again within an attempt. */
export type Gate =
  | { readonly open: false }
  /** `switchAt` null: the ranks do not count iterations, or one has switched already; each goes at its next boundary. */
  | { readonly open: true; readonly switchAt: SwitchAt | null; readonly openedAtMs: number };

/** What goes to the agents; undefined where there is no barrier. */
export function commitOf(gate: Gate | null): Assignment["commit"] {
  if (gate === null) return undefined;
  return gate.open ? { switchAt: gate.switchAt } : null;
}
