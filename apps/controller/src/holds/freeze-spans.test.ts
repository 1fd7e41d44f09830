import fc from "fast-check";
import { expect, test } from "vitest";

import { spansBetween } from "./freeze-spans.js";
import { heldUntil } from "./freeze-window.js";

const MINUTE_MS = 60_000;
const at = (text: string) => Date.parse(`2026-11-23T${text}:00Z`);
const clock = (ms: number) => new Date(ms).toISOString().slice(11, 16);
const window = (cron: string, minutes: number) => ({
  cron,
  timeZone: "UTC",
  durationMs: minutes * MINUTE_MS,
});

test.each([
  ["none", window("0 12 * * *", 30), "09:00", "10:00", []],
  ["one inside", window("20 * * * *", 10), "09:00", "10:00", [["09:20", "09:30"]]],
  ["one that began before", window("50 8 * * *", 60), "09:00", "10:00", [["08:50", "09:50"]]],
  ["one that ends as the range begins", window("30 8 * * *", 30), "09:00", "10:00", []],
  ["one that begins as the range ends", window("0 10 * * *", 30), "09:00", "10:00", []],
  ["one that goes on after it", window("45 9 * * *", 30), "09:00", "10:00", [["09:45", "10:15"]]],
  ["times that abut are one", window("0,20 9 * * *", 20), "08:00", "12:00", [["09:00", "09:40"]]],
  [
    "newest first",
    window("*/20 9 * * *", 10),
    "09:05",
    "09:45",
    [
      ["09:40", "09:50"],
      ["09:20", "09:30"],
      ["09:00", "09:10"],
    ],
  ],
])("%s", (_what, schedule, from, to, want) => {
  const spans = spansBetween(schedule, at(from), at(to), 1_000);
  expect(spans.map(({ fromMs, untilMs }) => [clock(fromMs), clock(untilMs)])).toEqual(want);
});

test("a moment of the range lies in a span exactly when the window held then", () => {
  const [from, to] = [at("06:00"), at("14:00")];
  const schedules = [
    window("*/20 7-9 * * *", 15),
    window("10 */2 * * *", 45),
    window("*/7 * * * *", 5),
    window("0 8 * * *", 300),
  ];
  fc.assert(
    fc.property(fc.constantFrom(...schedules), fc.integer({ min: from, max: to - 1 }), (schedule, ms) => {
      const within = spansBetween(schedule, from, to, 1_000).some(
        ({ fromMs, untilMs }) => fromMs <= ms && ms < untilMs,
      );
      expect([ms, within]).toEqual([ms, heldUntil(schedule, ms) !== null]);
    }),
  );
});

test("of many starts only the newest are looked at", () => {
  const spans = spansBetween(window("*/5 * * * *", 1), at("00:00"), at("12:00"), 3);
  expect(spans.map(({ fromMs }) => clock(fromMs))).toEqual(["11:55", "11:50", "11:45"]);
});
