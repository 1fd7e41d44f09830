/**
 * The demo without its processes: the engines' own simulator, the same requests, pools and pace, in virtual time.
 * What the real-time demo adds is what lies between an engine and a decision: scrapes, reports, rollouts.
 */
import type { Decision, PolicyConfig } from "@fulcrum/core/decision.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS, DEFAULT_SEARCH } from "@fulcrum/core/defaults.js";
import { WIDEST_LIMITS, type SloTarget } from "@fulcrum/core/nouns.js";
import type { RequestOutcome } from "@fulcrum/evaluation/outcome.js";
import { policyController } from "@fulcrum/evaluation/policy-controller.js";
import { runLane, type LaneResult } from "@fulcrum/evaluation/run-lane.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { failed } from "../failure.js";
import { bundledProfile, requestsUntil } from "./arrivals.js";
import type { EngineCounts } from "./engine-counts.js";
import { laneFigures, type DemoFigures, type LaneFigures, type LaneRows } from "./figures.js";
import { laneGuards, LANES, type Lane } from "./lanes.js";
import { PREPARE_MS, type DemoSetting } from "./setting.js";
import { pacingOf } from "./pacing.js";
import { verdictOf } from "./verdict.js";

/** @throws SimulatorInputError about a trace, CliFailure when nothing arrives */
export function virtualFigures(options: DemoSetting): DemoFigures {
  const { durationS, speed, seed, load, slo } = options;
  const endMs = durationS * speed * 1_000;
  const requests = requestsUntil(load, seed, endMs);
  if (requests.length === 0)
    throw failed(`${load.name} brings no request in ${endMs / 1_000} s of engine time`);
  const profile = bundledProfile();
  const lanes = LANES.map((lane) => runVirtually(lane, { options, endMs, requests, profile }));
  return {
    time: "virtual",
    startedAt: null,
    durationS,
    speed,
    seed,
    load: load.name,
    slo,
    lanes,
    verdict: verdictOf(lanes),
  };
}

interface Ground {
  readonly options: DemoSetting;
  readonly endMs: number;
  readonly requests: readonly SimRequest[];
  readonly profile: Profile;
}

function runVirtually(lane: Lane, { options, endMs, requests, profile }: Ground): LaneFigures {
  const { slo, speed } = options;
  const pacing = pacingOf(speed);
  const engineMs = (wallMs: number) => wallMs * speed;
  const memory = { dwellMs: engineMs(pacing.dwellMs), flapWindowMs: engineMs(pacing.flapWindowMs) };
  const common = { initial: lane.initial, controlIntervalMs: engineMs(pacing.controlIntervalMs) };
  const decisions: Decision[] = [];
  const controller = policyController({
    policy: policyOf(lane),
    guards: { ...DEFAULT_GUARDS, ...laneGuards(lane, memory) },
    limits: WIDEST_LIMITS,
    onDecision: (decision) => decisions.push(decision),
    ...common,
  });
  const result = runLane({
    profile,
    requests,
    slo,
    controller,
    prepareMs: PREPARE_MS,
    drainMs: endMs - (requests.at(-1)?.arrivalMs ?? 0),
    ...common,
  });
  const counts = countsAt(endMs, result.outcomes, slo);
  return laneFigures(lane.name, counts, rowsOf(decisions, result, lane, common.controlIntervalMs), 0);
}

function policyOf({ policy }: Lane): PolicyConfig {
  if (policy.name === "static") return policy;
  if (policy.name === "feedback") return { name: policy.name, params: DEFAULT_FEEDBACK };
  return { name: policy.name, params: DEFAULT_SEARCH };
}

/** As an engine counts: what has finished by then, against the two bounds. */
function countsAt(endMs: number, outcomes: readonly RequestOutcome[], slo: SloTarget): EngineCounts {
  const counts = { both: 0, ttftOnly: 0, tpotOnly: 0, neither: 0 };
  for (const { finishedAtMs, ttftMs, tpotMs } of outcomes) {
    if (finishedAtMs === null || finishedAtMs > endMs) continue;
    const ttftOk = ttftMs !== null && ttftMs <= slo.ttft.boundMs;
    const tpotOk = tpotMs === null || tpotMs <= slo.tpot.boundMs;
    if (ttftOk) counts[tpotOk ? "both" : "ttftOnly"] += 1;
    else counts[tpotOk ? "tpotOnly" : "neither"] += 1;
  }
  return { clockS: endMs / 1_000, arrived: outcomes.length, ...counts };
}

/** What a controller would have stored, at engine time. One decision falls at the end of each interval. */
function rowsOf(
  decisions: readonly Decision[],
  { switches }: LaneResult,
  lane: Lane,
  controlIntervalMs: number,
): LaneRows {
  return {
    decisions: decisions.map(({ kind, reason }, i) => ({
      at: new Date((i + 1) * controlIntervalMs).toISOString(),
      kind,
      reason,
    })),
    reconfigurations: switches.map(({ askedAtMs, atMs }) => ({
      kind: "decision",
      state: "verified",
      durationMs: atMs - askedAtMs,
    })),
    finalAllocation: switches.at(-1)?.to ?? lane.initial,
  };
}
