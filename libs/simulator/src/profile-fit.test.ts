import * as fc from "fast-check";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { fitProfile, type ProfileFit } from "./profile-fit.js";
import { fitCurves } from "./profile-fit-curves.js";
import { fitNonNegative } from "./profile-fit-linear.js";
import { fitPhase } from "./profile-fit-phase.js";
import {
  parseSmSharePoints,
  parseStepPoints,
  type SmSharePoint,
  type StepPoint,
  type StepPoints,
} from "./profile-fit-points.js";
import { parseProfile } from "./profile.js";
import { createRandom } from "./random.js";
import { kernelMsOf } from "./step-time.js";
import { makeProfile } from "./testing/kit.js";

const ALL = { model: null, tp: null };
const positive = (max: number) => fc.double({ min: max / 1000, max, noNaN: true });
const decodePlaces = [1, 4, 16, 64, 256].flatMap((batchSize) =>
  [16, 256, 4096].map((length) => ({ batchSize, length })),
);
const prefillPlaces = [32, 128, 512, 2048, 8192].flatMap((length) =>
  [1, 2].map((batchSize) => ({ batchSize, length })),
);

function stepsOf(p: readonly number[], d: readonly number[], factor: () => number = () => 1): StepPoints {
  const at = (k: readonly number[], size: number, weight: number) =>
    (k[0]! + k[1]! * size + k[2]! * weight) * factor();
  return {
    label: "made up",
    tp: null,
    prefill: prefillPlaces.map(({ batchSize: b, length: l }) => ({
      batchSize: b,
      length: l,
      ms: at(p, b * l, b * l * l),
    })),
    decode: decodePlaces.map(({ batchSize: b, length: l }) => ({
      batchSize: b,
      length: l,
      ms: at(d, b, b * l),
    })),
  };
}

/** Step times that slow down exactly as a/f + b, with the same curve for all sizes of a phase. */
function sharesOf(prefill: readonly [number, number], decode: readonly [number, number]): SmSharePoint[] {
  const shares = [30, 50, 70, 100];
  const batches = [1, 8, 64, 128].flatMap((batchSize) => [64, 512].map((length) => ({ batchSize, length })));
  return shares.flatMap((smPct) =>
    batches.map(({ batchSize, length }) => ({
      smPct,
      batchSize,
      length,
      prefillMs: 0.1 * batchSize * length * ((prefill[0] * 100) / smPct + prefill[1]),
      decodeMs: (5 + batchSize) * ((decode[0] * 100) / smPct + decode[1]),
    })),
  );
}

function fitOf(
  steps: StepPoints,
  withGrid = false,
  smShares: readonly SmSharePoint[] | null = null,
): ProfileFit {
  return fitProfile({
    name: "fitted",
    steps,
    smShares: smShares === null ? null : { label: "made up", points: smShares },
    base: makeProfile({ name: "base" }),
    withGrid,
    sources: "test",
  });
}

