import { expect, test } from "vitest";
import type { Series, SeriesPoint } from "@fulcrum/contracts/live.js";
import { askedAt, columnsOf, predictedAt, shareAbove } from "./series-view.js";

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

test("how long a bound was missed counts only what was measured", () => {
  expect(shareAbove([1, null, 3, 4], 2)).toBeCloseTo(2 / 3);
  expect(shareAbove([null], 2)).toBeNull();
});
