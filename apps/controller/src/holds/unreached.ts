import { describeAllocation } from "@fulcrum/core/allocation.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { type EntityManager, In, IsNull } from "typeorm";
import { type AuditRecord, CONTROLLER } from "../audit/append-audit.js";
import type { InstanceRow } from "../fleet/fleet.rows.js";
import { PoolRow } from "../pools/pool.rows.js";
import { HoldRow } from "./hold.row.js";
import { subjectOf, toHold } from "./hold-read.js";

/** How the end of a hold begins whose allocation was never reached. */
const NOT_REACHED = "not reached";

/**
 * Ends what a person set by hand as `generation` and what was not reached: else it would pin, in that person's name, an
 * allocation that nobody chose. The caller holds the instance's lock and appends the audit.
 */
export async function endUnreached(
  manager: EntityManager,
  instance: InstanceRow,
  { generation, why, back }: { readonly generation: number; readonly why: string; readonly back: Allocation },
): Promise<AuditRecord[]> {
  const now = new Date();
  const rows = await manager.findBy(HoldRow, {
    instanceId: instance.id,
    kind: "override",
    generation,
    endedAt: IsNull(),
  });
  // One whose time has run out is settled by the sweep, which locks it without the instance.
  const held = rows.filter(({ until }) => until === null || until > now);
  if (held.length === 0) return [];
  const endReason = `${NOT_REACHED}: ${why}; it goes back to ${describeAllocation(back)}`;
  const ending = { endedAt: now, endedBy: CONTROLLER.name, endReason };
  await manager.update(HoldRow, { id: In(held.map(({ id }) => id)), endedAt: IsNull() }, ending);
  const pool = await manager.findOneByOrFail(PoolRow, { id: instance.poolId });
  return held.map((row) => ({
    action: "hold.end",
    subject: subjectOf(pool.name, instance.name),
    before: toHold({ ...row, pool, instance }, now.getTime()),
    after: toHold({ ...row, ...ending, pool, instance }, now.getTime()),
  }));
}
