import { expect, test } from "vitest";
import { MAX_TRIES, waitAfter } from "./retries.js";

test("waits grow up to half an hour, and the tries last for more than a day", () => {
  const waits = Array.from({ length: MAX_TRIES - 1 }, (_, i) => waitAfter(i + 1)!);
  expect(waits.slice(0, 4)).toEqual([5_000, 10_000, 20_000, 40_000]);
  expect(waits).toEqual(waits.toSorted((a, b) => a - b));
  expect(waits.at(-1)).toBe(1_800_000);
  const allMs = waits.reduce((sum, ms) => sum + ms, 0);
  expect(allMs).toBeGreaterThan(24 * 3_600_000);
  expect(allMs).toBeLessThan(27 * 3_600_000);
  expect(waitAfter(MAX_TRIES)).toBeNull();
});

test("a target that was away for an hour is tried within half an hour of being back", () => {
  let atMs = 0;
  for (let tries = 1; atMs < 3_600_000; tries += 1) atMs += waitAfter(tries)!;
  expect(atMs).toBeLessThanOrEqual(3_600_000 + 1_800_000);
});
