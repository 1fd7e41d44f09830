import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { figureSvg, type Chart } from "./svg.js";

function chart(over: Partial<Chart> = {}): Chart {
  const points = [
    [1, 0.2],
    [2, 0.9],
    [3, 0.4],
  ] as const;
  return { title: "t", xLabel: "x", yLabel: "y", series: [{ name: "one", points }], yMax: 1, ...over };
}

/** All coordinates of the drawn lines. */
function pathsOf(svg: string): string[] {
  return [...svg.matchAll(/class="line[^"]*" stroke="[^"]*" d="([^"]*)"/g)].map((match) => match[1] ?? "");
}

describe("a figure", () => {
  it("puts greater values higher up and later ones further right", () => {
    const [line] = pathsOf(figureSvg([chart()], 1));
    const numbers = [...(line ?? "").matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map((m) => [
      Number(m[1]),
      Number(m[2]),
    ]);
    const [[x1, y1], [x2, y2], [x3, y3]] = numbers as [number[], number[], number[]];
    expect([(x1 ?? 0) < (x2 ?? 0), (x2 ?? 0) < (x3 ?? 0)]).toEqual([true, true]);
    expect([(y2 ?? 0) < (y3 ?? 0), (y3 ?? 0) < (y1 ?? 0)]).toEqual([true, true]);
  });

  it("draws a stepped line as steps up to the end", () => {
    const points = [
      [0, 100],
      [5, 60],
    ] as const;
    const series = [
      { name: "cap", points, stepped: true },
      { name: "other", points: [[10, 0]] as const },
    ];
    const [line] = pathsOf(figureSvg([chart({ series, yMax: 105 })], 1));
    expect(line).toMatch(/^M[\d.]+ [\d.]+H[\d.]+V[\d.]+H[\d.]+$/);
  });

  it("has every name once in the legend, in one colour over all charts", () => {
    const other = chart({ series: [{ name: "two", points: [[1, 1]] }, ...chart().series] });
    const svg = figureSvg([chart(), other], 2);
    expect(svg.match(/>one<\/text>/g)).toHaveLength(1);
    const colours = [...svg.matchAll(/<path class="line" stroke="(#[0-9a-f]+)" d="M58\.0 /g)].map(
      (m) => m[1],
    );
    expect(colours[0]).toBe(colours.at(-1));
  });

  it("escapes what it is given", () => {
    expect(figureSvg([chart({ title: "a < b & c" })], 1)).toContain("a &lt; b &amp; c");
  });

  it("is never drawn with a number that is none", () => {
    const value = fc.double({ min: -1e6, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(fc.array(fc.tuple(value, value), { minLength: 1, maxLength: 20 }), (points) => {
        const { yMax: _, ...free } = chart();
        const svg = figureSvg([{ ...free, series: [{ name: "one", points }] }], 1);
        expect(svg).not.toMatch(/NaN|Infinity|undefined/);
      }),
    );
  });
});