describe("fitting kernel coefficients", () => {
  it("recovers the coefficients that made the measurements", () => {
    const coefficients = fc.tuple(positive(20), positive(0.2), positive(1e-5));
    fc.assert(
      fc.property(coefficients, coefficients, (p, d) => {
        const { profile, phases } = fitOf(stepsOf(p, d));
        for (const [i, want] of p.entries()) expect(profile.prefill.kernelMs[i]).toBeCloseTo(want, 5);
        for (const [i, want] of d.entries()) expect(profile.decode.kernelMs[i]! / want - 1).toBeCloseTo(0, 3);
        expect(phases.every((fit) => fit.goodness.mapePct < 0.1)).toBe(true);
      }),
    );
  });

  it("never puts a coefficient below zero, and says which it held", () => {
    // Times that fall short of proportional: the free fit of the squared term is negative.
    const points = [32, 128, 512, 2048, 8192].map((length): StepPoint => ({
      batchSize: 1,
      length,
      ms: 5 + length ** 0.9 / 10,
    }));
    const fit = fitPhase("prefill", points);
    expect(fit.kernelMs.every((value) => value >= 0)).toBe(true);
    expect(fit.heldAtZero).toEqual(["p2"]);
  });

  it("reports a lower R2 and a greater error the noisier the measurements are", () => {
    const goodness = (noise: number) => {
      const random = createRandom(7, 0);
      const steps = stepsOf([8, 0.06, 2e-6], [11, 0.05, 1e-4], () =>
        Math.exp(noise * (random.uniform() - 0.5)),
      );
      return fitPhase("decode", steps.decode).goodness;
    };
    const [none, some, much] = [goodness(0), goodness(0.3), goodness(1.2)];
    expect(none.r2).toBeCloseTo(1, 9);
    expect(some.r2).toBeLessThan(none.r2!);
    expect(much.r2).toBeLessThan(some.r2!);
    expect(much.mapePct).toBeGreaterThan(some.mapePct);
    expect(some.mapePct).toBeGreaterThan(1);
  });

  it("finds the optimum under the constraint, not the free optimum cut off at zero", () => {
    // Free solution: (2, -1); the best with both at least 0 is (0.8, 0), while cutting off would leave (2, 0).
    const rows = [
      [1, 1],
      [1, 2],
      [0, 1],
    ];
    const targets = [1, 0, -1];
    const best = fitNonNegative(rows, targets, [1, 1, 1])!;
    const cost = (c: readonly number[]) =>
      rows.reduce((sum, row, i) => sum + (row[0]! * c[0]! + row[1]! * c[1]! - targets[i]!) ** 2, 0);
    expect(best.every((value) => value >= 0)).toBe(true);
    fc.assert(
      fc.property(positive(3), positive(3), (a, b) => {
        expect(cost(best)).toBeLessThanOrEqual(cost([a, b]) + 1e-9);
        expect(cost(best)).toBeLessThanOrEqual(cost([a, 0]) + 1e-9);
      }),
    );
  });

  it("refuses too few points and points that cannot tell the terms apart, naming what is missing", () => {
    const decode = (points: readonly (readonly [number, number])[]) =>
      points.map(([batchSize, length]): StepPoint => ({ batchSize, length, ms: 10 + batchSize }));
    expect(() => fitPhase("decode", decode([[1, 16]]))).toThrow(
      "decode: too few measurements to fit: needs at least 5 step times, has 1; at least 2 different batch sizes, has 1",
    );
    const oneContext = decode([1, 2, 4, 8, 16].map((batch) => [batch, 1024] as const));
    expect(() => fitPhase("decode", oneContext)).toThrow("different contexts per sequence, has 1");
    const samePrompt = [1, 2, 3, 4, 5].map((batchSize): StepPoint => ({
      batchSize,
      length: 512,
      ms: batchSize,
    }));
    expect(() => fitPhase("prefill", samePrompt)).toThrow("measure prompts of several lengths");
  });
});

