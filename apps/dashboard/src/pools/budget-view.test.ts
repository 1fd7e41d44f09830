import type { Budget } from "@fulcrum/contracts/budgets.js";
import { expect, test } from "vitest";
import { burnDown } from "./budget-view.js";

const budget = (over: Partial<Budget>) =>
  ({ requests: 1_000, target: 0.9, sliceMs: 60_000, bySlice: [], ...over }) as Budget;

test("a budget begins full and loses what each slice missed", () => {
  const bySlice = [
    { fromMs: 0, requests: 500, within: 475 },
    { fromMs: 180_000, requests: 500, within: 400 },
  ];
  expect(burnDown(budget({ bySlice }))).toEqual([
    { atMs: 0, leftShare: 1 },
    { atMs: 60_000, leftShare: 0.75 },
    { atMs: 240_000, leftShare: -0.25 },
  ]);
});

test.each([
  ["nothing was served", budget({ requests: 0 })],
  ["nothing may be missed", budget({ target: 1, bySlice: [{ fromMs: 0, requests: 5, within: 4 }] })],
])("there is no line where %s", (_, given) => expect(burnDown(given)).toEqual([]));
