import type { Pool } from "@fulcrum/contracts/pools.js";
import { expect, test } from "vitest";
import { clashesOf, patchOf, SETTINGS_FIELDS, SLO_FIELDS, sloOf, withField } from "./settings-fields.js";

const SLO = {
  ttft: { percentile: 0.9, boundMs: 300 },
  tpot: { percentile: 0.99, boundMs: 100 },
  attainmentShare: 0.9,
};

const POOL = {
  mode: "observe",
  policy: { name: "search", params: { minGainShare: 0.1 } },
  controlIntervalMs: 5_000,
  lookbackMs: 30_000,
  frozen: false,
  autoRollback: true,
  approval: { required: 1, expireMs: 900_000 },
  guards: {
    maxStepPct: 20,
    dwellMs: 10_000,
    flapBudget: 3,
    flapWindowMs: 60_000,
    minSamples: 10,
    staleAfterMs: 15_000,
    stabilityMargin: 1.1,
  },
  limits: { minSmPct: 10 },
} as unknown as Pool;

test("an SLO goes through the form and back unchanged", () => {
  expect(sloOf(SLO, {})).toEqual(SLO);
  const typed = Object.fromEntries(SLO_FIELDS.map((field) => [field.key, field.read(SLO)]));
  expect(sloOf({ ...SLO, attainmentShare: 0.5 }, typed)).toEqual(SLO);
  expect(sloOf(SLO, { ttftMs: "250", attainmentPct: "99.5" })).toMatchObject({
    ttft: { boundMs: 250 },
    attainmentShare: 0.995,
  });
});

test.each([
  [{}, {}],
  [{ mode: "enforce" }, { mode: "enforce" }],
  [{ policy: "feedback" }, { policy: { name: "feedback" } }],
  [{ frozen: "true" }, { frozen: true }],
  [{ "guards.dwellMs": "5000", "guards.flapBudget": "1" }, { guards: { dwellMs: 5_000, flapBudget: 1 } }],
  [{ "approval.required": "2" }, { approval: { required: 2 } }],
  [{ "limits.maxSmPct": "80" }, { limits: { minSmPct: 10, maxSmPct: 80 } }],
  [{ "limits.minSmPct": "" }, { limits: {} }],
])("changes %j are sent as %j", (draft, want) => expect(patchOf(POOL, draft)).toEqual(want));

test("typing back what was there is no change", () => {
  const changed = withField(SETTINGS_FIELDS, POOL, {}, "lookbackMs", "60000");
  expect(changed).toEqual({ lookbackMs: "60000" });
  expect(withField(SETTINGS_FIELDS, POOL, changed, "lookbackMs", "30000")).toEqual({});
});

test("what somebody else changed is shown with both values, also where one did not touch it", () => {
  const theirs = { ...POOL, mode: "recommend", lookbackMs: 10_000 } as Pool;
  expect(clashesOf(SETTINGS_FIELDS, POOL, theirs, { mode: "enforce" })).toEqual([
    { label: "Mode", before: "observe", theirs: "recommend", yours: "enforce" },
    { label: "Look back", before: "30000", theirs: "10000", yours: undefined },
  ]);
});