describe("fitting SM-share curves", () => {
  it("recovers the curve that made the measurements", () => {
    const share = fc.double({ min: 0.05, max: 1, noNaN: true });
    const curve = fc.tuple(share, share);
    fc.assert(
      fc.property(curve, curve, (prefill, decode) => {
        for (const fit of fitCurves(sharesOf(prefill, decode))) {
          const [a, b] = fit.phase === "prefill" ? prefill : decode;
          // Only the shape counts: slowdowns are relative to all SMs.
          expect(fit.curve.a).toBeCloseTo(a / (a + b), 6);
          expect(fit.curve.b).toBeCloseTo(b / (a + b), 6);
          expect(fit.mapePct).toBeCloseTo(0, 6);
        }
      }),
    );
  });

  it("is not moved by a single outlier", () => {
    const points = sharesOf([0.7, 0.3], [0.4, 0.6]);
    const spoilt = points.map((point) =>
      point.smPct === 50 && point.batchSize === 64 && point.length === 512
        ? { ...point, prefillMs: point.prefillMs! * 5 }
        : point,
    );
    const large = fitCurves(spoilt).find((fit) => fit.phase === "prefill" && fit.end === "large")!;
    expect(large.curve.a).toBeCloseTo(0.7, 6);
    expect(large.mapePct).toBeGreaterThan(1);
  });

  it("names every curve that the measurements do not reach", () => {
    const small = sharesOf([0.7, 0.3], [0.4, 0.6]).filter((point) => point.batchSize <= 8);
    expect(() => fitCurves(small)).toThrow(
      "decode of at least 64 sequences needs the same batches at 100 % and at 3 lower shares, has 0",
    );
    const withoutFull = sharesOf([0.7, 0.3], [0.4, 0.6]).filter((point) => point.smPct < 100);
    expect(() => fitCurves(withoutFull)).toThrow("prefill of at most 256 prompt tokens needs");
  });
});

describe("reading measurements", () => {
  const HEAD = "model,phase,batch_size,len_or_ctx_per_seq,ms";

  it("names the rows that are garbage", () => {
    const text = `${HEAD}\nm,prefill,1,32,5\nm,prefill,1,x,5\nm,warmup,1,32,5\nm,decode,1,16,-2\n`;
    expect(() => parseStepPoints(text, "steps.csv", ALL)).toThrow(
      'steps.csv:3: batch_size, len_or_ctx_per_seq and ms must be above 0; steps.csv:4: phase must be prefill or decode, got "warmup"; steps.csv:5: ',
    );
    const many = `${HEAD}\n${"m,prefill,1,32,\n".repeat(9)}`;
    expect(() => parseStepPoints(many, "steps.csv", ALL)).toThrow("and 4 more rows");
    const shares = "sm_pct,batch_size,seq_len,prefill_ms,decode_step_ms\n50,1,32,,9\n120,1,32,5,5\n";
    expect(() => parseSmSharePoints(shares, "sm.csv", ALL)).toThrow(/^sm\.csv:3: sm_pct must be above 0/);
  });

  it("asks which model when a file has several, and says which there are", () => {
    const text = `${HEAD}\na,prefill,1,32,5\nb,prefill,1,32,6\n`;
    expect(() => parseStepPoints(text, "steps.csv", ALL)).toThrow(
      "has 2 kinds of rows; say which model or tp: a; b",
    );
    expect(parseStepPoints(text, "steps.csv", { model: "b", tp: null }).prefill[0]?.ms).toBe(6);
    expect(() => parseStepPoints(text, "steps.csv", { model: "c", tp: null })).toThrow("it has a; b");
  });

  it("takes an empty SM-share time as not run", () => {
    const text = "sm_pct,batch_size,seq_len,prefill_ms,decode_step_ms\n50,1,32,,9\n";
    expect(parseSmSharePoints(text, "sm.csv", ALL).points).toEqual([
      { smPct: 50, batchSize: 1, length: 32, prefillMs: null, decodeMs: 9 },
    ]);
  });
});

