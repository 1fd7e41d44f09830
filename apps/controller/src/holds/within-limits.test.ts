import { WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import { describe, expect, test } from "vitest";

import { deliverable } from "./within-limits.js";

const at = (prefillSmPct: number, decodeSmPct: number, kvQuotaPct = 100) => ({
  split: { prefillSmPct, decodeSmPct },
  kvQuotaPct,
});
const driver = { ...WIDEST_LIMITS, minSmPct: 10, maxSumPct: 100, granularityPct: 6.25, minKvQuotaPct: 20 };
const pool = { maxSmPct: 80 };

describe("what a person asks beyond a limit is refused by name, never cut", () => {
  test.each([
    [at(5, 50), "allocation.split.prefillSmPct", "must be at least 10, the driver's minSmPct"],
    [at(50, 9), "allocation.split.decodeSmPct", "must be at least 10, the driver's minSmPct"],
    [at(81, 10), "allocation.split.prefillSmPct", "must be at most 80, the pool's maxSmPct"],
    [at(50, 50, 19), "allocation.kvQuotaPct", "must be at least 20, the driver's minKvQuotaPct"],
    [at(60, 60), "allocation.split", "must add up to at most 100, the driver's maxSumPct; got 120"],
  ])("%j", (asked, field, message) => {
    const told = expect.objectContaining({ code: "invalid_request", errors: [{ field, message }] }) as object;
    expect(() => deliverable(asked, "allocation", { driver, pool })).toThrow(told);
  });
});

test("within the limits it is brought to the nearest step that the driver can deliver", () => {
  expect(deliverable(at(60, 40), "allocation", { driver, pool })).toEqual(at(62.5, 37.5));
  expect(deliverable(at(50, 50), "allocation", { driver, pool })).toEqual(at(50, 50));
});
