import type { Hold } from "@fulcrum/contracts/holds.js";
import { expect, test } from "vitest";
import { clockText } from "../ui/format.js";
import { endWords, unreachedOf } from "./held-view.js";

const NOW = Date.parse("2026-11-23T09:40:00Z");
const at = (minutes: number) => new Date(NOW + minutes * 60_000).toISOString();

const hold = (over: Partial<Hold>) =>
  ({
    kind: "override",
    instance: "i-1",
    until: null,
    window: null,
    holding: true,
    from: at(-20),
    endedAt: null,
    endedBy: null,
    endReason: null,
    ...over,
  }) as Hold;

test.each<[string, Partial<Hold>, string]>([
  ["a pause without an end", {}, "until it is ended"],
  ["a pause of an hour", { until: at(30) }, "ends in 30 min"],
  [
    "a freeze window that holds",
    { window: { from: at(-5), until: at(10) } },
    `ends in 10 min, at ${clockText(at(10)).slice(0, 5)}`,
  ],
  [
    "a freeze window without a gap",
    { window: { from: at(-5), until: null } },
    "without a gap, until it is ended",
  ],
  ["a coming freeze window", { holding: false, window: { from: at(90), until: at(120) } }, "begins in 1 h"],
])("%s", (_what, over, want) => expect(endWords(hold(over), NOW)).toBe(want));

const missed = hold({ endedAt: at(-15), endedBy: "controller", endReason: "not reached: no agent answered" });

test.each<[string, Hold[], Hold[], number]>([
  ["it is told", [missed], [], 1],
  ["not after an hour", [{ ...missed, endedAt: at(-61) }], [], 0],
  ["not one that a person ended", [{ ...missed, endedBy: "ops", endReason: "done" }], [], 0],
  ["not one whose time ran out", [{ ...missed, endedBy: null, endReason: "its time ran out" }], [], 0],
  ["not when another came after it", [missed], [hold({ from: at(-10) })], 0],
  [
    "not when another came after it and is over",
    [hold({ from: at(-10), endedAt: at(-5), endedBy: "ops" }), missed],
    [],
    0,
  ],
  ["what another instance does says nothing", [missed], [hold({ instance: "i-2", from: at(-10) })], 1],
])("an override that was not reached: %s", (_what, ended, active, count) =>
  expect(unreachedOf(ended, active, NOW)).toHaveLength(count),
);
