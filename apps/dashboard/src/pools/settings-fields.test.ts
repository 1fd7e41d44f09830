import type { Pool } from "@fulcrum/contracts/pools.js";
import { previewInput } from "@fulcrum/contracts/preview.js";
import { expect, test } from "vitest";
import { clashesOf, patchOf, PREVIEWED, previewOf, settingsGroups, withField } from "./settings-fields.js";

const POOL = {
  mode: "observe",
  policy: { name: "search", params: { minGainShare: 0.1 } },
  controlIntervalMs: 5_000,
  lookbackMs: 30_000,
  frozen: false,
  autoRollback: true,
  budgetDays: 28,
  approval: { required: 1, expireMs: 900_000 },
  canary: { share: 0.2 },
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

const SETTINGS_FIELDS = settingsGroups(POOL, {}).flatMap(({ fields }) => fields);
const AT_70 = { split: { prefillSmPct: 70, decodeSmPct: 40 }, kvQuotaPct: 80 };
const STATIC_POOL = { ...POOL, policy: { name: "static", params: { allocation: AT_70 } } } as Pool;
const labelsOf = (base: Pool, draft: Record<string, string>) =>
  settingsGroups(base, draft).flatMap(({ fields }) =>
    fields.filter(({ key }) => key.startsWith("target.")).map(({ label, read }) => [label, read(base)]),
  );

test.each([
  [{}, {}],
  [{ mode: "enforce" }, { mode: "enforce" }],
  [{ policy: "feedback" }, { policy: { name: "feedback" } }],
  [{ frozen: "true" }, { frozen: true }],
  [{ "guards.dwellMs": "5000", "guards.flapBudget": "1" }, { guards: { dwellMs: 5_000, flapBudget: 1 } }],
  [{ "approval.required": "2" }, { approval: { required: 2 } }],
  [
    { mode: "canary", "canary.sharePct": "12.5" },
    { mode: "canary", canary: { share: 0.125 } },
  ],
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

test("the target of a static policy is on the form where that policy is chosen, as it is or as one begins", () => {
  expect(labelsOf(POOL, {})).toEqual([]);
  expect(labelsOf(POOL, { policy: "static" }).map(([, value]) => value)).toEqual(["50", "50", "100"]);
  expect(labelsOf(STATIC_POOL, {})).toEqual([
    ["Target: prefill cap", "70"],
    ["Target: decode cap", "40"],
    ["Target: KV quota", "80"],
  ]);
  expect(labelsOf(STATIC_POOL, { policy: "search" })).toEqual([]);
});

test.each([
  [POOL, { policy: "static" }, { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100 }],
  [
    POOL,
    { policy: "static", "target.prefillSmPct": "60" },
    { split: { prefillSmPct: 60, decodeSmPct: 50 }, kvQuotaPct: 100 },
  ],
  [STATIC_POOL, { "target.decodeSmPct": "30" }, { ...AT_70, split: { prefillSmPct: 70, decodeSmPct: 30 } }],
])("%#: the target is sent whole: %j", (base, draft, allocation) => {
  expect(patchOf(base, draft)).toEqual({ policy: { name: "static", params: { allocation } } });
});

test("every setting that bears on a decision goes into the preview, and what goes in is taken there", () => {
  expect(new Set([...PREVIEWED, "slo"])).toEqual(new Set(Object.keys(previewInput.shape)));
  expect(previewOf(POOL, { lookbackMs: "60000", budgetDays: "7" })).toEqual({ lookbackMs: 60_000 });
  expect(previewOf(POOL, { frozen: "true" })).toEqual({ frozen: true });
  expect(previewOf(POOL, { "canary.sharePct": "10" })).toEqual({ canary: { share: 0.1 } });
  expect(previewOf(POOL, { budgetDays: "7", controlIntervalMs: "1000", autoRollback: "false" })).toBeNull();
});
