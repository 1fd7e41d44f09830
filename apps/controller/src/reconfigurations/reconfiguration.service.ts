import type { GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { Metrics } from "../obs/metrics.js";
import { addStep, openReconfiguration } from "./open-reconfiguration.js";
import { ReconfigurationRow } from "./reconfiguration.rows.js";
import { stepTimeoutMs } from "./rollout.js";

/** What a change in the state of a rollout asks of the outside, once its transaction has committed. */
export interface Aftermath {
  /** Rollouts whose deadline must be watched. */
  readonly watch: readonly { id: string; deadlineMs: number }[];
  /** Agents that have something new to fetch. */
  readonly wake: readonly string[];
}

export const NOTHING: Aftermath = { watch: [], wake: [] };

/** Moves a rollout on when nothing is heard, and ends it: verified, rolled back or failed. */
@Injectable()
export class ReconfigurationService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(Metrics) private readonly metrics: Metrics,
  ) {}

  /** Rollouts that are not finished, with their deadlines. */
  async listOpen(): Promise<{ id: string; deadlineMs: number }[]> {
    const rows = await this.source.query<{ id: string; deadline_at: Date }[]>(
      "SELECT id, deadline_at FROM reconfigurations WHERE ended_at IS NULL ORDER BY deadline_at LIMIT 5000",
    );
    return rows.map((row) => ({ id: row.id, deadlineMs: row.deadline_at.getTime() }));
  }

  /**
   * Looks at a rollout whose deadline may have passed: offers it again while attempts are left, else gives
   * it up. Answers when to look again; null when it has ended.
   */
  async advance(id: string): Promise<{ lookAgainAtMs: number | null; aftermath: Aftermath }> {
    const outcome = await this.source.transaction(async (manager) => {
      const known = await manager.findOneBy(ReconfigurationRow, { id });
      if (!known || known.endedAt) return { lookAgainAtMs: null, aftermath: NOTHING };
      const instance = await lockInstance(manager, known.instanceId);
      const row = await manager.findOneByOrFail(ReconfigurationRow, { id });
      if (row.endedAt || !instance) return { lookAgainAtMs: null, aftermath: NOTHING };
      if (row.deadlineAt.getTime() > Date.now())
        return { lookAgainAtMs: row.deadlineAt.getTime(), aftermath: NOTHING };
      if (row.attempt >= this.config.rollout.maxAttempts) {
        const why = row.failure ?? `nothing was heard in state ${row.state} until the deadline`;
        return { lookAgainAtMs: null, aftermath: await this.giveUp(manager, instance, row, why) };
      }
      const again = await this.offerAgain(manager, instance, row);
      return {
        lookAgainAtMs: again.deadlineAt.getTime(),
        aftermath: { watch: [], wake: await agentsOf(manager, instance.id) },
      };
    });
    await this.assignments.announce(outcome.aftermath.wake);
    return outcome;
  }

  /** Every rank has read back what was asked: it is the new last good allocation. */
  async complete(
    manager: EntityManager,
    instance: InstanceRow,
    row: ReconfigurationRow,
    now: Date,
  ): Promise<void> {
    const lastGood: GeneratedAllocation = { ...row.toAllocation, generation: row.generation };
    await manager.update(ReconfigurationRow, { id: row.id }, { state: "verified", endedAt: now });
    await manager.update(InstanceRow, { id: instance.id }, { lastGood, changedAt: now, degraded: false });
    await this.audit(manager, instance, row, "reconfiguration.verified", null);
    this.metrics.reconfigurationEnded("verified", now.getTime() - row.createdAt.getTime());
  }

  /** Rolls back to the last good allocation as a new generation; a rollback that fails too leaves it to a person. */
  async giveUp(
    manager: EntityManager,
    instance: InstanceRow,
    row: ReconfigurationRow,
    why: string,
  ): Promise<Aftermath> {
    const now = new Date();
    const isRollback = row.kind === "rollback";
    const state = isRollback ? "failed" : "rolled_back";
    await manager.update(ReconfigurationRow, { id: row.id }, { state, endedAt: now, failure: why });
    await addStep(manager, row, { at: now, step: state, detail: why });
    this.metrics.reconfigurationEnded(state, now.getTime() - row.createdAt.getTime());
    if (isRollback) {
      await manager.update(InstanceRow, { id: instance.id }, { degraded: true });
      await this.audit(manager, instance, row, "reconfiguration.failed", why);
      return NOTHING;
    }
    const { generation: _good, ...to }: GeneratedAllocation = instance.lastGood;
    const opened = await openReconfiguration(manager, {
      poolId: instance.poolId,
      instanceId: instance.id,
      decisionId: row.decisionId,
      kind: "rollback",
      reason: "ROLLBACK",
      from: { ...row.toAllocation, generation: instance.generation },
      to,
      offerTimeoutMs: this.config.rollout.offerTimeoutMs,
    });
    await this.audit(manager, instance, row, "reconfiguration.rolled_back", why);
    if (!opened) return NOTHING;
    return {
      watch: [{ id: opened.id, deadlineMs: opened.deadlineAt.getTime() }],
      wake: await agentsOf(manager, instance.id),
    };
  }

  private async offerAgain(
    manager: EntityManager,
    instance: InstanceRow,
    row: ReconfigurationRow,
  ): Promise<ReconfigurationRow> {
    const now = new Date();
    const attempt = row.attempt + 1;
    const timeoutMs = stepTimeoutMs("offered", this.config.rollout, instance.capabilities.prepareMs);
    const changed = { attempt, state: "offered" as const, deadlineAt: new Date(now.getTime() + timeoutMs) };
    await manager.update(ReconfigurationRow, { id: row.id }, changed);
    await manager.update(InstanceRow, { id: instance.id }, { attempt });
    await manager.query(
      "UPDATE instance_ranks SET attempt = $2, step = NULL, updated_at = $3 WHERE instance_id = $1",
      [instance.id, attempt, now],
    );
    const next = { ...row, ...changed };
    await addStep(manager, next, {
      at: now,
      step: "offered",
      detail: `again: ${row.failure ?? `no progress in state ${row.state}`}`,
    });
    return next;
  }

  private async audit(
    manager: EntityManager,
    instance: InstanceRow,
    row: ReconfigurationRow,
    action: string,
    why: string | null,
  ) {
    await appendAudit(manager, CONTROLLER, {
      action,
      subject: `instance/${instance.name}`,
      before: row.fromAllocation,
      after: { reconfiguration: row.id, generation: row.generation, allocation: row.toAllocation, why },
    });
  }
}

/** Locks the instance's row: commits, acknowledgements and time-outs of one instance go one after the other. */
export async function lockInstance(manager: EntityManager, id: string): Promise<InstanceRow | null> {
  return manager
    .createQueryBuilder(InstanceRow, "row")
    .setLock("pessimistic_write")
    .where("row.id = :id AND row.deletedAt IS NULL", { id })
    .getOne();
}

export async function agentsOf(manager: EntityManager, instanceId: string): Promise<string[]> {
  const rows = await manager.query<{ name: string }[]>(
    "SELECT DISTINCT a.name FROM instance_ranks r JOIN agents a ON a.id = r.agent_id WHERE r.instance_id = $1",
    [instanceId],
  );
  return rows.map((row) => row.name);
}
