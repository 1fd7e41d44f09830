import { expect, test } from "vitest";

import { holdMarks } from "./series-marks.js";

const MINUTE_MS = 60_000;
const at = (text: string) => Date.parse(`2026-11-23T${text}:00Z`);
const clock = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString().slice(11, 16));
const range = { fromMs: at("09:00"), toMs: at("10:00") };

const hold = (over: object) => ({
  id: "h",
  kind: "pause" as const,
  actor: "ops",
  reason: "why",
  schedule: null,
  startMs: at("08:30"),
  endMs: null,
  endReason: null,
  ...over,
});
const freeze = (cron: string, minutes: number, over: object = {}) =>
  hold({
    kind: "freeze_window" as const,
    schedule: { cron, timeZone: "UTC", durationMs: minutes * MINUTE_MS },
    startMs: at("00:00"),
    ...over,
  });

test.each([
  ["a pause without an end", hold({}), [["08:30", null]]],
  ["a pause that is to end later", hold({ endMs: at("11:00") }), [["08:30", "11:00"]]],
  ["a freeze window that did not come", freeze("0 12 * * *", 30), []],
  [
    "each time of a freeze window, newest first",
    freeze("0,30 * * * *", 10),
    [
      ["09:30", "09:40"],
      ["09:00", "09:10"],
    ],
  ],
  ["made in the middle of it", freeze("0 9 * * *", 30, { startMs: at("09:10") }), [["09:10", "09:30"]]],
  ["ended before it was over", freeze("0 9 * * *", 30, { endMs: at("09:20") }), [["09:00", "09:20"]]],
  ["one that is over later", freeze("50 9 * * *", 30), [["09:50", "10:20"]]],
  [
    "one that leaves no gap and has no end in sight",
    freeze("*/20 * * * *", 60, { startMs: at("08:50") }),
    [["08:50", null]],
  ],
])("%s", (_what, given, want) => {
  expect(holdMarks([given], range).map(({ atMs, endMs }) => [clock(atMs), clock(endMs)])).toEqual(want);
});

test("the label says who, why and what ended it", () => {
  const [mark] = holdMarks(
    [hold({ kind: "override", endMs: at("09:30"), endReason: "not reached: gone" })],
    range,
  );
  expect(mark?.label).toBe("override by ops: why; ended: not reached: gone");
});

test("a hundred freeze windows of a day are reckoned by their newest starts only", () => {
  const many = Array.from({ length: 100 }, (_, index) => freeze("*/15 * * * *", 1, { id: String(index) }));
  const marks = holdMarks(many, { fromMs: at("00:00"), toMs: at("23:00") });
  expect(marks).toHaveLength(300);
  expect(clock(Math.min(...marks.map(({ atMs }) => atMs)))).toBe("22:15");
});
