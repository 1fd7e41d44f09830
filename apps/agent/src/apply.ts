/**
 * The rollout on one instance as a rule: from what is wanted, what this agent has done for it, and what the
 * engine runs, the next action. Level-triggered: nothing is remembered that can be read back, so a repeated,
 * lost or interrupted step is simply done again.
 *
 *   waiting -> preparing -> ready -> (armed) -> switching -> verifying -> verified
 *
 * and from any of them to failed. `ready` lasts while the other ranks of a group are waited for, `armed` until the
 * engine gets to the iteration that they agreed on; neither has a deadline here, for the controller keeps the group's.
 */
import type { Assignment } from "@fulcrum/contracts/agent-api.js";
import type { ActualState, SwitchAt } from "./partition-driver.js";
import type { Failure } from "./journal.js";

/** What this process has done for the goal so far. */
export type Step = "waiting" | "preparing" | "ready" | "armed" | "switching" | "verifying";

export interface Wanted {
  readonly generation: number;
  readonly attempt: number;
  /** null: not before the group says so. */
  readonly commit?: Assignment["commit"];
}

export interface Progress {
  readonly step: Step;
  /** Of the step, on the clock that only grows. */
  readonly deadlineAtMs: number;
}

export type Action =
  | { readonly kind: "wait" }
  | { readonly kind: "abort"; readonly generation: number }
  | { readonly kind: "prepare" }
  /** Prepared, and to be told; the group's word is waited for. */
  | { readonly kind: "ready" }
  | { readonly kind: "commit"; readonly switchAt: SwitchAt | null }
  | { readonly kind: "verify" }
  | { readonly kind: "fail"; readonly failure: Failure };

export function nextAction(
  goal: Wanted,
  progress: Progress,
  actual: Pick<ActualState, "generation" | "phase" | "prepared" | "failure">,
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
    return prepared.ready ? onceReady(goal, progress) : { kind: "wait" };
  }
  // Of a superseded goal, or of an earlier life of this agent.
  if (prepared) return { kind: "abort", generation: prepared.generation };
  return withNothingPrepared(goal, progress, actual.failure ?? null, overdue);
}

function withNothingPrepared(
  { generation }: Wanted,
  { step }: Progress,
  failure: NonNullable<ActualState["failure"]> | null,
  overdue: boolean,
): Action {
  if (step === "waiting") {
    return overdue
      ? fail("prepare_timeout", "the preparation did not start in time", true)
      : { kind: "prepare" };
  }
  if (failure?.generation === generation) return fail(failure.code, failure.message, failure.retryable);
  return step === "preparing" || step === "ready"
    ? fail("prepare_lost", "the engine dropped the preparation", true)
    : fail("switch_lost", "the engine did not keep the switch", true);
}

function onceReady({ generation, attempt, commit }: Wanted, { step }: Progress): Action {
  if (commit !== null) {
    if (step === "armed") return { kind: "wait" };
    return { kind: "commit", switchAt: commit?.switchAt ?? null };
  }
  // An earlier attempt may have armed it, and was withdrawn: then it would switch alone.
  if (step === "waiting" && attempt > 1) return { kind: "abort", generation };
  return { kind: "ready" };
}

function fail(code: string, message: string, retryable: boolean): Action {
  return { kind: "fail", failure: { code, message, retryable } };
}
