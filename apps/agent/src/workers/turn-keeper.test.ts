import { pino } from "pino";
import { expect, test } from "vitest";
import { worker } from "./testing/role-views.js";
import { TurnKeeper } from "./turn-keeper.js";

function keeper(): { turns: TurnKeeper; log: Record<string, unknown>[]; pass: (ms: number) => void } {
  const log: Record<string, unknown>[] = [];
  let nowMs = 1_000_000;
  const sink = { write: (line: string) => void log.push(JSON.parse(line) as Record<string, unknown>) };
  return { turns: new TurnKeeper(pino({}, sink), () => nowMs), log, pass: (ms) => (nowMs += ms) };
}
const ours = worker("w-1", { state: "handed_over", turn: 7 });

test.each([
  ["was told to a worker that lives", [ours, worker("w-2", { turn: 8 })]],
  ["may have been told to a worker that was not heard yet", [ours, worker("w-2", { state: null })]],
])("a turn that %s is no contest", (_what, workers) => {
  const { turns, log } = keeper();
  turns.fenced("decode", ours, 8, workers);
  expect([turns.contested("decode"), turns.takeNotBeforeMs("decode"), log]).toEqual([false, 0, []]);
});

test("a turn that was told to a worker that has gone since is no contest", () => {
  const { turns } = keeper();
  turns.note("decode", 0, 8);
  turns.fenced("decode", ours, 8, [ours]);
  expect(turns.contested("decode")).toBe(false);
});

test("a turn that nobody here was told is a contest on that role, told by rank and turn", () => {
  const { turns, log } = keeper();
  turns.note("decode", 1, 20);
  turns.fenced("decode", ours, 8, [ours, worker("w-9", { rank: 1, turn: 20 })]);
  expect([turns.contested("decode"), turns.contested("prefill")]).toEqual([true, false]);
  expect(log).toMatchObject([
    { level: 50, event: "rank_contested", role: "decode", rank: 0, turn: 8, told: 7 },
  ]);
  // It is known now, and the next one is above it.
  expect(turns.highestOf("decode", [0, 1])).toEqual(
    new Map([
      [0, 8],
      [1, 20],
    ]),
  );
});

test("each time it is waited longer, up to a minute; after two quiet minutes it is over", () => {
  const { turns, pass } = keeper();
  let turn = 8;
  let nowMs = 1_000_000;
  const waits = Array.from({ length: 10 }, () => {
    turn += 2;
    turns.fenced("decode", ours, turn, [ours]);
    const waitMs = turns.takeNotBeforeMs("decode") - nowMs;
    pass(waitMs);
    nowMs += waitMs;
    return waitMs;
  });
  waits.forEach((waitMs, index) => {
    const fullMs = Math.min(60_000, 1_000 * 2 ** index);
    expect(waitMs).toBeGreaterThanOrEqual(fullMs / 2);
    expect(waitMs).toBeLessThanOrEqual(fullMs);
  });
  pass(120_000);
  expect(turns.contested("decode")).toBe(false);
  turns.fenced("decode", ours, turn + 2, [ours]);
  expect(turns.takeNotBeforeMs("decode") - (nowMs + 120_000)).toBeLessThanOrEqual(1_000);
});
