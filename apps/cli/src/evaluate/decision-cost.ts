/** What one decision of the search policy costs in wall time: measured, so never the same twice. */
import { performance } from "node:perf_hooks";
import { DEFAULT_GUARDS, DEFAULT_SEARCH } from "@fulcrum/core/defaults.js";
import { UNCONTROLLED, WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import { policyController } from "@fulcrum/evaluation/policy-controller.js";
import { priorOf } from "@fulcrum/evaluation/prior-of.js";
import { runLane, type Controller } from "@fulcrum/evaluation/run-lane.js";
import { scenarioOf } from "@fulcrum/evaluation/scenarios.js";
import { quantile } from "@fulcrum/evaluation/outcome.js";
import type { DecisionCost } from "@fulcrum/evaluation/targets.js";
import type { World } from "@fulcrum/evaluation/world.js";

const SCENARIO = "changing-kinds";

/** The first decisions run code that is not compiled yet; a controller that lives for days does not see them. */
const WARM_UP = 100;

/** Times every decision of a lane that changes its kind, at one decision a second. */
export function decisionCost(world: World): NonNullable<DecisionCost> {
  const scenario = scenarioOf(SCENARIO);
  const requests = world.requests(scenario, 1, 1);
  const common = { initial: UNCONTROLLED, controlIntervalMs: 1_000 };
  const params = { ...DEFAULT_SEARCH, prior: priorOf(world.profile) };
  const controller = policyController({
    policy: { name: "search", params },
    guards: DEFAULT_GUARDS,
    limits: WIDEST_LIMITS,
    ...common,
  });
  const times: number[] = [];
  const timed: Controller = (sighting, instance) => {
    const startMs = performance.now();
    const answer = controller(sighting, instance);
    times.push(performance.now() - startMs);
    return answer;
  };
  const { profile } = world;
  runLane({
    profile,
    requests,
    slo: scenario.slo,
    controller: timed,
    prepareMs: 2_000,
    drainMs: 1_000,
    ...common,
  });
  const counted = times.slice(WARM_UP);
  return {
    p50Ms: quantile(counted, 0.5) ?? 0,
    p99Ms: quantile(counted, 0.99) ?? 0,
    decisions: counted.length,
  };
}
