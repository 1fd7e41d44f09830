import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as fc from "fast-check";
import { parseProfile } from "./profile.js";
import { buildGrid, gridKernelMs, leansOnFit, type GridPoint, type KernelFit } from "./step-grid.js";
import { parseStepTimesCsv, withStepTimes } from "./step-time-table.js";
import { decodeStepMs, extrapolates, kernelMsOf, prefillStepMs } from "./step-time.js";
import { makeProfile } from "./testing/kit.js";

const fit: KernelFit = [10, 0.1, 1e-4];
// Batch 4 and 8 were not measured at a context of 1,000.
const table: GridPoint[] = [
  [1, 100, 11],
  [1, 1000, 12],
  [2, 100, 11.5],
  [2, 1000, 13],
  [4, 100, 12],
  [8, 100, 16],
];

describe("a grid of step times", () => {
  const grid = buildGrid(table, fit);

  it("gives back what was measured, and the geometric mean half-way between on a logarithmic axis", () => {
    for (const [size, length, ms] of table) expect(gridKernelMs(grid, fit, size, length)).toBeCloseTo(ms, 9);
    expect(gridKernelMs(grid, fit, Math.SQRT2, 100)).toBeCloseTo(Math.sqrt(11 * 11.5), 9);
    expect(gridKernelMs(grid, fit, 1, Math.sqrt(1e5))).toBeCloseTo(Math.sqrt(11 * 12), 9);
  });

  it("goes on beyond its edges and gaps in the proportion of the kernel fit", () => {
    const kernel = (size: number, length: number): number => 10 + 0.1 * size + 1e-4 * size * length;
    expect(gridKernelMs(grid, fit, 80, 100)).toBeCloseTo((16 * kernel(80, 100)) / kernel(8, 100), 9);
    expect(gridKernelMs(grid, fit, 2, 5000)).toBeCloseTo((13 * kernel(2, 5000)) / kernel(2, 1000), 9);
    expect(gridKernelMs(grid, fit, 8, 1000)).toBeCloseTo((16 * kernel(8, 1000)) / kernel(8, 100), 9);
  });

  it.each([
    [1, 100, false],
    [1.5, 500, false],
    [8, 100, false],
    [3, 500, true],
    [8, 101, true],
    [9, 100, true],
    [1, 99, true],
  ])("says of batch %d at %d tokens each whether the fit is needed: %s", (size, length, leans) => {
    expect(leansOnFit(grid, size, length)).toBe(leans);
  });

  it("pools a larger batch that was measured faster with its neighbours", () => {
    const dip = buildGrid(
      [
        [8, 100, 36],
        [16, 100, 42],
        [32, 100, 38],
        [64, 100, 47],
        [8, 200, 37],
      ],
      fit,
    );
    const pooled = Math.sqrt(42 * 38);
    const at = [8, 16, 32, 64].map((size) => gridKernelMs(dip, fit, size, 100));
    for (const [i, ms] of [36, pooled, pooled, 47].entries()) expect(at[i]).toBeCloseTo(ms, 9);
  });

  it("is never faster for more, whatever was measured, inside and beyond", () => {
    const points = fc.uniqueArray(
      fc.tuple(
        fc.integer({ min: 1, max: 9 }).map((i) => 2 ** i),
        fc.integer({ min: 4, max: 9 }).map((i) => 2 ** i),
        fc.double({ min: 1, max: 100, noNaN: true }),
      ),
      // Two sizes and two lengths at least: a table, not a line.
      { minLength: 30, maxLength: 50, selector: ([size, length]) => `${size},${length}` },
    );
    const size = fc.double({ min: 1, max: 2000, noNaN: true });
    const length = fc.double({ min: 1, max: 2000, noNaN: true });
    fc.assert(
      fc.property(points, size, length, size, length, (measured, s, l, moreS, moreL) => {
        const any = buildGrid(measured, fit);
        const less = gridKernelMs(any, fit, Math.min(s, moreS), Math.min(l, moreL));
        const more = gridKernelMs(any, fit, Math.max(s, moreS), Math.max(l, moreL));
        expect(less).toBeLessThanOrEqual(more * (1 + 1e-9));
      }),
      { numRuns: 300 },
    );
  });

  it("measured on single prompts is a line over tokens, with attention in the proportion of the fit", () => {
    const line = buildGrid(
      [
        [100, 100, 20],
        [400, 400, 60],
      ],
      fit,
    );
    expect(gridKernelMs(line, fit, 200, 200)).toBeCloseTo(Math.sqrt(20 * 60), 9);
    // 400 tokens as four prompts of 100: 10 + 40 + 4 against 10 + 40 + 16.
    expect(gridKernelMs(line, fit, 400, 100)).toBeCloseTo((60 * 54) / 66, 9);
    expect(leansOnFit(line, 400, 100)).toBe(false);
    expect(leansOnFit(line, 401, 401)).toBe(true);
  });

  it.each([
    [[], "must have points"],
    [[[1, 100, 0]], "must hold numbers above 0, got 1, 100, 0"],
    [
      [
        [1, 100, 3],
        [1, 100, 4],
      ],
      "has size 1, length 100 twice",
    ],
  ] as [GridPoint[], string][])("refuses %j", (points, message) => {
    expect(() => buildGrid(points, fit)).toThrow(message);
  });
});

