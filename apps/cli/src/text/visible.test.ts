import { expect, it } from "vitest";
import { jsonText } from "../io.js";
import { failed, failureText } from "../failure.js";
import { pairsText, tableText } from "./table.js";
import { oneLine, visible } from "./visible.js";

it.each([
  [
    "what people write in any language: ü é 日本 עברית 👍",
    "what people write in any language: ü é 日本 עברית 👍",
  ],
  ["two\n\tlines", "two\n\tlines"],
  ["\u001b[2K\u001b[1A", "\\u001b[2K\\u001b[1A"],
  ["\u009b31m\u007f\r", "\\u009b31m\\u007f\\u000d"],
  ["\u202eesrever\u2066", "\\u202eesrever\\u2066"],
])("%j is shown as %j", (text, shown) => expect(visible(text)).toBe(shown));

it("what others wrote cannot pretend to be another line", () => {
  expect(oneLine("why\r\nall is well\u2028really")).toBe("why all is well really");
  const table = tableText([{ title: "reason" }], [["a\nb\u001b[1A"]], null);
  expect(table).toBe("REASON\na b\\u001b[1A");
  expect(pairsText([["why", "a\nstate  fine\u001b[2K"]])).toBe("why  a state  fine\\u001b[2K");
});

it("a refusal that repeats a reason is harmless too", () => {
  const text = failureText(failed("paused: \u001b[2K", ["by \u202e"]));
  expect(text).toBe("fulcrum: paused: \\u001b[2K\n  by \\u202e\n");
});

it("JSON stays the same value, in characters that a terminal shows", () => {
  const value = { reason: "\u001b[2K \u009b \u202e \u007f", lines: "a\nb" };
  const text = jsonText(value, 2);
  expect(JSON.parse(text)).toEqual(value);
  expect(visible(text)).toBe(text);
});
