import { beforeEach, describe, expect, test } from "vitest";
import { GapMeter } from "./gap-meter.js";
import { PauseWatch } from "./pause-watch.js";
import type { HandOver } from "./resident-protocol.js";

let nowMs = 0;
/** How long the resident has waited for cores. */
let coreWaitMs: number | null = 0;
let meter = new GapMeter();
let watch = new PauseWatch(
  meter,
  () => nowMs,
  () => coreWaitMs,
);
beforeEach(() => {
  [nowMs, coreWaitMs] = [1_000, 0];
  meter = new GapMeter();
  watch = new PauseWatch(
    meter,
    () => nowMs,
    () => coreWaitMs,
  );
});

/** An iteration ends with work left; the next batch goes out so much later. */
function iterate(pauseMs: number, workerCoreWaitMs: number | null = 0): void {
  watch.waits("decode");
  nowMs += pauseMs;
  watch.runs("decode", workerCoreWaitMs);
  nowMs += 25;
  watch.ended("decode", 25, 25 + pauseMs);
}

function lastHandOver(): HandOver | undefined {
  return meter.read(nowMs).handOvers.at(-1);
}

describe("pauses of a role", () => {
  test("at a hand-over: from the last result to the first batch, divided at the moment the turn was seen", () => {
    iterate(1);
    watch.waits("decode");
    nowMs += 2;
    watch.passed("decode", 8, 0.25);
    watch.begun("decode", 8, nowMs);
    nowMs += 3;
    coreWaitMs = 0.5;
    watch.runs("decode", 1);
    nowMs += 30;
    watch.ended("decode", 30, 61);
    expect(meter.read(nowMs).handOvers).toEqual([
      {
        role: "decode",
        turn: 8,
        pauseMs: 5,
        turnMs: 2,
        coreWaitMs: 1.75,
        iterationMs: 30,
        gapMs: 61,
        longestBefore: { ms: 1, coreWaitMs: 0 },
      },
    ]);
    expect(meter.read(nowMs).largestPauseMs.decode).toBe(5);
  });

  test("between hand-overs they are told apart, and begin anew with each", () => {
    iterate(7, 6);
    iterate(4);
    watch.begun("decode", 2, nowMs);
    iterate(1);
    expect(lastHandOver()).toMatchObject({ pauseMs: 1, longestBefore: { ms: 7, coreWaitMs: 6 } });
    iterate(3);
    watch.begun("decode", 3, nowMs);
    iterate(1);
    expect(lastHandOver()).toMatchObject({ turn: 3, longestBefore: { ms: 3 } });
  });

  test("a role with nothing to run at its hand-over has no pause, however late its first batch", () => {
    watch.begun("decode", 2, nowMs);
    watch.nothingWaits("decode");
    nowMs += 5_000;
    iterate(0.5);
    expect(lastHandOver()).toMatchObject({ pauseMs: 0.5, turnMs: 0 });
  });

  test("after a holder that died the iteration that was lost counts", () => {
    const lostSinceMs = nowMs;
    nowMs += 400;
    watch.waits("decode", lostSinceMs);
    watch.begun("decode", 2, nowMs);
    nowMs += 2;
    watch.runs("decode", 0);
    watch.ended("decode", 25, 430);
    expect(lastHandOver()).toMatchObject({ pauseMs: 402, turnMs: 400 });
  });

  test.each([
    ["what the worker before says is of another turn", 7, 5, 1, 1],
    ["no more than the pause", 8, 50, 50, 10],
    ["not known of one of them", 8, null, 1, null],
    ["not known of the new one", 8, 1, null, null],
  ] as const)("waiting for a core: %s", (_what, passedTurn, before, own, expected) => {
    watch.waits("decode");
    watch.passed("decode", passedTurn, before);
    watch.begun("decode", 8, nowMs);
    nowMs += 10;
    watch.runs("decode", own);
    watch.ended("decode", 25, 35);
    expect(lastHandOver()?.coreWaitMs).toBe(expected);
  });
});