describe("a fitted profile", () => {
  it("can be written, read again and interpolates what was measured", () => {
    const random = createRandom(3, 0);
    const steps = stepsOf([8, 0.06, 2e-6], [11, 0.05, 1e-4], () => 1 + 0.02 * random.uniform());
    const { json, profile } = fitOf(steps, true, sharesOf([0.7, 0.3], [0.4, 0.6]));
    const again = parseProfile(JSON.parse(JSON.stringify(json)), "again.json");
    expect(again).toEqual(profile);
    for (const { batchSize, length, ms } of steps.decode) {
      expect(kernelMsOf(again.decode, batchSize, batchSize * length) / ms).toBeCloseTo(1, 1);
    }
    expect(fitOf(steps).profile.decode.grid).toBeUndefined();
  });

  it("keeps the base's curves and constants where nothing was measured, and says so", () => {
    const steps = stepsOf([8, 0.06, 2e-6], [11, 0.05, 1e-4]);
    const base = makeProfile();
    const fit = fitOf(steps);
    expect(fit.profile.decode.smShare).toEqual(base.decode.smShare);
    expect(fit.profile.contention).toMatchObject(base.contention);
    expect(fit.extrapolates.join("\n")).toContain(
      "no SM-share times were given; the curves are those of base",
    );
  });

  it("lists batches and shares beyond what was measured, and not those within", () => {
    const steps = stepsOf([8, 0.06, 2e-6], [11, 0.05, 1e-4]);
    const shares = sharesOf([0.7, 0.3], [0.4, 0.6]);
    const within = fitOf(steps, false, shares).extrapolates.join("\n");
    expect(within).toContain("SM shares below 30 %");
    expect(within).not.toContain("Decode above");
    const narrow = { ...steps, decode: steps.decode.filter((point) => point.batchSize <= 16) };
    expect(fitOf(narrow, false, shares).extrapolates.join("\n")).toContain(
      "Decode above 16 sequences; the profile allows 32",
    );
  });
});

const dataDir = new URL("../../../../shared/data/", import.meta.url);
const profiles = process.env["FULCRUM_DATA_DIR"] ?? fileURLToPath(dataDir);
const hasData = existsSync(`${profiles}/profiles/fits_a100.json`);
const why = hasData
  ? ""
  : " (skipped: there is no profiles/fits_a100.json under FULCRUM_DATA_DIR or ../shared/data)";

describe.skipIf(!hasData)(`the published A100 fits${why}`, () => {
  const read = (name: string) => readFileSync(`${profiles}/profiles/${name}`, "utf8");
  const fits = hasData
    ? (
        JSON.parse(read("fits_a100.json")) as {
          composed_from_measured_operators: Record<string, Record<string, number[]>>;
        }
      ).composed_from_measured_operators
    : {};

  it.each([
    ["Llama-3-8B A100", "Llama-3-8B A100-80GB TP1"],
    ["Llama-3-70B A100", "Llama-3-70B A100-80GB TP4"],
  ])("come out of the step times of %s", (model, published) => {
    const steps = parseStepPoints(read("step_times_a100.csv"), "steps", { model, tp: null });
    const fit = (phase: "prefill" | "decode") => fitPhase(phase, steps[phase]).kernelMs;
    const want = fits[published]!;
    for (const i of [0, 1, 2]) {
      expect(fit("prefill")[i]! / want["prefill_all_T>=32"]![i]! - 1).toBeCloseTo(0, 3);
      expect(fit("decode")[i]! / want["decode"]![i]! - 1).toBeCloseTo(0, 3);
    }
    const { goodness } = fitPhase("decode", steps.decode);
    expect(goodness.r2).toBeCloseTo((want as unknown as Record<string, number>)["decode_R2"]!, 3);
    expect(goodness.mapePct).toBeCloseTo((want as unknown as Record<string, number>)["decode_MAPE_pct"]!, 1);
  });

  it.each([
    ["llama-7b", [0.366, 0.593], [0.709, 0.257], [0.183, 0.786], [0.359, 0.616]],
    ["llama-65b", [0.481, 0.509], [0.569, 0.404], [0.116, 0.849], [0.468, 0.517]],
  ])("and the SM-share curves out of the medians of %s", (model, ...want) => {
    const { points } = parseSmSharePoints(read("sm_share_step_times_a100_mps.csv"), "sm", {
      model,
      tp: null,
    });
    const found = fitCurves(points).map(({ curve }) => [curve.a, curve.b]);
    // Published with three digits.
    for (const [i, pair] of want.entries()) {
      expect(Math.abs(found[i]![0]! - pair[0]!)).toBeLessThan(0.0016);
      expect(Math.abs(found[i]![1]! - pair[1]!)).toBeLessThan(0.0016);
    }
  });
});
