import type { Allocation, SloTarget, Window } from "@fulcrum/core/nouns.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { createRandom } from "@fulcrum/simulator/random.js";
import { runLane } from "../run-lane.js";

export interface RecordedLaneOptions {
  readonly profile: Profile;
  readonly slo: SloTarget;
  readonly durationMs: number;
  readonly ratePerS: number;
  /** Means; prompts are log-normal with sigma 0.6, answers uniform from half the mean to one and a half. */
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** What is asked from when on, engine time; the first from the start. Generations count from 1. */
  readonly plan: readonly { readonly fromMs: number; readonly allocation: Allocation }[];
}

/** Windows of one second that a simulated engine would report; they start at epoch 0. */
export function recordedLane(options: RecordedLaneOptions): readonly Window[] {
  const { profile, slo, plan, durationMs } = options;
  const windows: Window[] = [];
  const planAt = (atMs: number) => plan.findLastIndex(({ fromMs }) => fromMs <= atMs);
  runLane({
    profile,
    requests: requestsOf(options),
    slo,
    initial: plan[0]!.allocation,
    controlIntervalMs: 1_000,
    prepareMs: 0,
    drainMs: 0,
    controller: ({ window, running, switchPending }) => {
      const now = planAt(window.startAtMs);
      // The change is asked at the end of a window and in force in the course of the next.
      const between = switchPending || running !== plan[now]!.allocation;
      windows.push({ ...window, seq: windows.length + 1, generation: between ? null : now + 1 });
      const next = plan[planAt(window.endAtMs)]!;
      return next.allocation === running ? null : next.allocation;
    },
  });
  return windows.filter(({ endAtMs }) => endAtMs <= durationMs);
}

function requestsOf(options: RecordedLaneOptions): SimRequest[] {
  const { durationMs, ratePerS, promptTokens, outputTokens } = options;
  const random = createRandom(7, 0);
  const requests: SimRequest[] = [];
  for (let atMs = 0; atMs < durationMs; atMs += random.exponential(1_000 / ratePerS)) {
    const normal = Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform());
    requests.push({
      id: requests.length,
      arrivalMs: atMs,
      promptTokens: Math.max(1, Math.round(promptTokens * Math.exp(0.6 * normal - 0.18))),
      outputTokens: Math.max(1, Math.round(outputTokens * (0.5 + random.uniform()))),
    });
  }
  return requests;
}
