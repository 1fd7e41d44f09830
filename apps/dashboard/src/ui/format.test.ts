import { expect, test } from "vitest";
import {
  ageText,
  countText,
  msText,
  parseSpanMs,
  pointsText,
  rateText,
  shareText,
  splitText,
  timesText,
  wordsOf,
} from "./format.js";

test.each([
  [null, "–"],
  [0, "0.0 ms"],
  [9.94, "9.9 ms"],
  [812.4, "812 ms"],
  [1_240, "1.24 s"],
  [95_000, "1.6 min"],
  [8_000_000, "2.2 h"],
])("msText(%s) is %s", (ms, want) => expect(msText(ms)).toBe(want));

test("a share is never rounded up to what was not reached", () => {
  expect([0.8999, 0.9, 0.9997, 1, 0, null].map(shareText)).toEqual([
    "89.9 %",
    "90 %",
    "99.9 %",
    "100 %",
    "0 %",
    "–",
  ]);
});

test.each([
  [1_000, 0, "1 s ago"],
  [179_000, 0, "2 min ago"],
  [7_200_000, 0, "2 h ago"],
  [0, 240_000, "in 4 min"],
  [500, 0, "now"],
])("at %s, something of %s was %s", (now, at, want) => expect(ageText(at, now)).toBe(want));

test.each([
  ["30m", 1_800_000],
  ["1.5 h", 5_400_000],
  ["45s", 45_000],
  ["2d", 172_800_000],
  ["", null],
  ["soon", undefined],
  ["-3m", undefined],
])("a span of %j is %s ms", (text, want) => expect(parseSpanMs(text)).toBe(want));

test("codes and allocations as words", () => {
  expect(["rolled_back", "StaleSignal", "TTFT_MISSED"].map(wordsOf)).toEqual([
    "rolled back",
    "stale signal",
    "TTFT missed",
  ]);
  expect(splitText({ split: { prefillSmPct: 60, decodeSmPct: 40.55 }, kvQuotaPct: 80 })).toBe(
    "60/40.5 · KV 80",
  );
  expect([0.42, 12.4, 15_300].map(rateText)).toEqual(["0.4/s", "12/s", "15.3k/s"]);
});

test("differences, sums of shares and factors", () => {
  expect([0.042, -0.2, null].map(pointsText)).toEqual(["+4.2 points", "−20.0 points", "–"]);
  expect([12_345.6, 12.34, 0, null].map(countText)).toEqual(["12,346", "12.3", "0", "–"]);
  expect([0.25, 14.4, 120, null].map(timesText)).toEqual(["0.3×", "14.4×", "120×", "–"]);
});
