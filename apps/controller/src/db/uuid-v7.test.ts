import fc from "fast-check";
import { expect, test } from "vitest";

import { uuidV7 } from "./uuid-v7.js";

const SHAPE = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function timeOf(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

test("ids sort in the order of making, whatever the clock does, and none comes twice", () => {
  const clocks = fc.array(fc.integer({ min: 1_700_000_000_000, max: 1_700_000_001_000 }), { maxLength: 200 });
  fc.assert(
    fc.property(clocks, (times) => {
      const ids = times.map((nowMs) => uuidV7(nowMs));
      expect(ids).toEqual([...new Set(ids)].toSorted());
      for (const id of ids) expect(id).toMatch(SHAPE);
    }),
  );
});

test("ten thousand in one millisecond still ascend, by borrowing from the next", () => {
  const nowMs = 1_800_000_000_000;
  const ids = Array.from({ length: 10_000 }, () => uuidV7(nowMs));
  expect(ids).toEqual([...new Set(ids)].toSorted());
  expect(timeOf(ids.at(-1)!) - nowMs).toBe(2);
});

test("the time of making can be read from an id", () => {
  const nowMs = 1_900_000_000_123;
  expect(timeOf(uuidV7(nowMs))).toBe(nowMs);
});
