import { WIDEST_LIMITS, type Allocation } from "@fulcrum/core/nouns.js";
import { DisaggregatedPair } from "@fulcrum/simulator/disaggregated.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import type { Serving } from "@fulcrum/simulator/serving.js";
import { UnifiedEngine } from "@fulcrum/simulator/unified.js";
import { OPEN_SPLIT, runFixed } from "./best-fixed.js";
import { boundsOf, oracleShare, type Bounds, type BoundsCase } from "./bounds.js";
import { gpusOf, type Contender, type EngineKind } from "./contender.js";
import { changedProfile, type PlantChange } from "./plant.js";
import { policyController } from "./policy-controller.js";
import { priorOf } from "./prior-of.js";
import { runLane } from "./run-lane.js";
import { runServing } from "./run-serving.js";
import { scenarioOf } from "./scenarios.js";
import { summarise, type LaneSummary, type Served } from "./summary.js";
import type { World } from "./world.js";

/** What all jobs have: where and under what they run. Plain JSON. */
export interface Setting {
  readonly scenario: string;
  /** Of r_max. */
  readonly fraction: number;
  readonly seed: number;
  /** How the simulated GPU differs from the profile. */
  readonly plant: PlantChange;
  readonly intervalMs: number;
  readonly prepareMs: number;
}

/** A piece of work for one core. */
export type Job =
  | {
      readonly type: "lane";
      readonly setting: Setting;
      readonly contender: Contender;
      readonly stretch?: number;
    }
  /** The best fixed split in hindsight and, unless it is not wanted, the clairvoyant oracle and what is known at the first decision. */
  | { readonly type: "bounds"; readonly setting: Setting; readonly withoutOracle?: boolean }
  /** The highest fraction with the promised attainment, by bisection; the setting's fraction is not used. */
  | { readonly type: "highest"; readonly setting: Setting; readonly contender: Contender }
  /** The same bisection over what the better of the oracle and the best fixed split attains at each fraction. */
  | { readonly type: "highest-bound"; readonly setting: Setting };

export type JobResult =
  | { readonly type: "lane"; readonly lane: LaneSummary }
  | { readonly type: "bounds"; readonly bounds: Bounds }
  | { readonly type: "highest"; readonly fraction: number };

/** Requests that have not finished so long after the last arrival never do. */
const DRAIN_MS = 120_000;

const OPEN: Allocation = { split: OPEN_SPLIT, kvQuotaPct: 100 };

/** Deterministic: the same world and job give the same result. */
export function runJob(world: World, job: Job): JobResult {
  const { setting } = job;
  if (job.type === "bounds") {
    return { type: "bounds", bounds: boundsOf(boundsCaseOf(world, setting), setting, job.withoutOracle) };
  }
  if (job.type === "highest") {
    const attained = (fraction: number) =>
      runContender(world, { ...setting, fraction }, job.contender).bothOk;
    return { type: "highest", fraction: highestFraction(setting, attained) };
  }
  if (job.type === "highest-bound") {
    const attained = (fraction: number) => oracleShare(boundsCaseOf(world, { ...setting, fraction }));
    return { type: "highest", fraction: highestFraction(setting, attained) };
  }
  return { type: "lane", lane: runContender(world, setting, job.contender, job.stretch) };
}

function runContender(world: World, setting: Setting, contender: Contender, stretch = 1): LaneSummary {
  const scenario = scenarioOf(setting.scenario);
  const fraction = setting.fraction * gpusOf(contender);
  const requests = world.requests(scenario, fraction, setting.seed, stretch);
  const served = serve(world, setting, contender, requests);
  return summarise(served, scenario.slo, scenario.durationMs * stretch);
}

function serve(
  world: World,
  setting: Setting,
  contender: Contender,
  requests: readonly SimRequest[],
): Served {
  const { slo } = scenarioOf(setting.scenario);
  const profile = changedProfile(world.profile, setting.plant);
  if (contender.kind === "policy") {
    const { intervalMs: controlIntervalMs, prepareMs } = setting;
    const { guards } = contender;
    const policy = toldPolicy(world, contender);
    const common = { initial: OPEN, controlIntervalMs };
    const controller = policyController({ policy, guards, limits: WIDEST_LIMITS, ...common });
    return runLane({ profile, requests, slo, controller, prepareMs, drainMs: DRAIN_MS, ...common });
  }
  const run =
    contender.kind === "fixed"
      ? runFixed({ profile, requests, slo, drainMs: DRAIN_MS }, contender.split)
      : runServing({ serving: engineOf(contender.engine, profile), requests, slo, drainMs: DRAIN_MS });
  if (run === null) throw new Error("a run without a limit was given up");
  return { ...run, switches: [] };
}

function toldPolicy(world: World, contender: Extract<Contender, { kind: "policy" }>) {
  const { policy, priorFrom } = contender;
  if (policy.name !== "search" || priorFrom === null) return policy;
  return {
    ...policy,
    params: { ...policy.params, prior: priorOf(changedProfile(world.profile, priorFrom)) },
  };
}

/** Llama-3-8B's KV in bf16; NVLink of an A100, one way. */
const KV_BYTES_PER_TOKEN = 131_072;
const LINK_GB_PER_S = 300;

function engineOf(engine: EngineKind, profile: Profile): Serving {
  if (engine === "disaggregated") {
    return new DisaggregatedPair({
      profile,
      kvBytesPerToken: KV_BYTES_PER_TOKEN,
      linkGbPerS: LINK_GB_PER_S,
    });
  }
  return new UnifiedEngine({ profile, scheduling: { kind: engine } });
}

function boundsCaseOf(world: World, setting: Setting): BoundsCase {
  const scenario = scenarioOf(setting.scenario);
  const profile = changedProfile(world.profile, setting.plant);
  const requests = world.requests(scenario, setting.fraction, setting.seed);
  return { scenario, fixed: { profile, requests, slo: scenario.slo, drainMs: DRAIN_MS } };
}

const LEAST_FRACTION = 0.3;
const GREATEST_FRACTION = 1.3;
const BISECTIONS = 7;

/** Bisects to 1/128 of r_max, then interpolates between the last two rates. */
function highestFraction(setting: Setting, attained: (fraction: number) => number): number {
  const { attainmentShare } = scenarioOf(setting.scenario).slo;
  let low = LEAST_FRACTION;
  let high = GREATEST_FRACTION;
  let atLow = 1;
  let atHigh = 0;
  for (let i = 0; i < BISECTIONS; i += 1) {
    const middle = (low + high) / 2;
    const share = attained(middle);
    if (share >= attainmentShare) {
      low = middle;
      atLow = share;
    } else {
      high = middle;
      atHigh = share;
    }
  }
  const inside = atLow > atHigh ? (atLow - attainmentShare) / (atLow - atHigh) : 0;
  return low + inside * (high - low);
}
