import { expect, test } from "vitest";
import { BURN_PAIRS, burnOf, type Count } from "./burn.js";
import { type Heard, QUIET_MS, standingOf } from "./standing.js";

const HOUR = BURN_PAIRS[0]!;
const BAD: Count = { requests: 5_000, within: 1_000 };
const GOOD: Count = { requests: 5_000, within: 5_000 };
const FEW: Count = { requests: 3, within: 3 };
const NONE: Count = { requests: 0, within: 0 };
const SERVING: Heard = { instances: 2, arrivals: 600 };
const TRICKLE: Heard = { instances: 2, arrivals: 3 };
const SILENT: Heard = { instances: 2, arrivals: 0 };

test.each([
  ["both windows burn", BAD, BAD, SERVING, "firing", null],
  ["enough finish in time", BAD, GOOD, SERVING, "ending", QUIET_MS],
  ["a total outage: they arrive and none finishes", BAD, NONE, SERVING, "firing", null],
  ["the same an hour later", NONE, NONE, SERVING, "firing", null],
  ["few of many finish, in time, and of the hour no more is left", FEW, FEW, SERVING, "firing", null],
  ["few arrive, and the hour burns still", BAD, FEW, TRICKLE, "firing", null],
  ["few arrive, and the hour burns no more", GOOD, FEW, TRICKLE, "ending", QUIET_MS],
  ["nothing arrives or is heard: the long window must pass", BAD, NONE, SILENT, "ending", HOUR.longMs],
  ["of an hour ago nothing is left, and nothing arrives", NONE, NONE, SILENT, "ending", HOUR.longMs],
  ["nobody is there to serve", BAD, NONE, { instances: 0, arrivals: 0 }, "ending", QUIET_MS],
] as const)("an alert that fires, when %s", (_, long, short, heard, state, afterMs) => {
  const found = standingOf(burnOf(HOUR, long, short, 28, 0.99), heard);
  expect(found.state).toBe(state);
  if (found.state === "ending") expect(found.afterMs).toBe(afterMs);
});

test("what is said: why it fires on, and that it ended without evidence", () => {
  const outage = burnOf(HOUR, BAD, NONE, 28, 0.99);
  expect(standingOf(outage, SERVING).message).toBe(
    "0 requests in the last 5 min are too few to tell; 30 are needed. It fires on: requests arrive, and too few finish to tell that it is over.",
  );
  expect(standingOf(outage, SILENT).message).toContain("no request was heard to arrive for 1 h");
});
