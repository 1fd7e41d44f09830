import { expect, test } from "vitest";

import { type ActiveHold, standingHold } from "./standing.js";

const NOW_MS = Date.parse("2026-11-23T12:00:00Z");

function hold(over: Partial<ActiveHold>): ActiveHold {
  return {
    kind: "pause",
    scope: "pool",
    actor: "ops",
    reason: "r",
    schedule: null,
    untilAtMs: null,
    ...over,
  };
}

const always = { cron: "* * * * *", timeZone: "UTC", durationMs: 60_000 };
const never = { cron: "0 0 1 1 *", timeZone: "UTC", durationMs: 60_000 };

test.each<[string, ActiveHold[], boolean, [boolean, boolean, string | undefined]]>([
  ["nothing", [], false, [false, false, undefined]],
  ["the pool's setting alone has no teller", [], true, [false, true, undefined]],
  ["a pause", [hold({ reason: "a" })], false, [false, true, "a"]],
  ["a pause whose time ran out", [hold({ untilAtMs: NOW_MS })], false, [false, false, undefined]],
  ["a pin", [hold({ kind: "pin", reason: "b" })], false, [true, false, "b"]],
  [
    "an override",
    [hold({ kind: "override", untilAtMs: NOW_MS + 1, reason: "c" })],
    false,
    [true, false, "c"],
  ],
  [
    "the pause that lasts longest is told",
    [hold({ untilAtMs: NOW_MS + 5, reason: "short" }), hold({ untilAtMs: NOW_MS + 9, reason: "long" })],
    false,
    [false, true, "long"],
  ],
  [
    "a pause without an end outlasts all, and the older of two is told",
    [hold({ untilAtMs: NOW_MS + 9 }), hold({ reason: "older" }), hold({ reason: "newer" })],
    false,
    [false, true, "older"],
  ],
  ["a freeze window inside", [hold({ kind: "freeze_window", schedule: always })], false, [false, true, "r"]],
  [
    "a freeze window outside",
    [hold({ kind: "freeze_window", schedule: never })],
    false,
    [false, false, undefined],
  ],
])("%s", (_what, holds, frozen, want) => {
  const { pinned, frozen: still, frozenBy } = standingHold(holds, frozen, NOW_MS);
  expect([pinned !== null, still, (pinned?.by ?? frozenBy)?.reason]).toEqual(want);
});

test("what is told fits into JSON: a snapshot keeps it exactly", () => {
  const standing = standingHold([hold({}), hold({ kind: "pin" })], false, NOW_MS);
  expect(JSON.parse(JSON.stringify(standing))).toEqual(standing);
});
