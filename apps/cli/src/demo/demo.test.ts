import type { DecisionSummary, ReconfigurationSummary } from "@fulcrum/contracts/resources.js";
import { histogramAt, SAMPLE_SLO, sampleWindow } from "@fulcrum/core/fixtures.js";
import { UNCONTROLLED } from "@fulcrum/core/nouns.js";
import { describe, expect, it } from "vitest";
import { closingText } from "./closing.js";
import { engineCounts, sampleOf, shareOfFinished } from "./engine-counts.js";
import { laneFigures, type DemoFigures } from "./figures.js";
import { LANES, type Lane } from "./lanes.js";
import { liveLines, wrapped } from "./live-view.js";
import { blankView, measured, type LaneView } from "./observe-lanes.js";
import { verdictOf } from "./verdict.js";

const EXPOSITION = `# HELP fulcrum_sim:slo_requests_total Finished requests against the two bounds
# TYPE fulcrum_sim:slo_requests_total counter
fulcrum_sim:slo_requests_total{result="both",model_name="llama {8b}"} 80
fulcrum_sim:slo_requests_total{result="ttft_only",model_name="llama {8b}"} 12
fulcrum_sim:slo_requests_total{result="neither",model_name="llama {8b}"} 8
fulcrum_sim:clock_seconds{model_name="llama"} 40.5
fulcrum_sim:requests_arrived_total 130
`;

const FEEDBACK: Lane = {
  name: "feedback",
  about: "Fulcrum moves the split",
  initial: UNCONTROLLED,
  policy: { name: "feedback" },
};

const START_MS = Date.parse("2026-11-22T12:00:00.000Z");
const at = (afterMs: number) => new Date(START_MS + afterMs).toISOString();
const decision = (afterMs: number, kind: "move" | "hold", reason: string) =>
  ({ at: at(afterMs), kind, reason }) as DecisionSummary;
const rollout = (state: string, durationMs: number | null) =>
  ({ state, durationMs, kind: "decision" }) as ReconfigurationSummary;

describe("engineCounts", () => {
  it("reads the counters; a result that never came is 0", () => {
    expect(engineCounts(EXPOSITION)).toEqual({
      clockS: 40.5,
      arrived: 130,
      both: 80,
      ttftOnly: 12,
      tpotOnly: 0,
      neither: 8,
    });
    expect(shareOfFinished(engineCounts(EXPOSITION), ["both", "ttftOnly"])).toBe(0.92);
    expect(shareOfFinished(engineCounts(""), ["both"])).toBeNull();
  });

  it("takes no metric for another whose name it begins", () => {
    expect(sampleOf("a_total 3\na 4\n", "a")).toBe(4);
    expect(sampleOf("a NaN\n", "a")).toBeNull();
  });
});

describe("laneFigures", () => {
  const figures = laneFigures(
    "feedback",
    engineCounts(EXPOSITION),
    {
      decisions: [
        decision(9_000, "move", "TTFT_MISSED"),
        decision(5_000, "move", "TTFT_MISSED"),
        decision(1_500, "hold", "THIN_SIGNAL"),
        decision(700, "hold", "NO_SIGNAL"),
      ],
      reconfigurations: [rollout("verified", 900), rollout("verified", 500), rollout("rolled_back", 4_000)],
      finalAllocation: null,
    },
    START_MS,
  );

  it("counts goodput per second of engine time and what had not finished", () => {
    expect(figures.attainmentShare).toBe(0.8);
    expect(figures.goodputPerS).toBeCloseTo(80 / 40.5, 10);
    expect(figures.requests.unfinished).toBe(30);
  });

  it("times the first decision and the first move from the start of the engines", () => {
    expect(figures.firstDecisionMs).toBe(700);
    expect(figures.firstMoveMs).toBe(5_000);
    expect(figures.moves).toEqual({ TTFT_MISSED: 2 });
    expect(figures.holds).toEqual({ THIN_SIGNAL: 1, NO_SIGNAL: 1 });
  });

  it("times the rollouts that were verified", () => {
    expect(figures.reconfigurations).toEqual({ count: 3, rolledBack: 1, failed: 0, p50Ms: 500, maxMs: 900 });
  });

  it("is all in the closing table, which fits 80 columns", () => {
    const demo: DemoFigures = {
      time: "real",
      startedAt: at(0),
      durationS: 90,
      speed: 4,
      seed: 1,
      load: "the bundled load",
      slo: SAMPLE_SLO,
      lanes: LANES.map(({ name }) => ({
        ...figures,
        name,
        // The widest that a split can be.
        finalAllocation: { split: { prefillSmPct: 85.2, decodeSmPct: 62.96 }, kvQuotaPct: 100 },
      })),
      verdict: "No clear winner.",
    };
    const text = closingText(demo, 80);
    for (const want of ["80 %", "1.98/s", "900 ms", "TTFT_MISSED 2", "No clear winner.", "not a benchmark"]) {
      expect(text).toContain(want);
    }
    expect(text).toContain("After 90 s (41 s of engine time at 4x)");
    expect(closingText({ ...demo, time: "virtual" }, 80)).toContain(
      "In virtual time, after 41 s of engine time",
    );
    const table = text.split("\n").filter((line) => /^ *FIXED|^ {2}took|at the end/.test(line));
    expect(table).toHaveLength(5);
    for (const line of table) expect(line.length).toBeLessThanOrEqual(80);
  });
});

