import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { checkSchedule, heldUntil, spanOf } from "./freeze-window.js";

const HOUR_MS = 3_600_000;
const at = (text: string) => Date.parse(text);
const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString().slice(0, 16));

describe("heldUntil", () => {
  const nights = { cron: "0 22 * * 1-5", timeZone: "Europe/Berlin", durationMs: 8 * HOUR_MS };
  // Berlin is an hour ahead of UTC in winter and two in summer; 2026-11-23 is a Monday.
  test.each([
    ["a minute before it begins", "2026-11-23T20:59:59.999Z", null],
    ["as it begins", "2026-11-23T21:00:00Z", "2026-11-24T05:00"],
    ["past midnight", "2026-11-24T03:00:00Z", "2026-11-24T05:00"],
    ["at its last moment", "2026-11-24T04:59:59.999Z", "2026-11-24T05:00"],
    ["as it ends", "2026-11-24T05:00:00Z", null],
    ["on Saturday morning, of Friday's", "2026-11-28T04:00:00Z", "2026-11-28T05:00"],
    ["on Saturday night", "2026-11-28T22:30:00Z", null],
    ["in summer it begins at 20:00 UTC", "2026-07-20T20:00:00Z", "2026-07-21T04:00"],
  ])("%s", (_when, now, until) => {
    expect(iso(heldUntil(nights, at(now)))).toBe(until);
  });

  test("asked in any order the answer is the same: what is remembered between calls changes nothing", () => {
    const schedule = { cron: "*/20 9-17 * * *", timeZone: "Asia/Kolkata", durationMs: 600_000 };
    const fresh = (ms: number) => {
      const minutes = Math.floor((ms + 5.5 * HOUR_MS) / 60_000) % 1_440;
      const [hour, minute] = [Math.floor(minutes / 60), minutes % 60];
      return hour >= 9 && hour <= 17 && minute % 20 < 10;
    };
    const instant = fc.integer({ min: at("2026-11-20T00:00Z"), max: at("2026-11-24T00:00Z") });
    fc.assert(
      fc.property(fc.array(instant, { minLength: 2, maxLength: 20 }), (instants) => {
        for (const ms of instants) expect([ms, heldUntil(schedule, ms) !== null]).toEqual([ms, fresh(ms)]);
      }),
    );
  });
});

describe("times that follow each other without a gap are one", () => {
  const minutes = (count: number) => count * 60_000;
  const every20 = { cron: "*/20 * * * *", timeZone: "UTC", durationMs: HOUR_MS };
  test.each([
    [
      "overlapping ones of a morning",
      { ...every20, cron: "*/20 8-9 * * *" },
      "2026-11-23T08:45Z",
      "2026-11-23T10:40",
    ],
    [
      "seen before they begin",
      { ...every20, cron: "*/20 8-9 * * *" },
      "2026-11-23T07:00Z",
      "2026-11-23T10:40",
    ],
    [
      "abutting ones",
      { ...every20, cron: "*/20 8 * * *", durationMs: minutes(20) },
      "2026-11-23T08:05Z",
      "2026-11-23T09:00",
    ],
    ["with a gap", { ...every20, durationMs: minutes(19) }, "2026-11-23T08:05Z", "2026-11-23T08:19"],
    [
      "days that overlap into the weekend",
      { cron: "0 0 * * 1-5", timeZone: "UTC", durationMs: 25 * HOUR_MS },
      "2026-11-24T12:00Z",
      "2026-11-28T01:00",
    ],
  ])("%s", (_which, schedule, now, until) => {
    expect(iso(spanOf(schedule, at(now))!.untilMs)).toBe(until);
  });
  test("without any gap there is no end", () => {
    expect(heldUntil(every20, at("2026-11-23T08:45Z"))).toBe(Number.POSITIVE_INFINITY);
    expect(heldUntil(every20, at("2026-12-23T08:45Z"))).toBe(Number.POSITIVE_INFINITY);
  });
  test("asked at any moment of it the end is the same, and it is held up to it", () => {
    const schedule = { cron: "*/15 8-11 * * 1-5", timeZone: "Europe/Berlin", durationMs: minutes(50) };
    const instant = fc.integer({ min: at("2026-11-20T00:00Z"), max: at("2026-11-27T00:00Z") });
    fc.assert(
      fc.property(instant, (ms) => {
        const until = heldUntil(schedule, ms);
        if (until === null) return;
        // Berlin 11:45 and 50 minutes.
        expect(new Date(until).toISOString().slice(11, 16)).toBe("11:35");
        expect([heldUntil(schedule, until - 1), heldUntil(schedule, until)]).toEqual([until, null]);
      }),
    );
  });
});

test("spanOf: the coming time when none holds now, and none of a day that has no other", () => {
  const noon = { cron: "0 12 * * *", timeZone: "UTC", durationMs: HOUR_MS };
  const coming = spanOf(noon, at("2026-11-23T13:00:00Z"));
  expect([iso(coming!.fromMs), iso(coming!.untilMs)]).toEqual(["2026-11-24T12:00", "2026-11-24T13:00"]);
  expect(spanOf({ ...noon, cron: "0 0 30 2 *" }, at("2026-11-23T13:00:00Z"))).toBeNull();
});

describe("checkSchedule names the field and says how it may look", () => {
  test.each([
    ["* * * *", "UTC", "cron", "five fields, such as 0 22 * * 1-5"],
    ["0 0 22 * * 1-5", "UTC", "cron", "five fields"],
    ["61 * * * *", "UTC", "cron", "minute: 61"],
    ["0 22 * * mon;fri", "UTC", "cron", "five fields"],
    ["0 0 30 2 *", "UTC", "cron", "never comes"],
    ["0 22 * * *", "Mars/Phobos", "timeZone", "IANA time zone, such as Europe/Berlin"],
  ])("%j in %s", (cron, timeZone, field, hint) => {
    const told = expect.objectContaining({
      errors: [{ field, message: expect.stringContaining(hint) as string }],
    }) as object;
    expect(() => checkSchedule({ cron, timeZone })).toThrow(told);
  });
  test("takes what is right", () => {
    expect(() =>
      checkSchedule({ cron: "*/5 8-18 1,15 * MON-FRI", timeZone: "America/New_York" }),
    ).not.toThrow();
  });
});