describe("a profile with a grid", () => {
  const times = { prefill: [[100, 100, 20] as const, [400, 400, 60] as const], decode: table };
  const profile = withStepTimes(makeProfile(), times);

  it("takes kernel times from it, before SM share, contention and host time", () => {
    expect(decodeStepMs(profile, { sequences: 2, contextTokens: 2000 }, 1, true)).toBeCloseTo(
      13 * 1.2 + 2,
      9,
    );
    expect(prefillStepMs(profile, { tokens: 400, sumSq: 400 ** 2 }, 0.5, false)).toBeCloseTo(60 * 1.5 + 5, 9);
    expect(extrapolates(profile.decode, 2, 2000)).toBe(false);
    expect(extrapolates(profile.decode, 2, 2002)).toBe(true);
    expect(extrapolates(makeProfile().decode, 2, 2002)).toBe(false);
  });

  it("is read from JSON, and a bad grid is refused by field", () => {
    const phase = (names: string[], grid: unknown): object => ({
      kernelMs: Object.fromEntries(names.map((name, i) => [name, fit[i]])),
      engineMs: 2,
      smShare: { small: { size: 1, a: 0.5, b: 0.5 }, large: { size: 100, a: 0.5, b: 0.5 } },
      grid,
    });
    const decode = phase(["d0", "d1", "d2"], table);
    const json = { ...makeProfile(), prefill: phase(["p0", "p1", "p2"], times.prefill), decode };
    expect(kernelMsOf(parseProfile(json, "p.json").decode, 2, 2000)).toBeCloseTo(13, 9);
    const bad = (grid: unknown): unknown =>
      parseProfile({ ...json, decode: phase(["d0", "d1", "d2"], grid) }, "p.json");
    expect(() =>
      bad([
        [1, 2, 3],
        [1, 2],
      ]),
    ).toThrow("p.json: decode.grid[1] must be [size, length, ms]");
    expect(() =>
      bad([
        [1, 2, 3],
        [1, 2, 4],
      ]),
    ).toThrow("p.json: decode.grid has size 1, length 2 twice");
  });

  it("is read from CSV for one model", () => {
    const header = "model,system,phase,batch_size,len_or_ctx_per_seq,ms";
    const rows = ["m,x,prefill,2,50,9", "m,x,decode,4,100,12", "other,x,decode,4,100,99"];
    expect(parseStepTimesCsv([header, ...rows].join("\n"), "t.csv", "m")).toEqual({
      prefill: [[100, 50, 9]],
      decode: [[4, 100, 12]],
    });
    expect(() => parseStepTimesCsv([header, "m,x,both,1,1,1"].join("\n"), "t.csv", "m")).toThrow(
      't.csv:2: phase must be prefill or decode, got "both"',
    );
    expect(() => parseStepTimesCsv([header, ...rows].join("\n"), "t.csv", "none")).toThrow(
      "t.csv: has no prefill or no decode of none",
    );
  });
});

// Published step times that the repository does not contain; skipped where they are absent.
const dataDir =
  process.env["FULCRUM_DATA_DIR"] ?? new URL("../../../../shared/data", import.meta.url).pathname;
const file = `${dataDir}/profiles/step_times_a100.csv`;

describe.skipIf(!existsSync(file))("the A100 step times", () => {
  const read = (model: string) => parseStepTimesCsv(readFileSync(file, "utf8"), file, model);
  const fit8b: KernelFit = [10.918, 0.04549, 113e-6];
  const fit70b: KernelFit = [31.19, 0.13752, 90.9e-6];

  it("of 8B are met within 1 % by the grid, where the fit is off by more than 10 %", () => {
    const { decode } = read("Llama-3-8B A100");
    const grid = buildGrid(decode, fit8b);
    const worst = (predict: (size: number, length: number) => number): number =>
      Math.max(...decode.map(([size, length, ms]) => Math.abs(predict(size, length) / ms - 1)));
    expect(worst((size, length) => gridKernelMs(grid, fit8b, size, length))).toBeLessThan(0.01);
    expect(worst((size, length) => fit8b[0] + fit8b[1] * size + fit8b[2] * size * length)).toBeGreaterThan(
      0.1,
    );
  });

  it("of 70B fall with a larger batch in places, and the grid does not", () => {
    const { decode } = read("Llama-3-70B A100");
    const grid = buildGrid(decode, fit70b);
    const ms = (size: number, length: number): number | undefined =>
      decode.find((point) => point[0] === size && point[1] === length)?.[2];
    let falls = 0;
    for (const length of [16, 64, 256, 1024]) {
      for (const size of [1, 2, 4, 8, 16, 32, 64]) {
        if ((ms(2 * size, length) ?? Infinity) < (ms(size, length) ?? 0)) falls += 1;
        const [less, more] = [size, 2 * size].map((batch) => gridKernelMs(grid, fit70b, batch, length));
        expect(less).toBeLessThanOrEqual((more ?? 0) * (1 + 1e-9));
      }
    }
    expect(falls).toBeGreaterThan(0);
  });
});
