import { expect, test } from "vitest";
import { deedOf, differenceOf, type PreviewItem, summaryOf } from "./preview-view.js";

type Decision = PreviewItem["now"];

const to = (prefillSmPct: number) => ({
  split: { prefillSmPct, decodeSmPct: 100 - prefillSmPct },
  kvQuotaPct: 100,
});
const outcome = (over: object) =>
  ({ kind: "hold", applies: false, mode: "enforce", allocation: to(50), unheld: null, ...over }) as Decision;
const hold = outcome({});
const move = (prefillSmPct: number) => outcome({ kind: "move", applies: true, allocation: to(prefillSmPct) });
const held = (unheld: Decision) => outcome({ reason: "FROZEN", unheld });
// oxlint-disable-next-line unicorn/no-thenable -- no function: nobody can await it
const item = (now: Decision, then: Decision) => ({ now, then }) as unknown as PreviewItem;

test.each([
  ["as before", item(hold, hold), null],
  ["a move where it held", item(hold, move(60)), "now"],
  ["another split", item(move(60), move(65)), "now"],
  ["held, and the same without the hold", item(held(hold), held(hold)), null],
  ["held, and moved without the hold", item(held(hold), held(move(60))), "unheld"],
  ["the change takes the hold away", item(held(move(60)), move(60)), "now"],
  ["the change holds it", item(hold, held(hold)), null],
])("%s", (_what, given, want) => expect(differenceOf(given)).toBe(want));

test("the summary tells what changes now from what changes once the holds end", () => {
  expect(summaryOf([item(hold, hold), item(held(hold), held(move(60))), item(hold, move(60))])).toBe(
    "1 would be decided otherwise now, 1 once it is not held any more, 1 the same.",
  );
  expect(summaryOf([])).toBe("Nothing would be decided otherwise now.");
});

test.each([
  [move(60), "move to 60/40"],
  [outcome({ kind: "move", mode: "recommend", allocation: to(60) }), "propose to 60/40"],
  [outcome({ kind: "move", mode: "observe", allocation: to(60) }), "record to 60/40"],
  [hold, "hold"],
])("%#: what would be done is named", (given, want) => expect(deedOf(given)).toBe(want));
