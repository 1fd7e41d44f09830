import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { addSteps, audited, openReconfigurations } from "./open-reconfiguration.js";
import { ReconfigurationQueue } from "./reconfiguration.queue.js";
import { ReconfigurationRow } from "./reconfiguration.rows.js";
import { agentsOf, type Aftermath, lockInstance, NOTHING } from "./reconfiguration.service.js";

/** The condition by which an agent says that requests run and no token comes (apps/agent/src/health). */
export const NO_PROGRESS = "NoProgress";

/** A deadlock so long after a change was verified is not held against it. An agent needs 30 s to call it one. */
const BLAMED_FOR_MS = 300_000;

const WHY = "requests ran and no token came after the change";

/**
 * A change after which an engine stands still is taken back (actuation.md §8.2; SGLang #37904, #31117): verified only
 * says that the shares were delivered.
 */
@Injectable()
export class DeadlockService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
  ) {}

  /** Answers whether any instance was given back what it ran before. A person's pin is left alone. */
  async takeBack(instanceIds: readonly string[]): Promise<boolean> {
    let any = false;
    for (const id of instanceIds) {
      const { watch, wake } = await this.source.transaction((manager) => this.takeBackOne(manager, id));
      this.queue.watch(watch);
      await this.assignments.announce(wake);
      any ||= watch.length > 0;
    }
    return any;
  }

  private async takeBackOne(manager: EntityManager, instanceId: string): Promise<Aftermath> {
    const instance = await lockInstance(manager, instanceId);
    if (!instance || instance.pinned) return NOTHING;
    const last = await manager.findOne(ReconfigurationRow, {
      where: { instanceId },
      order: { generation: "DESC" },
    });
    if (!last || last.generation !== instance.generation || !isToBlame(last)) return NOTHING;
    const { generation: before, ...to } = last.fromAllocation;
    const from = { ...last.toAllocation, generation: last.generation };
    const { poolId, decisionId } = last;
    const back = { poolId, instanceId, decisionId, kind: "rollback", reason: "ROLLBACK", from, to } as const;
    const { offerTimeoutMs } = this.config.rollout;
    const opened = (await openReconfigurations(manager, [back], offerTimeoutMs)).get(instanceId);
    if (!opened) return NOTHING;
    // Counted like a rollout that was rolled back: the next one waits, and longer each time.
    const now = new Date();
    const ended = { state: "rolled_back", endedAt: now, failure: WHY } as const;
    await manager.update(ReconfigurationRow, { id: last.id }, ended);
    await addSteps(manager, [{ of: last, at: now, step: "rolled_back", detail: WHY }]);
    const after = {
      ...audited({ ...to, generation: opened.generation }),
      reconfiguration: last.id,
      why: WHY,
    };
    const action = "reconfiguration.rolled_back";
    const subject = `instance/${instance.name}`;
    const record = { action, subject, before: audited(from), after: { ...after, restored: before } };
    await appendAudit(manager, CONTROLLER, record);
    return {
      ...NOTHING,
      watch: [opened.deadlineAt.getTime()],
      wake: await agentsOf(manager, instanceId),
    };
  }
}

function isToBlame({ kind, state, endedAt }: ReconfigurationRow): boolean {
  if (kind !== "decision" || state !== "verified" || endedAt === null) return false;
  return Date.now() - endedAt.getTime() <= BLAMED_FOR_MS;
}
