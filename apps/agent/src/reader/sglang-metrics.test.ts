import { describe, expect, test } from "vitest";
import { expositionOf } from "../testing/exposition-text.js";
import { snapshotOf } from "./engine-metrics.js";
import { ReadError } from "./engine-reader.js";
import { SGLANG } from "./sglang-metrics.js";

const AT = { atMs: 1_000, monotonicMs: 10 };
const read = (text: string) => snapshotOf(SGLANG, [{ text }], AT);
const codeOf = (act: () => unknown): string => {
  try {
    act();
    return "none";
  } catch (error) {
    return error instanceof ReadError ? `${error.code}: ${error.message}` : String(error);
  }
};

describe("SGLang's metrics", () => {
  test("become milliseconds and counts per bucket", () => {
    const snapshot = read(expositionOf({ arrivals: 9, finished: 7 }));
    expect(snapshot.counters).toMatchObject({
      finished: 7,
      promptTokens: 700,
      outputTokens: 350,
      arrivals: 9,
    });
    expect(snapshot.ttft).toEqual({
      boundsMs: [100, 300, 1_000],
      counts: [0, 7, 0, 0],
      sumMs: expect.closeTo(1_400),
    });
    expect(snapshot.tpot?.boundsMs).toEqual([20, 50, 100]);
    expect(snapshot.gauges).toMatchObject({
      waiting: 0,
      running: 2,
      kvTotalTokens: null,
      kvUsedTokens: null,
    });
  });

  test("are summed over what shares no requests, and taken once of what does", () => {
    const snapshot = read(
      [
        'sglang:num_running_reqs{dp_rank="0",tp_rank="0"} 3',
        'sglang:num_running_reqs{dp_rank="1",tp_rank="0"} 4',
        'sglang:num_running_reqs{dp_rank="0",tp_rank="1"} 3',
        'sglang:num_running_reqs{dp_rank="0",tp_rank="0",pp_rank="1"} 3',
        'sglang:num_queue_reqs{new_label="x"} 5',
        "",
      ].join("\n"),
    );
    expect(snapshot.gauges).toMatchObject({ running: 7, waiting: 5 });
  });

  test("what engine-sim exposes besides is preferred: its clock, arrivals, TPOT per request, busy time", () => {
    const snapshot = read(
      `${expositionOf({ arrivals: 2, finished: 1 })}
fulcrum_sim:clock_seconds 12.5
fulcrum_sim:busy_seconds_total{phase="prefill"} 3
fulcrum_sim:busy_seconds_total{phase="decode"} 4
fulcrum_sim:request_time_per_output_token_seconds_bucket{le="0.035"} 1
fulcrum_sim:request_time_per_output_token_seconds_bucket{le="+Inf"} 1
fulcrum_sim:request_time_per_output_token_seconds_sum 0.03
`,
    );
    expect(snapshot.engineClockMs).toBe(12_500);
    expect(snapshot.counters).toMatchObject({ prefillBusyMs: 3_000, decodeBusyMs: 4_000, preemptions: null });
    expect(snapshot.tpot).toEqual({ boundsMs: [35], counts: [1, 0], sumMs: 30 });
    expect(snapshot.tpotBasis).toBe("request");
    expect(read(expositionOf({ arrivals: 2, finished: 1 })).tpotBasis).toBe("token");
  });

  test("a fresh engine that has no series for what never happened reads as nothing yet, not as a failure", () => {
    const snapshot = read("sglang:num_running_reqs 0\nsglang:num_queue_reqs 0\n");
    expect(snapshot).toMatchObject({ ttft: null, tpot: null, counters: { finished: 0, arrivals: null } });
  });

  test.each([
    ["another program's metrics", "node_load1 0.5\n", /^missing_metric: sglang:num_running_reqs/],
    ["nothing at all", "", /^missing_metric/],
    [
      "an engine that finished requests and shows no TTFT",
      expositionOf({ arrivals: 1, finished: 1 }).replaceAll("time_to_first", "other"),
      /^missing_metric: sglang:time_to_first/,
    ],
    [
      "tokens that are not a number",
      expositionOf({ arrivals: 1, finished: 1 }).replace(/(generation_tokens_total\S+) \d+/, "$1 NaN"),
      /^malformed: sglang:generation_tokens_total must be 0/,
    ],
    [
      "a gauge below zero",
      "sglang:num_running_reqs -1\n",
      /^malformed: sglang:num_running_reqs must be 0..2\^53, got -1/,
    ],
    [
      "a clock that is not a number",
      "sglang:num_running_reqs 1\nfulcrum_sim:clock_seconds NaN\n",
      /^malformed: fulcrum_sim:clock_seconds must be 0..2\^53, got NaN/,
    ],
    [
      "buckets that fall",
      expositionOf({ arrivals: 5, finished: 5 }).replace(/(first\S+,le="\+Inf"}) 5/, "$1 4"),
      /^malformed: .* counts fall at le="Infinity"/,
    ],
    [
      "buckets that differ between label sets",
      `${expositionOf({ arrivals: 1, finished: 1 })}sglang:time_to_first_token_seconds_bucket{dp_rank="1",le="+Inf"} 1\n`,
      /^malformed: .* different buckets/,
    ],
    [
      "a histogram without +Inf",
      expositionOf({ arrivals: 1, finished: 1 }).replace(/^.*first.*\+Inf.*$/m, ""),
      /^malformed: .* has no \+Inf bucket/,
    ],
  ])("%s is a failure with a name", (_what, text, message) => {
    expect(codeOf(() => read(text))).toMatch(message);
  });
});
