import type { PolicyConfig } from "@fulcrum/core/decision.js";
import { DEFAULT_SEARCH } from "@fulcrum/core/defaults.js";
import { WIDEST_LIMITS, type Allocation } from "@fulcrum/core/nouns.js";
import { OPEN_SPLIT } from "./best-fixed.js";
import { searchContender } from "./contenders.js";
import { quantile, type RequestOutcome } from "./outcome.js";
import { policyController } from "./policy-controller.js";
import { priorOf } from "./prior-of.js";
import { runLane, type Controller } from "./run-lane.js";
import { scenarioOf, type Scenario } from "./scenarios.js";
import type { World } from "./world.js";

/** Quotas held throughout, both caps open; and the search policy, which may move the quota or not. */
export const QUOTAS = [100, 75, 50, 25, 10] as const;
export type QuotaContender = (typeof QUOTAS)[number] | "search" | "search-quota";

/** Sizes of the KV pool, tokens: an A100's for an 8B model, and what is left beside others. */
export const POOL_TOKENS = [440_000, 120_000, 60_000] as const;

export interface QuotaLoad {
  readonly name: string;
  readonly scenario: Scenario;
  /** Of r_max. */
  readonly fraction: number;
}

/** Short prompts with long answers, all at once: what a quota should be good for. */
const STAMPEDE: Scenario = {
  ...scenarioOf("long-answers"),
  name: "stampede",
  title: "500 short prompts with long answers within a second, and few beside them",
  steady: false,
  slo: scenarioOf("chat-loose").slo,
  load: (fraction, maxPerS) => {
    const perS = 0.1 * fraction * maxPerS("long-answers");
    const stream = { kind: "long-answers", fromPerS: perS, toPerS: perS, cv: 1 };
    const burst = { kind: "long-answers", atMs: 5_000, overMs: 1_000, requests: 500 };
    return [{ name: "stampede", durationMs: STUDY_MS, streams: [stream], bursts: [burst] }];
  },
};

const STUDY_MS = 120_000;

export const QUOTA_LOADS: readonly QuotaLoad[] = [
  { name: "chat", scenario: lasting("chat-tight"), fraction: 0.85 },
  { name: "documents", scenario: lasting("documents-tight"), fraction: 0.75 },
  { name: "stampede", scenario: STAMPEDE, fraction: 1 },
];

/** A workload of the catalogue over STUDY_MS. */
function lasting(name: string): Scenario {
  const scenario = scenarioOf(name);
  return {
    ...scenario,
    durationMs: STUDY_MS,
    load: (fraction, maxPerS) =>
      scenario.load(fraction, maxPerS).map((phase) => ({ ...phase, durationMs: STUDY_MS })),
  };
}

export interface QuotaFigures {
  readonly requests: number;
  /** Share of all requests within both bounds. */
  readonly attained: number;
  readonly p99TtftMs: number | null;
  readonly p99TpotMs: number | null;
  readonly preemptions: number;
  /** Decisions that asked for a quota below 100 %. */
  readonly quotaMoves: number;
}

const CONTROL_MS = 5_000;
const PREPARE_MS = 2_000;
const DRAIN_MS = 120_000;

/** All seeds' requests counted together. Deterministic. */
export function runQuotaCell(
  world: World,
  load: QuotaLoad,
  poolTokens: number,
  contender: QuotaContender,
  seeds: readonly number[],
): QuotaFigures {
  const outcomes: RequestOutcome[] = [];
  let preemptions = 0;
  let quotaMoves = 0;
  for (const seed of seeds) {
    const initial: Allocation = {
      split: OPEN_SPLIT,
      kvQuotaPct: typeof contender === "number" ? contender : 100,
    };
    const lane = runLane({
      profile: { ...world.profile, kvTotalTokens: poolTokens },
      requests: world.requests(load.scenario, load.fraction, seed),
      slo: load.scenario.slo,
      initial,
      controller: typeof contender === "number" ? null : searchController(world, contender, initial),
      controlIntervalMs: CONTROL_MS,
      prepareMs: PREPARE_MS,
      drainMs: DRAIN_MS,
    });
    outcomes.push(...lane.outcomes);
    preemptions += lane.preemptions;
    quotaMoves += lane.switches.filter(({ to }) => to.kvQuotaPct < 100).length;
  }
  return {
    requests: outcomes.length,
    attained: outcomes.filter(({ ok }) => ok).length / Math.max(1, outcomes.length),
    p99TtftMs: quantile(
      outcomes.map(({ ttftMs }) => ttftMs),
      0.99,
    ),
    p99TpotMs: quantile(
      outcomes.map(({ tpotMs }) => tpotMs),
      0.99,
    ),
    preemptions,
    quotaMoves,
  };
}

function searchController(
  world: World,
  contender: "search" | "search-quota",
  initial: Allocation,
): Controller {
  const moveKvQuota = contender === "search-quota";
  const policy: PolicyConfig = {
    name: "search",
    params: { ...DEFAULT_SEARCH, moveKvQuota, prior: priorOf(world.profile) },
  };
  const told = searchContender({}, policy);
  if (told.kind !== "policy") throw new Error("the search contender is not a policy");
  return policyController({
    policy,
    guards: told.guards,
    limits: WIDEST_LIMITS,
    initial,
    controlIntervalMs: CONTROL_MS,
  });
}
