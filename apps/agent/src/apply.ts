/**
 * The rollout on one instance as a rule: from what is wanted, what this agent has done for it, and what the
 * engine runs, the next action. Level-triggered: nothing is remembered that can be read back, so a repeated,
 * lost or interrupted step is simply done again.
 *
 *   waiting -> preparing -> (ready) -> switching -> verifying -> verified
 *
 * and from any of them to failed.
 */
import type { ActualState } from "./driver/partition-driver.js";
import type { Failure } from "./journal.js";

/** What this process has done for the goal so far. */
export type Step = "waiting" | "preparing" | "switching" | "verifying";

export interface Progress {
  readonly step: Step;
  /** Of the step, on the clock that only grows. */
  readonly deadlineAtMs: number;
}

export type Action =
  | { readonly kind: "wait" }
  | { readonly kind: "abort"; readonly generation: number }
  | { readonly kind: "prepare" }
  | { readonly kind: "commit" }
  | { readonly kind: "verify" }
  | { readonly kind: "fail"; readonly failure: Failure };

export function nextAction(
  goal: { readonly generation: number },
  progress: Progress,
  actual: Pick<ActualState, "generation" | "phase" | "prepared">,
  nowMs: number,
): Action {
  const overdue = nowMs > progress.deadlineAtMs;
  const { prepared } = actual;
  if (actual.generation > goal.generation) {
    const message = `the engine runs generation ${actual.generation}, ahead of ${goal.generation}`;
    return fail("engine_ahead", message, false);
  }
  if (actual.phase === "switching") {
    return overdue ? fail("switch_timeout", "the workers did not switch in time", true) : { kind: "wait" };
  }
  if (actual.generation === goal.generation) return { kind: "verify" };
  if (prepared?.generation === goal.generation) {
    if (overdue) return fail("prepare_timeout", "the preparation was not ready in time", true);
    return prepared.ready ? { kind: "commit" } : { kind: "wait" };
  }
  // Of a superseded goal, or of an earlier life of this agent.
  if (prepared) return { kind: "abort", generation: prepared.generation };
  if (progress.step === "preparing") return fail("prepare_lost", "the engine dropped the preparation", true);
  if (progress.step === "switching") return fail("switch_lost", "the engine did not keep the switch", true);
  return overdue
    ? fail("prepare_timeout", "the preparation did not start in time", true)
    : { kind: "prepare" };
}

function fail(code: string, message: string, retryable: boolean): Action {
  return { kind: "fail", failure: { code, message, retryable } };
}
