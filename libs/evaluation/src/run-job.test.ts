import { describe, expect, it } from "vitest";
import { bestFixed, runFixed } from "./best-fixed.js";
import { CONTENDERS, CONTENDER_NAMES } from "./contenders.js";
import { runOracle } from "./oracle.js";
import { requestsOf, type LoadPhase } from "./load.js";
import { runJob, type Job, type Setting } from "./run-job.js";
import { runServing } from "./run-serving.js";
import { createInstance } from "@fulcrum/simulator/instance.js";
import { lengths, profile, slo, world } from "./testing/kit.js";
import { World } from "./world.js";

const setting: Setting = {
  scenario: "documents-tight",
  fraction: 0.8,
  seed: 1,
  plant: {},
  intervalMs: 5_000,
  prepareMs: 2_000,
};

const sources = { documents: lengths.documents.source, "long-answers": lengths["long-answers"].source };

/** Prompts take three times as long, so a third of them come: for what takes many runs. */
const slower = new World({
  profile: { ...profile, prefill: { ...profile.prefill, kernelMs: [15, 0.21, 0] } },
  lengths,
  traces: {},
});

/** A minute of long prompts near what can be prefilled, then a minute of long answers near what can be decoded. */
function turning(): { requests: ReturnType<typeof requestsOf>; slo: ReturnType<typeof slo> } {
  const phase = (kind: string, perS: number): LoadPhase => ({
    name: kind,
    durationMs: 60_000,
    streams: [{ kind, fromPerS: perS, toPerS: perS, cv: 1 }],
    bursts: [],
  });
  return {
    requests: requestsOf([phase("documents", 3.2), phase("long-answers", 12)], sources, 2),
    slo: slo(1500, 45),
  };
}

describe("a job", () => {
  it.each(CONTENDER_NAMES)("gives the same result twice, and after a trip through JSON: %s", (name) => {
    const job: Job = { type: "lane", setting, contender: CONTENDERS[name] };
    const first = runJob(world, job);
    expect(runJob(world, JSON.parse(JSON.stringify(job)) as Job)).toEqual(first);
  });

  it("counts every request between the edges, whoever serves it", () => {
    const counts = CONTENDER_NAMES.filter((name) => name !== "disaggregated").map((name) => {
      const result = runJob(world, { type: "lane", setting, contender: CONTENDERS[name] });
      return result.type === "lane" ? result.lane.requests : null;
    });
    expect(counts[0]).toBeGreaterThan(500);
    expect(new Set(counts).size).toBe(1);
  });

  it("gives a pair of GPUs the load of two", () => {
    const lane = (name: "disaggregated" | "100/100") => {
      const result = runJob(world, { type: "lane", setting, contender: CONTENDERS[name] });
      return result.type === "lane" ? result.lane.requests : 0;
    };
    expect(lane("disaggregated") / lane("100/100")).toBeCloseTo(2, 0);
  });

  it("finds no difference between (100,100) as a policy and as it is: the harness costs nothing", () => {
    const [policy, fixed] = (["static", "100/100"] as const).map((name) =>
      runJob(world, { type: "lane", setting, contender: CONTENDERS[name] }),
    );
    expect(policy).toEqual(fixed);
  });

  it("finds the highest rate that keeps 90 % within both bounds", () => {
    const contender = CONTENDERS["100/100"];
    const result = runJob(world, { type: "highest", setting, contender });
    const highest = result.type === "highest" ? result.fraction : Number.NaN;
    const attained = (fraction: number) => {
      const lane = runJob(world, { type: "lane", setting: { ...setting, fraction }, contender });
      return lane.type === "lane" ? lane.lane.bothOk : Number.NaN;
    };
    expect(attained(highest - 0.03)).toBeGreaterThan(0.9);
    expect(attained(highest + 0.03)).toBeLessThan(0.9);
  });

  it("finds no less for the clairvoyant, and a rate at which its bound keeps 90 %", () => {
    const fractionOf = (job: Job) => {
      const result = runJob(slower, job);
      return result.type === "highest" ? result.fraction : Number.NaN;
    };
    const oracle = fractionOf({ type: "highest-bound", setting });
    expect(oracle).toBeGreaterThanOrEqual(
      fractionOf({ type: "highest", setting, contender: CONTENDERS["100/100"] }),
    );
    const attained = (fraction: number) => {
      const result = runJob(slower, { type: "bounds", setting: { ...setting, fraction } });
      return result.type === "bounds" ? result.bounds.oracle.bothOk : Number.NaN;
    };
    expect(attained(oracle - 0.03)).toBeGreaterThan(0.9);
    expect(attained(oracle + 0.03)).toBeLessThan(0.9);
  }, 60_000);

  it("bounds every fixed split it could have chosen, and the oracle bounds the best of them", () => {
    const result = runJob(world, { type: "bounds", setting });
    if (result.type !== "bounds") throw new Error("wrong kind of result");
    const { best, oracle } = result.bounds;
    expect(oracle.bothOk).toBeGreaterThanOrEqual(best.bothOk);
    for (const name of ["100/100", "50/50"] as const) {
      const lane = runJob(world, { type: "lane", setting, contender: CONTENDERS[name] });
      if (lane.type === "lane") expect(best.bothOk).toBeGreaterThanOrEqual(lane.lane.bothOk);
    }
  });
});

