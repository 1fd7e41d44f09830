/** One load on one, two, three instances: what they keep of the promise, and how many the model says it needs. */
import { needOf, type PoolNeed } from "@fulcrum/core/capacity.js";
import { DEFAULT_GUARDS, DEFAULT_SEARCH } from "@fulcrum/core/defaults.js";
import type { PolicyState } from "@fulcrum/core/decision.js";
import { type SloTarget, UNCONTROLLED, WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import { headroomOf } from "@fulcrum/core/policy/search-headroom.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { WARM_UP_MS, withinShare } from "./classes-study.js";
import { policyController } from "./policy-controller.js";
import { runLane } from "./run-lane.js";

export interface ReplicasRow extends PoolNeed {
  readonly instances: number;
  /** Of all requests after the warm-up. */
  readonly keptShare: number;
}

export interface ReplicasStudy {
  readonly profile: Profile;
  readonly requests: readonly SimRequest[];
  readonly slo: SloTarget;
  readonly instances: readonly number[];
}

const INTERVAL_MS = 5_000;
const PREPARE_MS = 2_000;
const DRAIN_MS = 120_000;

/** Requests go round the instances one after the other; each is decided on by `search`, which begins knowing nothing. */
export function replicasStudy({ profile, requests, slo, instances }: ReplicasStudy): readonly ReplicasRow[] {
  return instances.map((count) => {
    const lanes = Array.from({ length: count }, (_, lane) =>
      serve(
        profile,
        requests.filter((__, i) => i % count === lane),
        slo,
      ),
    );
    const outcomes = lanes.flatMap((lane) => lane.outcomes);
    const asked = lanes.map(({ state }) =>
      headroomOf({
        state,
        prior: null,
        slo,
        limits: WIDEST_LIMITS,
        kvTotalTokens: profile.kvTotalTokens,
        maxSequences: profile.maxBatch,
        maxBatchTokens: profile.maxBatchedTokens,
      }),
    );
    const keptShare = withinShare(
      outcomes.filter(({ arrivalMs }) => arrivalMs >= WARM_UP_MS),
      slo,
    );
    return { instances: count, keptShare, ...needOf({ instances: count, asked }) };
  });
}

function serve(profile: Profile, requests: readonly SimRequest[], slo: SloTarget) {
  let state: PolicyState | null = null;
  const lastMs = requests.at(-1)?.arrivalMs ?? 0;
  const common = { initial: UNCONTROLLED, controlIntervalMs: INTERVAL_MS };
  const decided = policyController({
    policy: { name: "search", params: DEFAULT_SEARCH },
    guards: DEFAULT_GUARDS,
    limits: WIDEST_LIMITS,
    ...common,
    // What it knows when the load ends: after that nothing comes.
    onDecision: (decision) => {
      if (decidedMs <= lastMs) state = decision.state;
    },
  });
  let decidedMs = 0;
  const { outcomes } = runLane({
    profile,
    requests,
    slo,
    controller: (sighting, instance) => {
      decidedMs = sighting.window.endAtMs;
      return decided(sighting, instance);
    },
    prepareMs: PREPARE_MS,
    drainMs: DRAIN_MS,
    ...common,
  });
  return { outcomes, state: state as PolicyState | null };
}
