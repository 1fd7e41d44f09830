import { expect, test } from "vitest";
import { IterationRate } from "./iteration-rate.js";

const at = (prefill: number, decode: number) => ({ prefill, decode });

test("tells the mean rates of the last 10 s, and nothing before there are two looks", () => {
  const rate = new IterationRate();
  rate.note("a", at(0, 0), 0);
  expect(rate.progress(at(7, 9))).toEqual({ prefill: 7, decode: 9, prefillPerS: 0, decodePerS: 0 });
  for (let s = 1; s <= 5; s += 1) rate.note("a", at(2 * s, 100 * s), 1_000 * s);
  expect(rate.progress(at(10, 500))).toEqual({ prefill: 10, decode: 500, prefillPerS: 2, decodePerS: 100 });
  for (let s = 6; s <= 10; s += 1) rate.note("a", at(10, 500), 1_000 * s);
  expect(rate.progress(at(10, 500))).toMatchObject({ prefillPerS: 1, decodePerS: 50 });
  for (let s = 11; s <= 30; s += 1) rate.note("a", at(10, 500), 1_000 * s);
  expect(rate.progress(at(10, 500))).toMatchObject({ prefillPerS: 0, decodePerS: 0 });
});

test("a look that is late or that comes again at once does not spoil the rate", () => {
  const rate = new IterationRate();
  rate.note("a", at(0, 0), 0);
  rate.note("a", at(3, 30), 10);
  rate.note("a", at(60, 600), 60_000);
  expect(rate.progress(at(60, 600))).toMatchObject({ prefillPerS: 1, decodePerS: 10 });
});

test("an engine that began anew is measured anew", () => {
  const rate = new IterationRate();
  rate.note("a", at(0, 0), 0);
  rate.note("a", at(50, 1_000), 1_000);
  rate.note("b", at(0, 0), 2_000);
  rate.note("b", at(1, 2), 3_000);
  expect(rate.progress(at(1, 2))).toMatchObject({ prefillPerS: 1, decodePerS: 2 });
  rate.note("b", null, 4_000);
  expect(rate.progress(at(1, 2))).toMatchObject({ prefillPerS: 0, decodePerS: 0 });
});
