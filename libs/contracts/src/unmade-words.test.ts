import { describe, expect, test } from "vitest";
import type { Proposal } from "./proposals.js";
import { approvedWords, unmadeWords } from "./unmade-words.js";

type Decided = Parameters<typeof unmadeWords>[0];

const MOVE: Decided = {
  kind: "move",
  mode: "enforce",
  outcome: "recorded",
  stoppedBy: null,
  proposal: null,
  reconfiguration: null,
};
const AT = "2026-11-23T10:00:00.000Z";
const vote = (actor: string, over: Partial<Proposal["votes"][number]> = {}) => ({
  actor,
  keyId: "k",
  verdict: "approve" as const,
  comment: null,
  at: AT,
  counts: true,
  ...over,
});
const proposed = (state: Proposal["state"], votes: Proposal["votes"] = []): Partial<Decided> => ({
  mode: "recommend",
  proposal: { id: "p", state, required: 2, votes, expiresAt: AT, endedAt: null } as unknown as Proposal,
});

describe("why a move was not made names what stopped it", () => {
  test.each<[string, Partial<Decided>, string | null]>([
    [
      "a hold",
      { outcome: "held", stoppedBy: "Paused for the fleet by ops: r." },
      "Paused for the fleet by ops: r.",
    ],
    ["a row from before", { outcome: "held" }, "Somebody paused or pinned at that moment."],
    ["another change", { outcome: "lost_race" }, "Another change of the instance was first."],
    ["observe", { mode: "observe" }, "Pools in mode observe only record it."],
    [
      "the rest of a canary",
      { mode: "canary" },
      "The instance is not one of those that the canary moves: it was only recorded.",
    ],
    ["no proposal", { mode: "recommend" }, "Nobody was asked: no proposal of it is stored."],
    ["an open one", proposed("open"), `Proposal p waits until ${AT}: 0 of 2 keys have approved.`],
    [
      "a lapsed one",
      proposed("expired", [vote("ann")]),
      `Proposal p expired at ${AT}: 1 of 2 keys had approved (ann).`,
    ],
    [
      "a revoked key",
      proposed("open", [vote("ann", { counts: false })]),
      `Proposal p waits until ${AT}: 0 of 2 keys have approved (ann (key revoked, not counted)).`,
    ],
    [
      "a rejection",
      proposed("rejected", [vote("ann"), vote("bob", { verdict: "reject", comment: "no" })]),
      'Proposal p was rejected by bob: "no".',
    ],
    ["a made move", { outcome: "applied", reconfiguration: "r" }, null],
    ["a made move of a proposal", { ...proposed("approved", [vote("ann")]), reconfiguration: "r" }, null],
    ["a hold that was decided", { kind: "hold" }, null],
  ])("%s", (_what, over, words) => expect(unmadeWords({ ...MOVE, ...over })).toBe(words));
});

test("who approved is told of what was approved, and of nothing else", () => {
  const votes = [vote("ann", { comment: "now" }), vote("bob")];
  expect(approvedWords({ ...MOVE, ...proposed("approved", votes) })).toBe(
    'Proposal p was approved by ann: "now", bob.',
  );
  expect(approvedWords({ ...MOVE, ...proposed("open", votes) })).toBeNull();
  expect(approvedWords(MOVE)).toBeNull();
});
