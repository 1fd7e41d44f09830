import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Histogram, SloTarget } from "../nouns.js";
import { bucketAdvice, cutBucket, type EngineName } from "./bucket-advice.js";
import { okShare } from "./histogram.js";

const slo = (ttftMs: number, tpotMs: number): SloTarget => ({
  ttft: { percentile: 0.9, boundMs: ttftMs },
  tpot: { percentile: 0.9, boundMs: tpotMs },
  attainmentShare: 0.9,
});
const TTFT: Histogram = { boundsMs: [100, 200, 400], counts: [10, 20, 60, 10], sumMs: 30_000 };
const TPOT: Histogram = { boundsMs: [25, 50], counts: [5, 5, 0], sumMs: 300 };

describe("the bucket that a bound cuts", () => {
  test.each([
    { name: "on a bound: none", boundMs: 200, want: null },
    { name: "in the middle", boundMs: 300, want: { belowMs: 200, aboveMs: 400, share: 0.6, samples: 100 } },
    { name: "below the first", boundMs: 50, want: { belowMs: 0, aboveMs: 100, share: 0.1, samples: 100 } },
    { name: "above the last", boundMs: 900, want: { belowMs: 400, aboveMs: null, share: 0.1, samples: 100 } },
  ])("$name", ({ boundMs, want }) => {
    expect(cutBucket(TTFT, boundMs)).toEqual(want);
  });

  test("holds all the error there can be: the true share lies within it of the one that is shown", () => {
    const latencies = fc.array(fc.integer({ min: 1, max: 999 }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(latencies, fc.integer({ min: 1, max: 999 }), (values, boundMs) => {
        const boundsMs = [100, 250, 500];
        const index = (value: number) => boundsMs.filter((bound) => bound < value).length;
        const counts = [0, 1, 2, 3].map((i) => values.filter((value) => index(value) === i).length);
        const histogram = { boundsMs, counts, sumMs: values.reduce((sum, value) => sum + value, 0) };
        const truth = values.filter((value) => value <= boundMs).length / values.length;
        const shown = okShare(histogram, boundMs)?.share ?? Number.NaN;
        const error = cutBucket(histogram, boundMs)?.share ?? 0;
        expect(Math.abs(shown - truth)).toBeLessThanOrEqual(error + 1e-9);
      }),
    );
  });
});

describe("what to do about it", () => {
  const message = (engine: EngineName | null, ttftMs = 300) =>
    bucketAdvice(slo(ttftMs, 50), { ttft: TTFT, tpot: TPOT }, engine)[0]?.message;

  test("says how large the error is, and names the bounds on either side", () => {
    expect(message(null)).toBe(
      "The TTFT bound of 300 ms lies inside the engine's bucket 200-400 ms: 60 % of 100 samples fell into that bucket, " +
        "so attainment may err by as much. Give the engine a bucket bound at 0.3 s, or move the SLO to 200 or 400 ms.",
    );
  });

  test.each([
    [
      "sglang",
      "Start SGLang with --bucket-time-to-first-token 0.1 0.2 0.3 0.4, or move the SLO to 200 or 400 ms.",
    ],
    ["trtllm", "prometheus_metrics_config.time_to_first_token_buckets to [0.1, 0.2, 0.3, 0.4]"],
    ["vllm", "vLLM has no option for its buckets: move the SLO to 200 or 400 ms."],
    ["dynamo", "DYN_METRICS_TTFT_MIN=0.003 DYN_METRICS_TTFT_MAX=30 DYN_METRICS_TTFT_COUNT=25, or move"],
  ] as const)("in the words of %s", (engine, words) => {
    expect(message(engine)).toContain(words);
  });

  test("Dynamo's bounds as its frontend makes them from these variables hold the SLO", () => {
    const said = message("dynamo", 350) ?? "";
    const variable = (name: string) => Number(new RegExp(`TTFT_${name}=([\\d.]+)`).exec(said)?.[1]);
    const [min, max, count] = [variable("MIN"), variable("MAX"), variable("COUNT")];
    // generate_log_buckets of lib/llm/src/http/service/metrics.rs.
    const bounds = Array.from({ length: count }, (_, i) =>
      Number(Math.exp(Math.log(min) + ((Math.log(max) - Math.log(min)) * i) / (count - 1)).toPrecision(2)),
    );
    expect(bounds).toContain(0.35);
    expect(message("dynamo", 335)).toContain("move the SLO to 340 ms");
  });

  test("both bounds on buckets: nothing to say; nothing measured yet: the size is unknown", () => {
    expect(bucketAdvice(slo(200, 50), { ttft: TTFT, tpot: TPOT }, "vllm")).toEqual([]);
    const fresh = { ...TPOT, counts: [0, 0, 0] };
    const [only, ...more] = bucketAdvice(slo(200, 40), { ttft: null, tpot: fresh }, "sglang");
    expect(more).toEqual([]);
    expect(only).toMatchObject({ condition: "TpotBoundInsideBucket", cut: { share: null } });
    expect(only?.message).toContain(
      "not known yet. Start SGLang with --bucket-inter-token-latency 0.025 0.04 0.05",
    );
  });

  test("a full set of buckets gives up the one farthest away", () => {
    const boundsMs = Array.from({ length: 63 }, (_, i) => (i + 1) * 10);
    const ttft = { boundsMs, counts: Array.from({ length: 64 }, () => 0), sumMs: 0 };
    const said = bucketAdvice(slo(15, 50), { ttft, tpot: null }, "sglang")[0]?.message ?? "";
    const list = /token ([\d. ]+),/.exec(said)?.[1]?.split(" ") ?? [];
    expect(list).toHaveLength(63);
    expect(list.slice(0, 3)).toEqual(["0.01", "0.015", "0.02"]);
  });
});
