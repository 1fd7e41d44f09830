import type { GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager, In } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { appendAudit, type AuditRecord, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { endUnreached } from "../holds/unreached.js";
import { Metrics } from "../obs/metrics.js";
import { Tracing } from "../obs/tracing.js";
import { addSteps, audited, CLOSED_GATE, openReconfigurations } from "./open-reconfiguration.js";
import { GATE_OPENED, mustHearFirst } from "./gate.js";
import { ReconfigurationRow, ReconfigurationStepRow } from "./reconfiguration.rows.js";
import { stepTimeoutMs } from "./rollout.js";
import { offerSpan, rolloutSpan } from "./rollout-spans.js";

/** Rollouts looked at in one go. */
const MAX_DUE = 500;

/** What a change in the state of a rollout asks of the outside, once its transaction has committed. */
export interface Aftermath {
  /** Deadlines at which somebody must look. */
  readonly watch: readonly number[];
  /** Agents that have something new to fetch. */
  readonly wake: readonly string[];
  /** What the audit log must hold; appended last in the transaction. */
  readonly audit: readonly AuditRecord[];
}

export const NOTHING: Aftermath = { watch: [], wake: [], audit: [] };

/** Moves a rollout on when nothing is heard, and ends it: verified, rolled back or failed. */
@Injectable()
export class ReconfigurationService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(Metrics) private readonly metrics: Metrics,
    @Inject(Tracing) private readonly tracing: Tracing,
  ) {}

  async countOpen(): Promise<number> {
    const [row] = await this.source.query<{ count: number }[]>(
      "SELECT count(*)::int AS count FROM reconfigurations WHERE ended_at IS NULL",
    );
    return row?.count ?? 0;
  }

  /** Looks at every rollout whose deadline has passed. Answers with the deadlines to look at next. */
  async advanceDue(): Promise<number[]> {
    const due = await this.source.query<{ id: string }[]>(
      `SELECT id FROM reconfigurations WHERE ended_at IS NULL AND deadline_at <= $1
       ORDER BY deadline_at LIMIT ${MAX_DUE}`,
      [new Date()],
    );
    const next: number[] = [];
    for (const { id } of due) next.push(...(await this.advance(id)));
    // More than fit: looked at again at once.
    return due.length === MAX_DUE ? [Date.now(), ...next] : next;
  }

  /** Offers a rollout that is overdue again while attempts are left, else gives it up. */
  private async advance(id: string): Promise<readonly number[]> {
    const aftermath = await this.source.transaction(async (manager) => {
      const known = await manager.findOneBy(ReconfigurationRow, { id });
      const instance = known && (await lockInstance(manager, known.instanceId));
      if (!instance) return NOTHING;
      // Read again under the lock: an acknowledgement may have come first.
      const row = await manager.findOneByOrFail(ReconfigurationRow, { id });
      if (row.endedAt || row.deadlineAt.getTime() > Date.now()) return NOTHING;
      if (mustHearFirst(instance.gate, row.deadlineAt.getTime(), Date.now())) {
        const deadlineAt = new Date(Date.now() + this.config.rollout.switchTimeoutMs);
        await manager.update(ReconfigurationRow, { id }, { deadlineAt });
        return { ...NOTHING, watch: [deadlineAt.getTime()] };
      }
      if (row.attempt < this.config.rollout.maxAttempts) return this.offerAgain(manager, instance, row);
      const why = row.failure ?? `nothing was heard in state ${row.state} until the deadline`;
      const given = await this.giveUp(manager, instance, row, why);
      await appendAudit(manager, CONTROLLER, ...given.audit);
      return given;
    });
    await this.assignments.announce(aftermath.wake);
    return aftermath.watch;
  }

  /** Every rank of each has read back what was asked: it is the new last good allocation. */
  async complete(
    manager: EntityManager,
    done: readonly { instance: InstanceRow; open: ReconfigurationRow }[],
    now: Date,
  ): Promise<Aftermath> {
    if (done.length === 0) return NOTHING;
    const ids = done.map(({ open }) => open.id);
    await manager.update(ReconfigurationRow, { id: In(ids) }, { state: "verified", endedAt: now });
    await manager.query(
      // Three changes that made it worse say something of the policy, which a rollout that went well does not take back.
      `UPDATE instances i SET last_good = t.last_good::jsonb, changed_at = $3,
              degraded = i.degraded_cause IS NOT NULL, gate = NULL
       FROM unnest($1::uuid[], $2::text[]) AS t(id, last_good) WHERE i.id = t.id`,
      [
        done.map(({ instance }) => instance.id),
        done.map(({ open }) => JSON.stringify({ ...open.toAllocation, generation: open.generation })),
        now,
      ],
    );
    for (const { instance, open } of done) {
      rolloutSpan(this.tracing, instance.name, open, {
        state: "verified",
        fault: null,
        nowMs: now.getTime(),
      });
      this.metrics.reconfigurationEnded("verified", now.getTime() - open.createdAt.getTime());
    }
    const audit = done.map(({ instance, open }) =>
      recordOf(instance, open, "reconfiguration.verified", null),
    );
    return { ...NOTHING, audit };
  }

  /** Leaves the rollout open; its watch offers it again at `atMs`. */
  async retryLater(
    manager: EntityManager,
    row: ReconfigurationRow,
    why: string,
    atMs: number,
  ): Promise<Aftermath> {
    await manager.update(ReconfigurationRow, { id: row.id }, { failure: why, deadlineAt: new Date(atMs) });
    return { ...NOTHING, watch: [atMs] };
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
    await addSteps(manager, [{ of: row, at: now, step: state, detail: why }]);
    rolloutSpan(this.tracing, instance.name, row, { state, fault: why, nowMs: now.getTime() });
    this.metrics.reconfigurationEnded(state, now.getTime() - row.createdAt.getTime());
    if (isRollback) {
      await manager.update(InstanceRow, { id: instance.id }, { degraded: true, gate: null });
      // Nobody follows it any more: a rank that waits at the gate may go back alone.
      const wake = instance.gate === null ? [] : await agentsOf(manager, instance.id);
      return { ...NOTHING, wake, audit: [recordOf(instance, row, "reconfiguration.failed", why)] };
    }
    const { generation: _good, ...to }: GeneratedAllocation = instance.lastGood;
    const { generation } = row;
    const ended = isByHand(row) ? await endUnreached(manager, instance, { generation, why, back: to }) : [];
    const back = {
      poolId: instance.poolId,
      instanceId: instance.id,
      decisionId: row.decisionId,
      kind: "rollback",
      reason: "ROLLBACK",
      from: { ...row.toAllocation, generation: instance.generation },
      to,
      traceparent: row.traceparent,
      nothingMoved: instance.gate !== null && !(await gateHasOpened(manager, row)),
    } as const;
    const { offerTimeoutMs } = this.config.rollout;
    const opened = (await openReconfigurations(manager, [back], offerTimeoutMs)).get(instance.id);
    const audit = [recordOf(instance, row, "reconfiguration.rolled_back", why), ...ended];
    if (!opened) return { ...NOTHING, audit };
    return {
      audit,
      watch: [opened.deadlineAt.getTime()],
      wake: await agentsOf(manager, instance.id),
    };
  }

  /** The next attempt of the same generation. What earlier ones had armed is taken back by it. */
  async offerAgain(
    manager: EntityManager,
    instance: InstanceRow,
    row: ReconfigurationRow,
  ): Promise<Aftermath> {
    const now = new Date();
    const attempt = row.attempt + 1;
    const timeoutMs = stepTimeoutMs("offered", this.config.rollout, instance.capabilities);
    const deadlineAt = new Date(now.getTime() + timeoutMs);
    const changed = { attempt, state: "offered" as const, deadlineAt, failure: null };
    await manager.update(ReconfigurationRow, { id: row.id }, changed);
    await manager.query(
      `UPDATE instances i SET attempt = $2, gate = CASE WHEN gate IS NOT NULL THEN ${CLOSED_GATE} END WHERE i.id = $1`,
      [instance.id, attempt],
    );
    await manager.query(
      "UPDATE instance_ranks SET attempt = $2, step = NULL, iterations = NULL, updated_at = $3 WHERE instance_id = $1",
      [instance.id, attempt, now],
    );
    const next = { ...row, ...changed };
    offerSpan(this.tracing, instance.name, next, now.getTime());
    await addSteps(manager, [
      {
        of: next,
        at: now,
        step: "offered",
        detail: `again: ${row.failure ?? `no progress in state ${row.state}`}`,
      },
    ]);
    return { ...NOTHING, watch: [changed.deadlineAt.getTime()], wake: await agentsOf(manager, instance.id) };
  }
}

