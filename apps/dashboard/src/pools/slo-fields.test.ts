import type { SloTarget } from "@fulcrum/core/nouns.js";
import { expect, test } from "vitest";
import { clashesOf } from "./settings-fields.js";
import { sloGroups, sloOf } from "./slo-fields.js";

const OWN = {
  ttft: { percentile: 0.9, boundMs: 300 },
  tpot: { percentile: 0.99, boundMs: 100 },
  attainmentShare: 0.9,
};
const BATCH = {
  name: "batch",
  ttft: { percentile: 0.5, boundMs: 5_000 },
  tpot: { percentile: 0.5, boundMs: 400 },
  attainmentShare: 0.8,
};
const SLO: SloTarget = { ...OWN, classes: [BATCH] };
const fieldsOf = (slo: SloTarget) => sloGroups(slo, {}).flatMap(({ fields }) => fields);

test.each([OWN, SLO, { ...OWN, classes: [BATCH, { ...BATCH, name: "night" }] }])(
  "an SLO goes through the form and back unchanged (%#)",
  (slo) => {
    const typed = Object.fromEntries(fieldsOf(slo).map((field) => [field.key, field.read(slo)]));
    expect(sloOf(slo, {})).toEqual(slo);
    expect(sloOf(OWN, typed)).toEqual(slo);
  },
);

test("one field changes one bound", () => {
  expect(sloOf(SLO, { ttftMs: "250", attainmentPct: "99.5" })).toEqual({
    ...SLO,
    ttft: { percentile: 0.9, boundMs: 250 },
    attainmentShare: 0.995,
  });
  expect(sloOf(SLO, { "class.0.tpotMs": "350" }).classes).toEqual([
    { ...BATCH, tpot: { percentile: 0.5, boundMs: 350 } },
  ]);
});

test("a class that is added begins with the pool's own promise", () => {
  expect(sloOf(OWN, { classes: "1", "class.0.name": "batch", "class.0.ttftMs": "4000" })).toEqual({
    ...OWN,
    classes: [{ ...OWN, name: "batch", ttft: { percentile: 0.9, boundMs: 4_000 } }],
  });
});

test("classes go by their number or by an empty name, and the last one takes the list along", () => {
  const two = { ...OWN, classes: [BATCH, { ...BATCH, name: "night" }] };
  expect(sloOf(two, { classes: "1" })).toEqual(SLO);
  expect(sloOf(two, { "class.0.name": " " }).classes).toEqual([{ ...BATCH, name: "night" }]);
  expect(sloOf(SLO, { classes: "0" })).toEqual(OWN);
});

test("a class that somebody else has added meanwhile is shown as a change", () => {
  expect(clashesOf(fieldsOf(SLO), OWN, SLO, {}).map(({ label, theirs }) => [label, theirs])).toContainEqual([
    "Classes below it",
    "1",
  ]);
});
