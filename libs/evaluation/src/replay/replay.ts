/** One instance's recorded time again in the simulator: at the allocations that were recorded, and under policies. */
import type { GuardConfig, PolicyConfig } from "@fulcrum/core/decision.js";
import { sameAllocation } from "@fulcrum/core/allocation.js";
import type { Allocation, Histogram, Limits, SloTarget, Window } from "@fulcrum/core/nouns.js";
import {
  addHistograms,
  okShare,
  percentile,
  sameBounds,
  sampleCount,
} from "@fulcrum/core/signal/histogram.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { quantile, type RequestOutcome } from "../outcome.js";
import { policyController } from "../policy-controller.js";
import { runLane, type Controller } from "../run-lane.js";
import { type PlacedWindow, placed, rebuiltRequests, speedOf } from "./rebuild.js";

/** At the SLO's percentiles and at the median; null without samples. Latencies of what ended in the time that counts. */
export interface ReplayFigures {
  readonly firstTokens: number;
  readonly finished: number;
  readonly ttftP50Ms: number | null;
  readonly ttftMs: number | null;
  readonly tpotP50Ms: number | null;
  readonly tpotMs: number | null;
  readonly ttftOkShare: number | null;
  readonly tpotOkShare: number | null;
  /** The product of the two: windows do not tell which request was late twice. */
  readonly attainmentShare: number | null;
  /** Changes of allocation, also in the time that does not count. */
  readonly moves: number;
}

export interface Driver {
  readonly policy: PolicyConfig;
  /** What the policy is told; what is judged is `ReplayInput.slo`. */
  readonly slo: SloTarget;
}

export interface ReplayInput {
  readonly windows: readonly Window[];
  /** What a generation ran; null: not known any more, and the one before is taken to go on. */
  readonly allocationOf: (generation: number) => Allocation | null;
  readonly profile: Profile;
  /** Every row is judged by it. */
  readonly slo: SloTarget;
  readonly guards: GuardConfig;
  readonly limits: Limits;
  /** Wall time, as guards are. */
  readonly controlIntervalMs: number;
  /** From a decision to its being in force, wall time. */
  readonly rolloutMs: number;
  readonly seed: number;
  readonly ran: Driver;
  /** Null: nothing else is asked. */
  readonly other: Driver | null;
}

