/**
 * What several ranks were told to hand over at, by role: on disk before anybody is told, so that an agent that comes
 * back, and a worker that connects again, is told the same iteration.
 */
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import type { Logger } from "pino";
import type { Agreement } from "./role-view.js";
import type { SupervisorJournal } from "./supervisor-journal.js";

export class Agreements {
  /** One that an agent before this one made counts from the start of this one. */
  private readonly sinceMs = { prefill: performance.now(), decode: performance.now() };

  constructor(
    private readonly journal: SupervisorJournal,
    private readonly log: Logger,
  ) {}

  of(role: WorkerRole): Agreement | null {
    const agreed = this.journal.state.agreed[role];
    if (agreed === null) return null;
    const turns = new Map(agreed.turns.map(({ rank, turn }) => [rank, turn]));
    return { at: agreed.at, turns, sinceMs: this.sinceMs[role] };
  }

  /** False: the disk takes nothing, and nobody may be told. */
  keep(
    role: WorkerRole,
    workers: readonly { readonly rank: number; readonly turn: number }[],
    at: number,
  ): boolean {
    const known = this.of(role);
    if (known?.at === at && workers.every(({ rank, turn }) => known.turns.get(rank) === turn)) return true;
    const turns = workers.map(({ rank, turn }) => ({ rank, turn }));
    try {
      this.journal.plan({ agreed: { ...this.journal.state.agreed, [role]: { at, turns } } });
    } catch {
      return false;
    }
    this.sinceMs[role] = performance.now();
    this.log.info({ event: "iteration_agreed", role, at, turns });
    return true;
  }
}
