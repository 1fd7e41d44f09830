import { describe, expect, test } from "vitest";

import { type OpenProposal, saysTheSame } from "./open-proposal.js";

const at = (prefillSmPct: number, decodeSmPct: number, kvQuotaPct = 100) => ({
  split: { prefillSmPct, decodeSmPct },
  kvQuotaPct,
});
const open: OpenProposal = { id: "p", basedOnGeneration: 3, to: at(60, 40), expiresAtMs: 1_000 };
const from = { ...at(50, 50), generation: 3 };

describe("a decision keeps the open proposal", () => {
  test.each<[string, OpenProposal | null, ReturnType<typeof at>, number, number, boolean]>([
    ["there is none", null, at(60, 40), 3, 0, false],
    ["the same move", open, at(60, 40), 3, 0, true],
    ["a step of noise off", open, at(64, 36), 3, 0, true],
    ["another prefill cap", open, at(65, 40), 3, 0, false],
    ["another decode cap", open, at(60, 45), 3, 0, false],
    ["another quota", open, at(60, 40, 95), 3, 0, false],
    ["made on another generation", open, at(60, 40), 4, 0, false],
    ["expired", open, at(60, 40), 3, 1_000, false],
  ])("%s", (_what, proposal, to, generation, nowMs, want) => {
    expect(saysTheSame(proposal, { from: { ...from, generation }, to }, nowMs)).toBe(want);
  });
});
