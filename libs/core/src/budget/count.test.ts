import { expect, test } from "vitest";
import { histogramAt, sampleWindow } from "../fixtures.js";
import { tallyOf, withinOf } from "./count.js";

const SLO = {
  ttft: { percentile: 0.9, boundMs: 300 },
  tpot: { percentile: 0.9, boundMs: 100 },
  attainmentShare: 0.9,
};
const NONE = { finished: 0, ttft: 0, ttftOk: 0, tpot: 0, tpotOk: 0 };

test("a window is held against both bounds", () => {
  const window = sampleWindow({ finished: 40, ttft: histogramAt(900, 50), tpot: histogramAt(20, 30) });
  expect(tallyOf(window, SLO)).toEqual({ finished: 40, ttft: 50, ttftOk: 0, tpot: 30, tpotOk: 30 });
  const loose = { ...SLO, ttft: { percentile: 0.9, boundMs: 40_000 } };
  expect(tallyOf(window, loose)).toEqual({ finished: 40, ttft: 50, ttftOk: 50, tpot: 30, tpotOk: 30 });
});

test.each([
  ["the product of both shares", { finished: 100, ttft: 50, ttftOk: 40, tpot: 200, tpotOk: 100 }, 40],
  ["answers of one token have no TPOT", { ...NONE, finished: 10, ttft: 10, ttftOk: 5 }, 5],
  ["first tokens came before", { ...NONE, finished: 10, tpot: 10, tpotOk: 9 }, 9],
  ["no engine tells anything", { ...NONE, finished: 10 }, null],
  [
    "sums that were rounded up stay below all",
    { finished: 3, ttft: 3, ttftOk: 3.0000001, tpot: 1, tpotOk: 1 },
    3,
  ],
])("requests within both bounds: %s", (_, tally, within) => {
  expect(withinOf(tally)).toBe(within);
});
