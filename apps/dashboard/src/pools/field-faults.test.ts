import { expect, test } from "vitest";
import { GUARD_FIELDS, LIMIT_FIELDS, MAIN_FIELDS, faultsOf } from "./settings-fields.js";
import { SLO_FIELDS } from "./slo-fields.js";

test.each(GUARD_FIELDS.map(({ key, label }) => [key, label] as const))(
  "an emptied %s is refused with a sentence, and not sent as 0",
  (key, label) => {
    const said = [`${label} is empty: type a number, or undo the change.`];
    expect(faultsOf(GUARD_FIELDS, { [key]: "" })).toEqual(said);
    expect(faultsOf(GUARD_FIELDS, { [key]: " " })).toEqual(said);
    expect(faultsOf(GUARD_FIELDS, { [key]: "0" })).toEqual([]);
  },
);

test("so are the other numbers of a pool and its SLO; an emptied limit is the driver's", () => {
  expect(faultsOf(MAIN_FIELDS, { lookbackMs: "", mode: "enforce", budgetDays: "" })).toHaveLength(2);
  expect(faultsOf(SLO_FIELDS, { ttftMs: "" })).toHaveLength(1);
  expect(faultsOf(LIMIT_FIELDS, { "limits.minSmPct": "" })).toEqual([]);
});
