import { Readable } from "node:stream";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MAX_BUCKETS, okShare, percentile, sampleCount } from "@fulcrum/core/signal/histogram.js";
import { coarsen } from "./coarsen.js";
import { MAX_LINE_CHARS, readLines } from "./lines.js";

async function linesOf(chunks: readonly (string | Uint8Array)[]) {
  const lines: string[] = [];
  for await (const line of readLines(Readable.from(chunks)))
    lines.push("text" in line ? line.text : "TOO LONG");
  return lines;
}

describe("readLines", () => {
  test("does not mind where the chunks are cut", async () => {
    const text = 'one\n{"a":"žluťoučký"}\n\nlast';
    const bytes = new TextEncoder().encode(text);
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.integer({ min: 1, max: bytes.length - 1 })), async (cuts) => {
        const ends = [...cuts.sort((a, b) => a - b), bytes.length];
        const chunks = ends.map((end, i) => bytes.slice(ends[i - 1] ?? 0, end));
        expect(await linesOf(chunks)).toEqual(text.split("\n"));
      }),
    );
  });

  test("a line that is too long is dropped, also in pieces, and the next one is whole", async () => {
    const half = "x".repeat(MAX_LINE_CHARS * 0.6);
    expect(await linesOf([half, half, half, "tail\nnext\n"])).toEqual(["TOO LONG", "next"]);
    expect(await linesOf([half, half])).toEqual(["TOO LONG"]);
  });
});

describe("coarsen", () => {
  const boundsMs = Array.from({ length: 200 }, (_, i) => 5 * 1.05 ** i);
  const histograms = fc
    .array(fc.nat(50), { minLength: 201, maxLength: 201 })
    .map((counts) => ({ boundsMs, counts, sumMs: 1 }));

  test("keeps every sample, the share within the kept bounds, and the wire's bound on buckets", () => {
    fc.assert(
      fc.property(histograms, fc.integer({ min: 10, max: 50_000 }), (histogram, slo) => {
        fc.pre(sampleCount(histogram) > 0);
        const coarse = coarsen(histogram, [slo]);
        expect(coarse.counts.length).toBeLessThanOrEqual(MAX_BUCKETS);
        expect(coarse.counts.length).toBe(coarse.boundsMs.length + 1);
        expect(sampleCount(coarse)).toBe(sampleCount(histogram));
        expect(okShare(coarse, slo)?.share).toBeCloseTo(okShare(histogram, slo)?.share ?? 0, 9);
        const median = percentile(histogram, 0.5)?.ms ?? 0;
        expect(Math.abs((percentile(coarse, 0.5)?.ms ?? 0) / median - 1)).toBeLessThan(0.25);
      }),
    );
  });

  test("leaves a small one alone", () => {
    const small = { boundsMs: [1, 2], counts: [1, 2, 3], sumMs: 9 };
    expect(coarsen(small, [1])).toBe(small);
  });
});
