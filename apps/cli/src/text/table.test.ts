import { describe, expect, it } from "vitest";
import fc from "fast-check";
import { cutText, pairsText, tableText } from "./table.js";

const COLUMNS = [{ title: "pool" }, { title: "n", right: true }, { title: "message", cut: true }];
const ROWS = [
  ["chat-8b", "3", "TTFT p90 412 ms is over 300 ms; prefill cap 50 -> 65"],
  ["b", "12", "ok"],
];

describe("tableText", () => {
  it("aligns columns, numbers to the right, and leaves everything whole without a terminal", () => {
    expect(tableText(COLUMNS, ROWS, null)).toBe(
      [
        "POOL      N  MESSAGE",
        "chat-8b   3  TTFT p90 412 ms is over 300 ms; prefill cap 50 -> 65",
        "b        12  ok",
      ].join("\n"),
    );
  });

  it("cuts only what may be cut when the terminal is narrow", () => {
    expect(tableText(COLUMNS, ROWS, 40)).toBe(
      ["POOL      N  MESSAGE", "chat-8b   3  TTFT p90 412 ms is over 30…", "b        12  ok"].join("\n"),
    );
  });

  it("never loses a line to a value that holds a line break", () => {
    expect(tableText([{ title: "a" }], [["one\n  two"]], null)).toBe("A\none two");
  });

  it("fits any terminal that leaves each cut column eight characters", () => {
    const cell = fc.string({ unit: "grapheme-ascii", maxLength: 60 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(cell, cell), { maxLength: 5 }),
        fc.integer({ min: 18, max: 200 }),
        (rows, width) => {
          const columns = [
            { title: "a", cut: true },
            { title: "b", cut: true },
          ];
          const lines = tableText(columns, rows, width).split("\n");
          expect(lines).toHaveLength(rows.length + 1);
          for (const line of lines) expect(Array.from(line).length).toBeLessThanOrEqual(width);
        },
      ),
    );
  });
});

it("pairsText aligns the values", () => {
  expect(
    pairsText([
      ["a", "1"],
      ["long", "2"],
    ]),
  ).toBe("a     1\nlong  2");
});

it.each([
  ["abcdef", 6, "abcdef"],
  ["abcdef", 5, "abcd…"],
  ["ééé", 3, "ééé"],
  ["abc", 0, ""],
])("cutText(%s, %d) is %s", (text, width, want) => expect(cutText(text, width)).toBe(want));
