import { decide } from "@fulcrum/core/decide.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS } from "@fulcrum/core/defaults.js";
import { SAMPLE_NOW_MS, sampleSnapshot } from "@fulcrum/core/fixtures.js";
import { expect, it } from "vitest";
import { otherVersionOf, redecided } from "./verify-decisions.js";

const snapshot = sampleSnapshot();
const policyConfig = { name: "feedback", params: DEFAULT_FEEDBACK } as const;
const decision = decide(snapshot, policyConfig, DEFAULT_GUARDS, SAMPLE_NOW_MS);
const row = JSON.parse(
  JSON.stringify({
    snapshot,
    policyConfig,
    guardConfig: DEFAULT_GUARDS,
    decidedAtMs: SAMPLE_NOW_MS,
    decision,
  }),
) as Parameters<typeof redecided>[0];

it("finds no difference in a row that decide() made", () => expect(redecided(row)).toEqual([]));

it("names what differs when the stored decision was altered", () => {
  const altered = { ...row, decision: { ...(row.decision as object), reason: "FROZEN" } };
  expect(redecided(altered)).toEqual([`reason: stored "FROZEN", again "${decision.reason}"`]);
});

it("notices altered inputs", () => {
  const altered = { ...row, snapshot: { ...snapshot, hold: { pinned: null, frozen: true } } };
  expect(redecided(altered).join("\n")).toContain('again "FROZEN"');
});

it("tells a row that another version of the policy made from one that was altered", () => {
  expect(otherVersionOf(row.decision)).toBeNull();
  const version = decision.policy.version + 1;
  const later = { ...(row.decision as object), policy: { name: "feedback", version } };
  expect(otherVersionOf(later)).toEqual({ policy: "feedback", version, here: decision.policy.version });
});
