import { expect, test } from "vitest";
import { follows, parsePosition, positionId } from "./position.js";

test.each([
  "1764000000000-812:815:812,814",
  "1764000000000-815:815:",
  "1764000000000-700:9000000000:700,8999999999",
])("%s reads back as it was written", (id) => expect(positionId(parsePosition(id)!)).toBe(id));

test.each([
  "",
  "7",
  "x-1:2:",
  "1764000000000-815:812:",
  "1764000000000-812:815:811",
  "1764000000000-812:815:815",
  "1764000000000-812:815:814,813",
  "1764000000000-812:815:813,813",
  "1764000000000-0:815:",
  "1764000000000-812:99999999999999999999:",
  "1764000000000-812:9223372036854775808:",
  `1764000000000-812:815:${"1".repeat(5_000)}`,
  "1764000000000-812:815:'); DROP TABLE windows; --",
])("%s is no position", (id) => expect(parsePosition(id)).toBeNull());

test("what was read later has seen at least as many transactions begin", () => {
  const [early, late] = ["1764000000000-812:815:", "1764000000500-816:820:"].map((id) => parsePosition(id)!);
  expect([follows(late!, early!), follows(early!, early!), follows(early!, late!)]).toEqual([
    true,
    true,
    false,
  ]);
});
