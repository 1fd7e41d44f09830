import { expect, test } from "vitest";
import type { Series, SeriesPoint } from "@fulcrum/contracts/live.js";
import { clockText } from "../ui/format.js";
import { askedAt, boundsAt, columnsOf, markWords, placeOf, predictedAt, shareAbove } from "./series-view.js";

const point = (atMs: number) => ({ atMs, ttftMs: atMs / 10 }) as unknown as SeriesPoint;
const allocation = (prefillSmPct: number) => ({
  split: { prefillSmPct, decodeSmPct: 100 - prefillSmPct },
  kvQuotaPct: 100,
});

test("no line is drawn over a time without windows", () => {
  const series = { stepMs: 1_000, points: [1_000, 2_000, 9_000].map(point) } as unknown as Series;
  const columns = columnsOf(series);
  expect(columns.atMs).toEqual([1_000, 2_000, 3_000, 9_000]);
  expect(columns.of("ttftMs")).toEqual([100, 200, null, 900]);
});

test("what was asked holds until the next change; before the first it is not known", () => {
  const asked = [
    { fromMs: 300, generation: 2, allocation: allocation(70) },
    { fromMs: 100, generation: 1, allocation: allocation(60) },
  ];
  expect(askedAt(asked, [50, 100, 299, 300, 999], ({ split }) => split.prefillSmPct)).toEqual([
    null,
    60,
    60,
    70,
    70,
  ]);
});

test("a prediction is compared for a while and not for ever", () => {
  const predicted = [{ atMs: 100, ttftMs: 250, tpotMs: null }];
  expect(predictedAt(predicted, [99, 100, 150, 201], "ttftMs", 100)).toEqual([null, 250, 250, null]);
});

test("how long a bound was missed counts only what was measured, by the bound of that time", () => {
  expect(shareAbove([1, null, 3, 4], [2, 2, 2, 2])).toBeCloseTo(2 / 3);
  expect(shareAbove([1, null, 3, 4], [2, 2, 5, 2])).toBeCloseTo(1 / 3);
  expect(shareAbove([null], [1])).toBeNull();
});

test("a bound counts from the change on", () => {
  const slo = (boundMs: number) => ({ ttft: { percentile: 0.9, boundMs } });
  const slos = [
    { fromMs: 100, version: 1, slo: slo(300) },
    { fromMs: 200, version: 2, slo: slo(500) },
  ] as unknown as Series["slos"];
  expect(boundsAt(slos, [50, 100, 199, 200, 300], "ttft")).toEqual([300, 300, 300, 500, 500]);
});

test.each([
  ["inside", 120, 150, { from: 0.2, to: 0.5 }],
  ["began before", 20, 150, { from: 0, to: 0.5 }],
  ["goes on", 150, 900, { from: 0.5, to: 1 }],
  ["nobody has said when it ends", 20, null, { from: 0, to: 1 }],
  ["was over before", 20, 90, null],
  ["comes later", 220, 250, null],
])("what was in force in the range has its place: %s", (_what, atMs, endMs, want) => {
  expect(placeOf({ atMs, endMs }, 100, 200)).toEqual(want);
});

test("a mark says from when to when", () => {
  const mark = { atMs: 1_000, endMs: 61_000, kind: "hold", id: "", label: "pin by ops: why" } as const;
  expect(markWords(mark, 99_000)).toBe(`${clockText(1_000)} to ${clockText(61_000)} hold: pin by ops: why`);
  expect(markWords(mark, 50_000)).toBe(`since ${clockText(1_000)} hold: pin by ops: why`);
  expect(markWords({ ...mark, kind: "rollout", endMs: null }, 99_000)).toBe(
    `${clockText(1_000)} rollout: pin by ops: why`,
  );
});
