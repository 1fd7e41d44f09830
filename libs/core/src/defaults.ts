/** Values that a pool starts with, and why. The paper gives none of them (paper.md §4.1, fault 9). */
import type { FeedbackParams, GuardConfig, SearchParams, SemiPdParams } from "./decision.js";
import type { PolicyName } from "./nouns.js";
import { FEEDBACK_VERSION } from "./policy/feedback.js";
import { SEARCH_VERSION } from "./policy/search-memory.js";
import { SEMI_PD_VERSION } from "./policy/semi-pd-sample.js";
import { STATIC_VERSION } from "./policy/static.js";

/** Grows when a policy's answer to the same snapshot may change, or when it reads another state. */
export const POLICY_VERSIONS: Readonly<Record<PolicyName, number>> = {
  static: STATIC_VERSION,
  feedback: FEEDBACK_VERSION,
  "semi-pd": SEMI_PD_VERSION,
  search: SEARCH_VERSION,
};

/**
 * Windows older than this do not count. It only matters to quiet instances: a busy one is judged by its newest
 * 8 x minSamples requests, and two minutes give 30 requests at one request in four seconds.
 */
export const DEFAULT_LOOKBACK_MS = 120_000;

export const DEFAULT_GUARDS: GuardConfig = {
  // No bound in effect: the search policy scores what a jump costs, and each step on the way would cost a rollout
  // and a dwell. Feedback bounds its own reach (3 x 5 points). An operator who wants small steps lowers this.
  maxStepPct: 95,
  // Ten answers of a second, or two five-second windows, must have run wholly at the new split.
  dwellMs: 10_000,
  // A load that swings every ten minutes reverses six times an hour; a faster one is gone before its windows are in.
  flapBudget: 6,
  flapWindowMs: 3_600_000,
  // A p90 of 30 has three samples above it: the least that is not one slow request.
  minSamples: 30,
  // Three windows of five seconds lost in a row.
  staleAfterMs: 15_000,
  // At lambda x 1.1 an M/M/1 queue already holds ten requests; nearer than that is an outage in waiting.
  stabilityMargin: 1.1,
};

export const DEFAULT_FEEDBACK: FeedbackParams = {
  // The authors' code takes 3 steps of 2 points; 2 points of 132 SMs are under one granule of 8 SMs.
  stepPct: 5,
  maxSteps: 3,
  // The least that a phase keeps while the other one takes all: both still serve.
  floorPct: 10,
  // What the authors' code does (paper.md §4.3). Where caps may not overlap there is nothing to open, and it holds.
  bothMissed: "open",
  // The noise of a p90 over a few hundred requests.
  minBenefitShare: 0.05,
  moveKvQuota: true,
};

/** What branch `distserve_base` hard-codes (paper.md §7.2). Its targets, 500 and 100 ms, are the pool's SLO here. */
export const DEFAULT_SEMI_PD: SemiPdParams = {
  requestsPerDecision: 400,
  stepPct: 2,
  maxSteps: 3,
  floorPct: 80,
  tpotMargin: 1.1,
};

export const DEFAULT_SEARCH: SearchParams = {
  // In the first minutes of a load; the policy asks for more as the load stays what it is.
  minGainShare: 0.003,
  moveKvQuota: true,
  prior: null,
};
