import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { isPinned } from "../holds/standing.js";
import { ReconfigurationQueue } from "./reconfiguration.queue.js";
import type { ReconfigurationRow } from "./reconfiguration.rows.js";
import { type Aftermath, lockInstance, NOTHING } from "./reconfiguration.service.js";
import { changeInForce, takeBackVerified } from "./take-back.js";

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
    if (!instance || (await isPinned(manager, instance.id, Date.now()))) return NOTHING;
    const change = await changeInForce(manager, instance);
    if (!change || !isToBlame(change)) return NOTHING;
    const { offerTimeoutMs } = this.config.rollout;
    const taken = await takeBackVerified(manager, instance, change, WHY, offerTimeoutMs);
    await appendAudit(manager, CONTROLLER, ...taken.audit);
    return taken;
  }
}

function isToBlame({ endedAt }: ReconfigurationRow): boolean {
  return endedAt !== null && Date.now() - endedAt.getTime() <= BLAMED_FOR_MS;
}
