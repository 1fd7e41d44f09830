/**
 * Which allocation an instance should run: level-triggered, from the newest assignment and the last good
 * allocation, both kept in the journal.
 */
import type { Assignment } from "@fulcrum/contracts/agent-api.js";
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import type { Failure, Journal } from "./journal.js";

export interface Goal extends GeneratedAllocation {
  readonly attempt: number;
  /** `offered`: the controller waits for its steps. `restore`: the engine lost what it ran; nobody asked. */
  readonly kind: "offered" | "restore";
  /** null: the group's other ranks are waited for. Absent: there is nobody to wait for. */
  readonly commit?: Assignment["commit"];
}

export type Offer =
  | { readonly kind: "accepted" }
  /** Known already; `settled` when it has ended here, so that its end may have to be told again. */
  | { readonly kind: "repeat"; readonly settled: boolean }
  | { readonly kind: "refused"; readonly highest: number };

export class Targets {
  /** The controller answered that it no longer follows the target, so nobody will offer it again. */
  private unattended = false;

  constructor(private readonly journal: Journal) {}

  get current(): Journal["state"]["target"] {
    return this.journal.state.target;
  }

  /** Keeps the newest: a lower generation than any seen is refused, a lower or equal attempt is a repeat. */
  offer(assignment: Pick<Assignment, "generation" | "attempt" | "allocation" | "commit">): Offer {
    const { target, highestGeneration } = this.journal.state;
    const { generation, attempt, allocation, commit } = assignment;
    if (generation < highestGeneration) return { kind: "refused", highest: highestGeneration };
    if (target && target.generation === generation && attempt <= target.attempt) {
      if (attempt === target.attempt && mayGo(target) < mayGo(assignment)) {
        void this.journal.update({ target: withCommit(target, commit) });
        if (target.outcome === "open") return { kind: "accepted" };
      }
      return { kind: "repeat", settled: target.outcome !== "open" };
    }
    this.unattended = false;
    void this.journal.update({
      target: withCommit({ generation, attempt, allocation, outcome: "open", failure: null }, commit),
      highestGeneration: generation,
    });
    return { kind: "accepted" };
  }

  /** What is to be done, given the generation the engine runs; null when it runs what it should. */
  goal(running: number): Goal | null {
    const { target, lastGood } = this.journal.state;
    if (target?.outcome === "open") {
      const { generation, allocation, attempt, commit } = target;
      return {
        ...goalOf(generation, allocation, attempt, "offered"),
        ...(commit === undefined ? {} : { commit }),
      };
    }
    if (target?.outcome === "verified" || (target && this.unattended && lastGood === null)) {
      return running < target.generation
        ? goalOf(target.generation, target.allocation, target.attempt, "restore")
        : null;
    }
    return lastGood && running < lastGood.generation
      ? goalOf(lastGood.generation, lastGood, 1, "restore")
      : null;
  }

  verified(goal: Goal, readBackMissing: boolean): Promise<void> {
    const lastGood = { generation: goal.generation, ...allocationOf(goal) };
    return this.journal.update({
      lastGood,
      highestGeneration: Math.max(goal.generation, this.journal.state.highestGeneration),
      ...(this.isTarget(goal) ? { target: this.verifiedTarget(readBackMissing) } : {}),
    });
  }

  async failed(goal: Goal, failure: Failure): Promise<void> {
    const { target } = this.journal.state;
    if (goal.kind === "restore" || !target || !this.isTarget(goal)) return;
    await this.journal.update({ target: { ...target, outcome: "failed", failure } });
  }

  /** Whether the goal is still the newest assignment: a newer one may have come while a step was under way. */
  isTarget(goal: Goal): boolean {
    const { target } = this.journal.state;
    return target?.generation === goal.generation && target.attempt === goal.attempt;
  }

  private verifiedTarget(readBackMissing: boolean): Target | null {
    const { target } = this.journal.state;
    if (target === null) return null;
    const { readBackMissing: _before, ...rest } = target;
    return { ...rest, outcome: "verified", failure: null, ...(readBackMissing ? { readBackMissing } : {}) };
  }

  leftAlone(generation: number, attempt: number): void {
    const { target } = this.journal.state;
    this.unattended = target?.generation === generation && target.attempt === attempt;
  }
}

type Target = NonNullable<Journal["state"]["target"]>;

/** The word of a group only ever goes on within an attempt: an answer that was long under way does not take it back. */
function mayGo({ commit }: Pick<Assignment, "commit">): number {
  if (commit === undefined) return 2;
  return commit === null ? 0 : 1;
}

function withCommit({ commit: _old, ...target }: Target, commit: Assignment["commit"]): Target {
  return commit === undefined ? target : { ...target, commit };
}

function goalOf(generation: number, allocation: Allocation, attempt: number, kind: Goal["kind"]): Goal {
  return { generation, ...allocationOf(allocation), attempt, kind };
}

function allocationOf({ split, kvQuotaPct }: Allocation): Allocation {
  return { split, kvQuotaPct };
}
