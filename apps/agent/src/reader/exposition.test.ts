import { describe, expect, test } from "vitest";
import { MAX_LINE, MAX_SAMPLES, parseExposition } from "./exposition.js";

describe("the text format", () => {
  test("labels may hold escapes, spaces, braces and commas; values may be infinite or carry a timestamp", () => {
    const parsed = parseExposition(
      'a{ x = "q\\"}, {\\\\ \\n" , y="", } 1.5e3 1700000000000\n# HELP a b\nb +Inf\r\n\nc{} NaN\nd .5\n',
    );
    expect(parsed.get("a")).toEqual([{ labels: { x: 'q"}, {\\ \n', y: "" }, value: 1_500 }]);
    expect(parsed.get("b")?.[0]?.value).toBe(Infinity);
    expect(parsed.get("c")?.[0]?.value).toBeNaN();
    expect(parsed.get("d")?.[0]?.value).toBe(0.5);
  });

  test.each([
    "<html>",
    "a",
    "a{x=1} 1",
    'a{x="1" 1',
    'a{x="1} 1',
    "a 0x10",
    "a 1 2 3",
    "a 1 soon",
    "a one",
    "1a 1",
    `a{x="${"y".repeat(MAX_LINE)}"} 1`,
  ])("refuses %j and says where", (line) => {
    expect(() => parseExposition(`fine 1\n${line}\n`)).toThrow(/^line 2: /);
  });

  test("an answer that ends inside a line is half an answer: 12 may have been 123", () => {
    expect(() => parseExposition("a 1\nb 12")).toThrow("line 2: the answer ends inside a line: b 12");
  });

  test("what is not wanted is passed over, whatever it holds", () => {
    const wanted = (name: string) => name === "a";
    const parsed = parseExposition('a 1\nb{x="unclosed 1\na_created 5\n', { wanted });
    expect([...parsed.keys()]).toEqual(["a"]);
  });

  test("more samples than an engine has are refused, wanted or not", () => {
    const text = "b 1\n".repeat(MAX_SAMPLES + 1);
    expect(() => parseExposition(text, { wanted: () => false })).toThrow(`more than ${MAX_SAMPLES} samples`);
  });
});

describe("OpenMetrics", () => {
  const read = (text: string) => parseExposition(text, { openMetrics: true });

  test("exemplars and timestamps in seconds are passed over", () => {
    const parsed = read(
      '# TYPE a histogram\na_bucket{le="0.5"} 3 1.7e9\n'.replace("1.7e9", "1700000000.25") +
        'a_bucket{le="+Inf"} 4 # {trace_id="a # {b"} 0.7 1700000000.5\na_created 1.7e+09\n# EOF\n',
    );
    expect(parsed.get("a_bucket")?.map(({ value }) => value)).toEqual([3, 4]);
    expect(parsed.get("a_created")?.[0]?.value).toBe(1.7e9);
  });

  test.each([
    ["without its end", "a 1\n", /no # EOF/],
    ["with something after its end", "a 1\n# EOF\nb 1\n", /line 3: text after # EOF: b 1/],
  ])("%s is refused", (_what, text, message) => {
    expect(() => read(text)).toThrow(message);
  });
});
