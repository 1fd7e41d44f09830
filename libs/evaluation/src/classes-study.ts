/** Requests of two kinds on one instance, with and without classes in its SLO: how many of each are kept. */
import { DEFAULT_GUARDS, DEFAULT_SEARCH } from "@fulcrum/core/defaults.js";
import type { PolicyConfig } from "@fulcrum/core/decision.js";
import { type SloPromise, type SloTarget, UNCONTROLLED, WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import type { RequestOutcome } from "./outcome.js";
import { policyController } from "./policy-controller.js";
import { runLane } from "./run-lane.js";

export interface ClassesRow {
  readonly slo: string;
  /** Of each kind, in the order of the promises: the share of its own requests within its own bounds. */
  readonly shares: readonly number[];
  readonly moves: number;
}

/** A promise to the requests of one kind. */
export interface KindPromise {
  readonly kind: string;
  readonly promise: SloPromise;
}

export interface ClassesStudy {
  readonly profile: Profile;
  readonly requests: readonly SimRequest[];
  /** The one that goes first, and the other. */
  readonly promises: readonly [KindPromise, KindPromise];
}

const INTERVAL_MS = 5_000;
const PREPARE_MS = 2_000;
const DRAIN_MS = 120_000;
/** The policy begins knowing nothing: its first two minutes count for nobody. */
export const WARM_UP_MS = 120_000;

/** Rows: nobody decides, then `search` told of one promise alone, of the other alone, of both in either order. */
export function classesStudy(study: ClassesStudy): readonly ClassesRow[] {
  const [first, second] = study.promises;
  const both = (own: KindPromise, below: KindPromise): SloTarget => ({
    ...own.promise,
    classes: [{ name: below.kind, ...below.promise }],
  });
  return [
    rowOf(study, "nobody decides, 100/100", null, first.promise),
    rowOf(study, `${first.kind} alone`, SEARCH, first.promise),
    rowOf(study, `${second.kind} alone`, SEARCH, second.promise),
    rowOf(study, `${first.kind}, then ${second.kind}`, SEARCH, both(first, second)),
    rowOf(study, `${second.kind}, then ${first.kind}`, SEARCH, both(second, first)),
  ];
}

const SEARCH: PolicyConfig = { name: "search", params: DEFAULT_SEARCH };

function rowOf(study: ClassesStudy, name: string, policy: PolicyConfig | null, slo: SloTarget): ClassesRow {
  const { profile, requests, promises } = study;
  const common = { initial: UNCONTROLLED, controlIntervalMs: INTERVAL_MS };
  const { outcomes, switches } = runLane({
    profile,
    requests,
    slo,
    controller:
      policy && policyController({ policy, guards: DEFAULT_GUARDS, limits: WIDEST_LIMITS, ...common }),
    prepareMs: PREPARE_MS,
    drainMs: DRAIN_MS,
    ...common,
  });
  const shares = promises.map(({ kind, promise }) =>
    withinShare(
      outcomes.filter((each, i) => requests[i]?.kind === kind && each.arrivalMs >= WARM_UP_MS),
      promise,
    ),
  );
  return { slo: name, shares, moves: switches.length };
}

/** One that never finished is not within its bounds. */
export function withinShare(outcomes: readonly RequestOutcome[], { ttft, tpot }: SloPromise): number {
  const within = outcomes.filter(
    ({ ttftMs, tpotMs, finishedAtMs }) =>
      finishedAtMs !== null && ttftMs !== null && ttftMs <= ttft.boundMs && (tpotMs ?? 0) <= tpot.boundMs,
  );
  return outcomes.length === 0 ? 1 : within.length / outcomes.length;
}