describe("what is known at the first decision", () => {
  const boundsAt = (over: Partial<Setting>, withoutOracle?: boolean) => {
    const result = runJob(slower, { type: "bounds", setting: { ...setting, ...over }, withoutOracle });
    if (result.type !== "bounds") throw new Error("wrong kind of result");
    return result.bounds;
  };

  it("is one change to the best fixed split, an interval and the preparation after the start", () => {
    const { best, firstDecision } = boundsAt({ fraction: 0.9, intervalMs: 4_000, prepareMs: 1_500 });
    expect(best.split).not.toEqual({ prefillSmPct: 100, decodeSmPct: 100 });
    expect(firstDecision?.switches).toEqual([{ atMs: 5_500, to: best.split }]);
  });

  it("is worth less the later it is known: after the last arrival it is (100,100) again", () => {
    const [early = Number.NaN, late = Number.NaN, never = Number.NaN] = [5_000, 150_000, 400_000].map(
      (intervalMs) => boundsAt({ fraction: 0.7, intervalMs }).firstDecision?.bothOk,
    );
    const at = { ...setting, fraction: 0.7 };
    const open = runJob(slower, { type: "lane", setting: at, contender: CONTENDERS["100/100"] });
    expect(early).toBeGreaterThan(late);
    expect(late).toBeGreaterThan(never);
    expect(open).toMatchObject({ lane: { bothOk: never } });
  }, 60_000);

  it("is left out with the oracle", () => {
    expect(boundsAt({}, true).firstDecision).toBeNull();
  });
});

describe("the best fixed split", () => {
  it("is the same whether runs that stay behind are given up or not", () => {
    const given = { profile, ...turning(), drainMs: 60_000 };
    const [best] = bestFixed(given, 1);
    const [unhurried] = bestFixed(given, 1_000);
    expect(best.split).toEqual(unhurried.split);
    expect(best.misses).toBe(unhurried.misses);
    expect(runFixed(given, best.split)?.misses).toBe(best.misses);
  });
});

describe("a run that may give up", () => {
  it("does so only when the misses are certain", () => {
    const { requests, slo: bounds } = turning();
    const serve = (mostMisses?: number) =>
      runServing({
        serving: createInstance({
          profile,
          initial: { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100, generation: 1 },
        }),
        requests,
        slo: bounds,
        drainMs: 60_000,
        mostMisses,
      });
    const misses = serve()?.outcomes.filter((outcome) => !outcome.ok).length ?? 0;
    expect(misses).toBeGreaterThan(0);
    expect(serve(misses)).not.toBeNull();
    expect(serve(misses - 1)).toBeNull();
  });
});

describe("the oracle", () => {
  const given = turning();
  const candidates = [
    { prefillSmPct: 100, decodeSmPct: 40 },
    { prefillSmPct: 40, decodeSmPct: 100 },
  ];
  const times = { windowMs: 10_000, lookAheadMs: 20_000, drainMs: 60_000 };
  const run = runOracle({ profile, ...given, ...times, candidates });

  it("serves a load that turns better than either split that it may choose", () => {
    const missed = run.outcomes.filter((outcome) => !outcome.ok).length;
    const fixed = candidates.map(
      (split) => runFixed({ profile, ...given, drainMs: 60_000 }, split)?.misses ?? 0,
    );
    expect(missed).toBeLessThan(Math.min(...fixed) / 2);
  });

  it("changes at the start of a window, and after the load has turned to the other split", () => {
    expect(run.switches.length).toBeGreaterThan(0);
    expect(run.switches.every(({ atMs }) => atMs % 10_000 === 0)).toBe(true);
    expect(run.switches.at(-1)?.to.split).toEqual(candidates[1]);
  });

  it("leaves nobody out", () => {
    expect(run.outcomes).toHaveLength(given.requests.length);
  });
});