export interface ReplayResult {
  /** Engine time, ms, of what counts. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly requests: number;
  readonly measured: ReplayFigures;
  readonly asRecorded: ReplayFigures;
  readonly ran: ReplayFigures;
  readonly other: ReplayFigures | null;
}

/** The simulated engine starts empty: so much of a longer record does not count, on either side. */
const WARM_UP_MS = 30_000;
/** Below this all of it counts. */
const SHORT_MS = 120_000;
/** How often the recorded allocation is looked up, engine time. */
const PLAYBACK_MS = 500;

/** Null when no window tells of an allocation, or nothing arrived. Deterministic. */
export function replayInstance(input: ReplayInput): ReplayResult | null {
  const windows = placed(input.windows);
  const requests = rebuiltRequests(windows, input.seed);
  const track = allocationTrack(windows, input.allocationOf);
  const initial = track[0]?.allocation;
  const toMs = windows.at(-1)?.toMs ?? 0;
  if (initial === undefined || requests.length === 0) return null;
  const fromMs = toMs > SHORT_MS ? WARM_UP_MS : 0;
  const speed = speedOf(input.windows);
  const { profile, slo } = input;
  const span = { fromMs, toMs };
  const simulate = (
    controller: Controller,
    controlIntervalMs: number,
    prepareMs: number,
    told: SloTarget,
  ) => {
    const drainMs = toMs - (requests.at(-1)?.arrivalMs ?? 0);
    const lane = { profile, requests, slo: told, initial, controller, controlIntervalMs, prepareMs, drainMs };
    const { outcomes, switches } = runLane(lane);
    return simulatedFigures(outcomes, slo, span, switches.length);
  };
  const driven = ({ policy, slo: told }: Driver) => {
    const controlIntervalMs = fittingMs(input.controlIntervalMs * speed, toMs);
    const { limits } = input;
    const guards = engineGuards(input.guards, speed);
    const controller = policyController({ policy, guards, limits, initial, controlIntervalMs });
    return simulate(controller, controlIntervalMs, input.rolloutMs * speed, told);
  };
  return {
    ...span,
    requests: requests.length,
    measured: measuredFigures(windows, slo, fromMs, track),
    asRecorded: simulate(playback(track), PLAYBACK_MS, 0, slo),
    ran: driven(input.ran),
    other: input.other && driven(input.other),
  };
}

/** An interval, no longer than asked, that goes into the time a whole number of times: a lane ends with its last one. */
function fittingMs(intervalMs: number, spanMs: number): number {
  return Math.max(1, Math.floor(spanMs / Math.max(1, Math.ceil(spanMs / intervalMs))));
}

/** Durations of guards are of the wall; the simulated engine knows its own time only. */
function engineGuards(guards: GuardConfig, speed: number): GuardConfig {
  return {
    ...guards,
    dwellMs: guards.dwellMs * speed,
    flapWindowMs: guards.flapWindowMs * speed,
    staleAfterMs: guards.staleAfterMs * speed,
  };
}

interface TrackPoint {
  readonly fromMs: number;
  readonly allocation: Allocation;
}

/** What ran from when on. Between two generations the earlier one is taken to go on. */
function allocationTrack(
  windows: readonly PlacedWindow[],
  allocationOf: ReplayInput["allocationOf"],
): readonly TrackPoint[] {
  const track: TrackPoint[] = [];
  for (const { window, fromMs } of windows) {
    const allocation = window.generation === null ? null : allocationOf(window.generation);
    const last = track.at(-1);
    if (allocation === null || (last && sameAllocation(last.allocation, allocation))) continue;
    track.push({ fromMs: last ? fromMs : 0, allocation });
  }
  return track;
}

function playback(track: readonly TrackPoint[]): Controller {
  return ({ window, running }) => {
    const point = track.findLast(({ fromMs }) => fromMs <= window.endAtMs);
    return point && !sameAllocation(point.allocation, running) ? point.allocation : null;
  };
}

function measuredFigures(
  windows: readonly PlacedWindow[],
  slo: SloTarget,
  fromMs: number,
  track: readonly TrackPoint[],
): ReplayFigures {
  const counted = windows.filter((each) => each.fromMs >= fromMs).map(({ window }) => window);
  const ttft = sumOf(counted.map((window) => window.ttft));
  const tpot = sumOf(counted.map((window) => window.tpot));
  const at = (histogram: Histogram | null, q: number) => (histogram && percentile(histogram, q))?.ms ?? null;
  const within = (histogram: Histogram | null, ms: number) =>
    (histogram && okShare(histogram, ms))?.share ?? null;
  return withAttainment({
    firstTokens: ttft ? sampleCount(ttft) : 0,
    finished: counted.reduce((sum, { finished }) => sum + finished, 0),
    ttftP50Ms: at(ttft, 0.5),
    ttftMs: at(ttft, slo.ttft.percentile),
    tpotP50Ms: at(tpot, 0.5),
    tpotMs: at(tpot, slo.tpot.percentile),
    ttftOkShare: within(ttft, slo.ttft.boundMs),
    tpotOkShare: within(tpot, slo.tpot.boundMs),
    moves: Math.max(0, track.length - 1),
  });
}

/** Of those with the newest one's buckets. */
function sumOf(histograms: readonly Histogram[]): Histogram | null {
  const newest = histograms.at(-1);
  if (newest === undefined) return null;
  return histograms.filter((each) => sameBounds(each, newest)).reduce(addHistograms);
}

function simulatedFigures(
  outcomes: readonly RequestOutcome[],
  slo: SloTarget,
  { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
  moves: number,
): ReplayFigures {
  const counts = (atMs: number | null) => atMs !== null && atMs >= fromMs && atMs <= toMs;
  const ttfts = outcomes
    .filter(({ arrivalMs, ttftMs }) => counts(ttftMs === null ? null : arrivalMs + ttftMs))
    .map(({ ttftMs }) => ttftMs);
  const done = outcomes.filter(({ finishedAtMs }) => counts(finishedAtMs));
  // An answer of one token has none, here and in an engine's histogram.
  const tpots = done.map(({ tpotMs }) => tpotMs).filter((ms) => ms !== null);
  const within = (values: readonly (number | null)[], boundMs: number) =>
    values.length === 0 ? null : values.filter((ms) => ms !== null && ms <= boundMs).length / values.length;
  return withAttainment({
    firstTokens: ttfts.length,
    finished: done.length,
    ttftP50Ms: quantile(ttfts, 0.5),
    ttftMs: quantile(ttfts, slo.ttft.percentile),
    tpotP50Ms: quantile(tpots, 0.5),
    tpotMs: quantile(tpots, slo.tpot.percentile),
    ttftOkShare: within(ttfts, slo.ttft.boundMs),
    tpotOkShare: within(tpots, slo.tpot.boundMs),
    moves,
  });
}

function withAttainment(figures: Omit<ReplayFigures, "attainmentShare">): ReplayFigures {
  const { ttftOkShare, tpotOkShare } = figures;
  const attainmentShare = ttftOkShare === null || tpotOkShare === null ? null : ttftOkShare * tpotOkShare;
  return { ...figures, attainmentShare };
}