describe("verdictOf", () => {
  const run = (name: string, attainmentShare: number | null, goodputPerS: number, unfinished = 0) => ({
    name,
    attainmentShare,
    goodputPerS,
    requests: {
      arrived: 100,
      finished: 100 - unfinished,
      unfinished,
      both: 0,
      ttftOnly: 0,
      tpotOnly: 0,
      neither: 0,
    },
  });

  it.each([
    ["names the best, whoever it is", [run("fixed", 0.95, 9), run("feedback", 0.7, 6)], /^fixed did best\./],
    [
      "tells two leaders apart",
      [run("a", 0.9, 5), run("b", 0.8, 6)],
      /^a kept the largest share .* b served the most/,
    ],
    ["calls a lead below one point none", [run("a", 0.905, 5), run("b", 0.9, 5.05)], /^No clear winner/],
    ["needs a finished request of each", [run("a", null, 0), run("b", 0.9, 5)], /^No verdict/],
    ["mentions a backlog", [run("a", 0.9, 5), run("b", 0.8, 4, 30)], /Not finished at the end.*b 30 of 100/],
    [
      "tells by how much search leads",
      [run("a", 0.8, 5), run("search", 0.862, 6), run("b", 0.7, 4)],
      /search leads a by 6\.2 points/,
    ],
    [
      "says plainly that search did not win",
      [run("search", 0.8, 5), run("a", 0.831, 6)],
      /search did not win: it is 3\.1 points of attainment behind a\./,
    ],
    [
      "calls it no win when the next is as good",
      [run("search", 0.805, 5), run("a", 0.8, 5)],
      /search did not win: a is as good, 0\.5 points of attainment apart/,
    ],
  ])("%s", (_, lanes, want) => expect(verdictOf(lanes)).toMatch(want));

  it("says nothing of a search that did not run", () => {
    expect(verdictOf([run("a", 0.9, 5), run("b", 0.8, 4)])).not.toContain("search");
  });
});

describe("the live view", () => {
  const windows = [sampleWindow({ seq: 2, ttft: histogramAt(900, 50) }), sampleWindow({ seq: 1 })];
  const seen: LaneView = {
    ...blankView(FEEDBACK),
    ...measured(windows, SAMPLE_SLO),
    counts: engineCounts(EXPOSITION),
    instance: {
      desired: { split: { prefillSmPct: 75, decodeSmPct: 50 }, kvQuotaPct: 100, generation: 4 },
      observed: { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100, generation: 3 },
      rollout: "preparing",
      lastDecision: {
        id: "",
        at: at(-12_000),
        kind: "move",
        reason: "TTFT_MISSED",
        message: `TTFT p90 is over its bound; ${"a long story ".repeat(20)}`,
      },
    } as unknown as LaneView["instance"],
  };
  const view = (lanes: readonly LaneView[], elapsedS = 31.4) => ({
    elapsedS,
    durationS: 90,
    speed: 4,
    slo: SAMPLE_SLO,
    lanes,
    nowMs: START_MS,
  });

  it("fits 80 columns and 23 rows, with and without data", () => {
    for (const lanes of [LANES.map(blankView), LANES.map((lane) => ({ ...seen, lane }))]) {
      const lines = liveLines(view(lanes), 80);
      expect(lines.length).toBeLessThanOrEqual(23);
      for (const line of lines) expect(Array.from(line).length).toBeLessThanOrEqual(80);
    }
  });

  it("says what is over its bound, what was asked and what is there, and why", () => {
    const text = liveLines(view([seen]), 80).join("\n");
    expect(text).toContain("31 s of 90 s");
    expect(text).toContain("10 req/s");
    expect(text).toMatch(/TTFT p90 1\.04 s OVER/);
    expect(text).toMatch(/TPOT p90 [\d.]+ ms ok/);
    expect(text).toContain("both 80 % of 100");
    expect(text).toContain("prefill 75 got 50     [######+++...]");
    expect(text).toContain("gen 4*");
    expect(text).toContain("12 s ago, move TTFT_MISSED");
  });

  it("leaves out of a fixed lane what never changes", () => {
    const fixed: Lane = { ...FEEDBACK, policy: { name: "static", params: { allocation: UNCONTROLLED } } };
    const text = liveLines(view([{ ...seen, lane: fixed }]), 80).join("\n");
    expect(text).toContain("both 80 % of 100");
    expect(text).not.toContain("got");
    expect(text).not.toContain("TTFT_MISSED");
  });

  it("counts down before the start", () => {
    expect(liveLines(view([], -2.2), 80)[0]).toContain("starts in 3 s");
  });

  it("has nothing to say without windows", () => {
    expect(measured([], SAMPLE_SLO)).toEqual({ arrivalPerS: null, ttft: null, tpot: null, kvShare: null });
  });

  it("breaks text at blanks and cuts the last line", () => {
    expect(wrapped("one two three four", 8, 2)).toEqual(["one two", "three f…"]);
    expect(wrapped("short", 8, 2)).toEqual(["short", ""]);
    expect(wrapped("unbreakable", 4, 2)).toEqual(["unbr", "eak…"]);
  });
});
