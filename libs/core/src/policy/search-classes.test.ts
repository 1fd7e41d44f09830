import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Split } from "../nouns.js";
import { ALIKE_SHARE, gainInOrder, inOrder } from "./search-classes.js";
import type { Prospect, Sketch } from "./search-prospect.js";

const OPEN: Split = { prefillSmPct: 100, decodeSmPct: 100 };

function sketch(name: number, kept: readonly number[], score = 0): Sketch {
  return { split: { prefillSmPct: name, decodeSmPct: 100 }, score, kept };
}

const firstOf = (list: readonly Sketch[], alike = ALIKE_SHARE) =>
  inOrder(list, OPEN, alike)[0]?.split.prefillSmPct;

describe("who goes first", () => {
  test.each([
    [
      "the first promise, whatever it costs the second",
      [
        [10, [0.9, 0.1]],
        [20, [0.8, 1]],
      ],
      10,
    ],
    [
      "where the first is alike, the second",
      [
        [10, [0.9, 0.1]],
        [20, [0.897, 0.6]],
      ],
      20,
    ],
    [
      "kept by both: it asks for no more",
      [
        [10, [1, 0.2]],
        [20, [1, 0.4]],
      ],
      20,
    ],
    [
      "of three, the third where two are alike",
      [
        [10, [1, 0.7, 0.1]],
        [20, [1, 0.698, 0.9]],
        [30, [1, 0.2, 1]],
      ],
      20,
    ],
    [
      "alike in all: the nearer one",
      [
        [40, [1, 1]],
        [90, [1, 1]],
      ],
      90,
    ],
  ] as const)("%s", (_what, rows, chosen) => {
    expect(firstOf(rows.map(([name, kept]) => sketch(name, kept)))).toBe(chosen);
  });

  test("alike in all promises, but one serves more requests: that one", () => {
    expect(firstOf([sketch(90, [1, 1], 0.9), sketch(40, [1, 1], 0.98)])).toBe(40);
  });

  const share = fc.double({ min: 0, max: 1, noNaN: true });
  const rows = fc
    .array(fc.tuple(share, share, share, share), { minLength: 1, maxLength: 30 })
    .map((all) => all.map(([a, b, c, score], i) => sketch(i + 1, [a, b, c], score)));

  test("nobody is ahead of the first by more than what is alike, unless it is behind in an earlier promise", () => {
    fc.assert(
      fc.property(rows, (list) => {
        const [first] = inOrder(list, OPEN, ALIKE_SHARE);
        for (const other of list) {
          const ahead = other.kept.findIndex((kept, k) => kept > (first?.kept[k] ?? 0) + ALIKE_SHARE);
          if (ahead < 0) continue;
          // Behind the best in an earlier one, which may itself be out by a later one.
          const behind = other.kept.slice(0, ahead).some((kept, k) => {
            const best = Math.max(...list.map((each) => each.kept[k] ?? 0));
            return kept < best;
          });
          expect(behind).toBe(true);
        }
      }),
    );
  });

  test("the order of the list does not matter to who is first, and each stays in it once", () => {
    fc.assert(
      fc.property(rows, (list) => {
        const ranked = inOrder(list, OPEN, ALIKE_SHARE);
        expect(new Set(ranked)).toEqual(new Set(list));
        expect(inOrder([...list].reverse(), OPEN, ALIKE_SHARE)[0]?.score).toBe(ranked[0]?.score);
      }),
    );
  });
});

describe("what a split gains", () => {
  const even = (kept: number) => ({ share: kept, kept: Array.from({ length: 5 }, () => kept) });
  const prospect = (name: number, ...kept: readonly number[]): Prospect =>
    ({ split: sketch(name, []).split, ofClasses: kept.map(even) }) as unknown as Prospect;

  test.each([
    ["in the first promise", [0.9, 0.1], [0.8, 0.9], 0.1],
    ["in the second, the first unchanged", [0.9, 0.6], [0.9, 0.1], 0.5],
    ["too little in the first, but enough in the second", [0.905, 0.6], [0.9, 0.1], 0.5],
    ["nothing for what it loses in the first", [0.8, 1], [0.9, 0.1], -0.1],
    ["nothing where both keep all", [1, 1], [1, 1], 0],
  ] as const)("%s", (_what, best, now, gain) => {
    expect(gainInOrder(prospect(10, ...best), prospect(20, ...now), 0.02, 0.15)).toBeCloseTo(gain, 9);
  });

  test("a split gains nothing over itself", () => {
    expect(gainInOrder(prospect(10, 1, 1), prospect(10, 0, 0), 0.02, 0.15)).toBe(0);
  });
});
