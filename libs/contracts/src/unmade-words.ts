/** Why a decided move was not made, or by whose word it was, in a sentence: the same on the page and in the terminal. */
import type { Proposal } from "./proposals.js";
import type { DecisionResource } from "./resources.js";

type Decided = Pick<
  DecisionResource,
  "kind" | "mode" | "outcome" | "stoppedBy" | "proposal" | "reconfiguration"
>;

/** Outcomes of rows that were stored before what stopped them was. */
const UNTOLD: Readonly<Partial<Record<Decided["outcome"], string>>> = {
  lost_race: "Another change of the instance was first.",
  held: "Somebody paused or pinned at that moment.",
  outdated: "Its pool was changed at that moment.",
};

/** Why nothing was changed; null: something was, or nothing was to be. */
export function unmadeWords(decided: Decided): string | null {
  const { kind, mode, outcome, stoppedBy, proposal, reconfiguration } = decided;
  if (kind === "hold" || outcome === "applied" || reconfiguration !== null) return null;
  if (stoppedBy !== null) return stoppedBy;
  const untold = UNTOLD[outcome];
  if (untold !== undefined) return untold;
  if (proposal !== null) return proposalWords(proposal);
  if (mode === "canary")
    return "The instance is not one of those that the canary moves: it was only recorded.";
  if (mode === "recommend") return "Nobody was asked: no proposal of it is stored.";
  return `Pools in mode ${mode} only record it.`;
}

/** Who approved the proposal of a move that was made; null: nobody was asked. */
export function approvedWords({ proposal }: Pick<Decided, "proposal">): string | null {
  return proposal?.state === "approved" ? proposalWords(proposal) : null;
}

function proposalWords(proposal: Proposal): string {
  const { id, state, required, votes, expiresAt, endedAt } = proposal;
  const approvals = votes.filter(({ verdict }) => verdict === "approve");
  const counted = approvals.filter(({ counts }) => counts).length;
  const said = approvals.map(({ actor, comment, counts }) => {
    const revoked = counts ? "" : " (key revoked, not counted)";
    return `${actor}${revoked}${comment === null ? "" : `: "${comment}"`}`;
  });
  const by = said.length === 0 ? "" : ` (${said.join(", ")})`;
  const some = `${counted} of ${required} keys had approved${by}`;
  switch (state) {
    case "open":
      return `Proposal ${id} waits until ${expiresAt}: ${some.replace("had", "have")}.`;
    case "approved":
      return `Proposal ${id} was approved by ${said.join(", ")}.`;
    case "rejected":
      return `Proposal ${id} was rejected by ${rejectedBy(votes)}.`;
    case "expired":
      return `Proposal ${id} expired at ${endedAt ?? expiresAt}: ${some}.`;
    case "superseded":
      return `Proposal ${id} was superseded by a newer one: ${some}.`;
    case "outdated":
      return `Proposal ${id} was outdated by a change of the instance or its pool: ${some}.`;
  }
}

function rejectedBy(votes: Proposal["votes"]): string {
  const vote = votes.find(({ verdict }) => verdict === "reject");
  if (vote === undefined) return "a key";
  return vote.comment === null ? vote.actor : `${vote.actor}: "${vote.comment}"`;
}
