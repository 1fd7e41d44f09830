import type { Hold, holdQuery } from "@fulcrum/contracts/holds.js";
import type { EntityManager } from "typeorm";
import type { z } from "zod";
import { pageBefore } from "../db/page.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { ProblemError } from "../http/problem-error.js";
import { PoolRow } from "../pools/pool.rows.js";
import { spanOf } from "./freeze-window.js";
import { HoldRow } from "./hold.row.js";

export const RAN_OUT = "its time ran out";

export type HoldQuery = z.infer<typeof holdQuery>;
export type NamedHold = HoldRow & {
  readonly pool: Pick<PoolRow, "name"> | null;
  readonly instance: Pick<InstanceRow, "name"> | null;
};

export async function listHolds(manager: EntityManager, query: HoldQuery, nowMs: number) {
  const builder = named(manager);
  const active = "row.endedAt IS NULL AND (row.until IS NULL OR row.until > :now)";
  const now = new Date(nowMs);
  if (query.active === "true") builder.andWhere(`(${active})`, { now });
  if (query.active === "false") builder.andWhere(`NOT (${active})`, { now });
  if (query.kind) builder.andWhere("row.kind = :kind", { kind: query.kind });
  if (query.pool)
    builder.andWhere(
      `(pool.name = :pool OR (row.poolId IS NULL
        AND EXISTS (SELECT 1 FROM pools n WHERE n.name = :pool AND n.deleted_at IS NULL)))`,
      { pool: query.pool },
    );
  if (query.instance)
    builder.andWhere(
      `(instance.name = :instance OR (row.instanceId IS NULL AND EXISTS (
        SELECT 1 FROM instances n WHERE n.name = :instance AND n.deleted_at IS NULL
          AND (row.poolId IS NULL OR row.poolId = n.pool_id))))`,
      { instance: query.instance },
    );
  return pageBefore(builder, { limit: query.limit, cursor: query.cursor }, (row) =>
    toHold(row as NamedHold, nowMs),
  );
}

/** @throws ProblemError not_found */
export async function readHold(manager: EntityManager, id: string): Promise<NamedHold> {
  const row = await named(manager).where("row.id = :id", { id }).getOne();
  if (!row) throw new ProblemError("not_found", `There is no hold ${id}.`);
  return row as NamedHold;
}

function named(manager: EntityManager) {
  return manager
    .createQueryBuilder(HoldRow, "row")
    .leftJoinAndMapOne("row.pool", PoolRow, "pool", "pool.id = row.poolId")
    .leftJoinAndMapOne("row.instance", InstanceRow, "instance", "instance.id = row.instanceId");
}

export function toHold(row: NamedHold, nowMs: number): Hold {
  const ended = endOf(row, nowMs);
  return {
    id: row.id,
    kind: row.kind,
    pool: row.pool?.name ?? null,
    instance: row.instance?.name ?? null,
    allocation: row.allocation,
    generation: row.generation,
    schedule: row.schedule,
    reason: row.reason,
    actor: row.actor,
    from: row.startsAt.toISOString(),
    until: toText(row.until),
    ...ended,
    active: ended.endedAt === null,
    ...timesOf(row.schedule, ended.endedAt === null, nowMs),
  };
}

/** One whose time ran out has ended, whether somebody has written that down yet or not. */
function endOf(row: HoldRow, nowMs: number): Pick<Hold, "endedAt" | "endedBy" | "endReason"> {
  const { endedAt, endedBy, endReason, until } = row;
  if (endedAt !== null) return { endedAt: endedAt.toISOString(), endedBy, endReason };
  const ranOut = until !== null && until.getTime() <= nowMs;
  return { endedAt: ranOut ? toText(until) : null, endedBy: null, endReason: ranOut ? RAN_OUT : null };
}

function timesOf(
  schedule: HoldRow["schedule"],
  active: boolean,
  nowMs: number,
): Pick<Hold, "holding" | "window"> {
  if (!active || schedule === null) return { holding: active, window: null };
  const span = spanOf(schedule, nowMs);
  if (span === null) return { holding: false, window: null };
  const { fromMs, untilMs } = span;
  const until = Number.isFinite(untilMs) ? new Date(untilMs).toISOString() : null;
  return { holding: fromMs <= nowMs, window: { from: new Date(fromMs).toISOString(), until } };
}

function toText(at: Date | null): string | null {
  return at === null ? null : at.toISOString();
}

/** As audit rows name it. */
export function subjectOf(pool: string | null, instance: string | null): string {
  if (instance !== null) return `instance/${instance}`;
  return pool === null ? "fleet" : `pool/${pool}`;
}
