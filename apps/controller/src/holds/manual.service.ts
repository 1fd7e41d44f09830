import {
  type EarlierGenerations,
  type Hold,
  MAX_GENERATIONS,
  type OverrideInput,
  type RollbackInput,
} from "@fulcrum/contracts/holds.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager, IsNull } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { type Actor, appendAudit } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { lockHolds } from "../db/holds-lock.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { ProblemError } from "../http/problem-error.js";
import { audited, openReconfigurations } from "../reconfigurations/open-reconfiguration.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { agentsOf } from "../reconfigurations/reconfiguration.service.js";
import { endHeld, makeHold, type Target, targetOf } from "./hold.service.js";
import { toHold } from "./hold-read.js";
import { deliverable } from "./within-limits.js";

/** Earlier generations that a refusal names, newest first. */
const MOST_NAMED = 20;

interface Move {
  readonly kind: "override" | "manual_rollback";
  readonly issueReason: string;
  readonly action: string;
  readonly to: Allocation;
  readonly ttlMs: number;
  readonly reason: string;
  /** The generation whose allocation comes back. */
  readonly restored?: number;
}

/** What a person sets by hand: a rollout at once, whatever the mode, and a hold that keeps it. */
@Injectable()
export class ManualService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
  ) {}

  override(name: string, { allocation, ttlMs, reason }: OverrideInput, actor: Actor): Promise<Hold> {
    return this.move(name, actor, async (_manager, target) => ({
      kind: "override",
      issueReason: "OVERRIDE",
      action: "instance.override",
      to: deliverable(allocation, "allocation", limitsOf(target)),
      ttlMs,
      reason,
    }));
  }

  /** The allocation of an earlier generation, as a new one: generations never go back. */
  rollback(name: string, { generation, ttlMs, reason }: RollbackInput, actor: Actor): Promise<Hold> {
    return this.move(name, actor, async (manager, target) => {
      const earlier = await verifiedGenerations(manager, target.instance!);
      const to = earlier.find((one) => one.generation === generation)?.allocation;
      if (!to)
        throw neverVerified(
          generation,
          earlier.map((one) => one.generation),
        );
      return {
        kind: "manual_rollback",
        issueReason: "MANUAL_ROLLBACK",
        action: "instance.rollback",
        to: deliverable(to, "generation", limitsOf(target)),
        ttlMs,
        reason,
        restored: generation,
      };
    });
  }

  /** What a rollback can go back to: the newest, and the oldest in any case. @throws ProblemError not_found */
  async generations(name: string): Promise<EarlierGenerations> {
    const { manager } = this.source;
    const instance = await manager.findOneBy(InstanceRow, { name, deletedAt: IsNull() });
    if (!instance) throw new ProblemError("not_found", `There is no instance ${name}.`);
    const all = await verifiedGenerations(manager, instance);
    const items = all.length <= MAX_GENERATIONS ? all : [...all.slice(0, MAX_GENERATIONS - 1), all.at(-1)!];
    return { items: items.map(({ at, ...one }) => ({ ...one, at: at?.toISOString() ?? null })) };
  }

  private async move(
    name: string,
    actor: Actor,
    plan: (manager: EntityManager, target: Target) => Promise<Move>,
  ): Promise<Hold> {
    const done = await this.source.transaction(async (manager) => {
      await lockHolds(manager);
      const target = await targetOf(manager, { instance: name });
      return this.carryOut(manager, target, await plan(manager, target), actor);
    });
    this.queue.watch([done.deadlineMs]);
    await this.assignments.announce(done.wake);
    return done.hold;
  }

  private async carryOut(manager: EntityManager, target: Target, move: Move, actor: Actor) {
    const instance = target.instance!;
    const from = { ...instance.allocation, generation: instance.generation };
    const change = {
      poolId: instance.poolId,
      instanceId: instance.id,
      decisionId: null,
      kind: move.kind,
      reason: move.issueReason,
      from,
      to: move.to,
    };
    const opened = await openReconfigurations(manager, [change], this.config.rollout.offerTimeoutMs);
    // The instance's row is locked, so its generation is the one that was read.
    const rollout = opened.get(instance.id)!;
    await endHeld(manager, instance, ["override"], actor, "set by hand anew");
    const { ttlMs, reason, to } = move;
    const { generation } = rollout;
    const input = { kind: "override", reason, ttlMs, allocation: to, generation } as const;
    const row = await makeHold(manager, target, input, actor);
    await appendAudit(manager, actor, {
      action: move.action,
      subject: `instance/${instance.name}`,
      before: audited(from),
      after: {
        ...audited({ ...to, generation }),
        ...(move.restored === undefined ? {} : { restored: move.restored }),
        reconfiguration: rollout.id,
        hold: row.id,
        until: row.until,
        reason,
      },
    });
    return {
      hold: toHold({ ...row, ...target }, Date.now()),
      deadlineMs: rollout.deadlineAt.getTime(),
      wake: await agentsOf(manager, instance.id),
    };
  }
}

function limitsOf({ pool, instance }: Target) {
  return { driver: instance!.capabilities.limits, pool: pool!.limits };
}

interface Earlier {
  readonly generation: number;
  readonly allocation: Allocation;
  readonly origin: "found" | "verified";
  readonly at: Date | null;
}

/**
 * What the instance once ran for certain, newest first: verified rollouts, the last good one, and what it was found
 * with. Bounded by the retention of reconfigurations.
 */
async function verifiedGenerations(manager: EntityManager, instance: InstanceRow): Promise<Earlier[]> {
  const rows = await manager.query<Earlier[]>(
    `SELECT DISTINCT ON (generation) generation, allocation, origin, at FROM (
       SELECT generation, to_allocation AS allocation, 'verified' AS origin, ended_at AS at FROM reconfigurations
       WHERE instance_id = $1 AND state = 'verified'
       UNION ALL
       SELECT (from_allocation ->> 'generation')::int, from_allocation - 'generation', 'found',
              CASE WHEN generation = 1 THEN $3::timestamptz END
       FROM reconfigurations WHERE instance_id = $1 AND (generation = 1 OR kind = 'adoption')
     ) g WHERE generation < $2 ORDER BY generation DESC, origin DESC LIMIT 1000`,
    [instance.id, instance.generation, instance.createdAt],
  );
  const { generation: good, ...allocation } = instance.lastGood;
  if (good >= instance.generation || rows.some(({ generation }) => generation === good)) return rows;
  const origin = good === 0 ? "found" : "verified";
  return [...rows, { generation: good, allocation, origin, at: null } satisfies Earlier].toSorted(
    (a, b) => b.generation - a.generation,
  );
}

function neverVerified(generation: number, earlier: readonly number[]): ProblemError {
  const named = earlier.slice(0, MOST_NAMED).join(", ");
  const more = earlier.length > MOST_NAMED ? ` and ${earlier.length - MOST_NAMED} older ones` : "";
  const had = earlier.length === 0 ? "there is none to go back to yet" : `these can be had: ${named}${more}`;
  const message = `${generation} is no earlier generation that was verified; ${had}`;
  return new ProblemError("invalid_request", `generation: ${message}`, [{ field: "generation", message }]);
}