function isByHand({ kind }: ReconfigurationRow): boolean {
  return kind === "override" || kind === "manual_rollback";
}

/** In any attempt: until then no rank of the group has left what it ran. */
async function gateHasOpened(manager: EntityManager, { id }: ReconfigurationRow): Promise<boolean> {
  return manager.existsBy(ReconfigurationStepRow, { reconfigurationId: id, step: GATE_OPENED });
}

function recordOf(
  instance: InstanceRow,
  row: ReconfigurationRow,
  action: string,
  why: string | null,
): AuditRecord {
  const to = audited({ ...row.toAllocation, generation: row.generation });
  const after = { ...to, reconfiguration: row.id, why };
  return { action, subject: `instance/${instance.name}`, before: audited(row.fromAllocation), after };
}

/** Locks the instance's row: commits, acknowledgements and time-outs of one instance go one after the other. */
export async function lockInstance(manager: EntityManager, id: string): Promise<InstanceRow | null> {
  return manager
    .createQueryBuilder(InstanceRow, "row")
    .setLock("pessimistic_write")
    .where("row.id = :id AND row.deletedAt IS NULL", { id })
    .getOne();
}

/** The agents that look after an instance's ranks, or after those of several. */
export async function agentsOf(manager: EntityManager, ...instanceIds: readonly string[]): Promise<string[]> {
  const rows = await manager.query<{ name: string }[]>(
    "SELECT DISTINCT a.name FROM instance_ranks r JOIN agents a ON a.id = r.agent_id WHERE r.instance_id = ANY($1)",
    [instanceIds],
  );
  return rows.map((row) => row.name);
}
