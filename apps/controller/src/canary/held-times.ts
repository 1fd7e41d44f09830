/** When holds kept the policy from moving any of a canary's instances. */
import type { Schedule } from "@fulcrum/contracts/holds.js";
import type { EntityManager } from "typeorm";
import { spansBetween } from "../holds/freeze-spans.js";
import type { PoolRow } from "../pools/pool.rows.js";

/** Holds that are looked at, the newest ones. */
const MOST_HOLDS = 1_000;
/** Starts of freeze windows that are looked at, shared among them; all of them take some 0.1 s. */
const MOST_STARTS = 1_000;

interface Held {
  /** null: all of them. */
  readonly instanceId: string | null;
  readonly schedule: Schedule | null;
  readonly fromMs: number;
  /** null: it goes on. */
  readonly untilMs: number | null;
}

interface Span {
  readonly fromMs: number;
  readonly untilMs: number;
}

const HELD = `
  SELECT h.instance_id AS "instanceId", h.schedule, floor(extract(epoch FROM h.starts_at) * 1000)::float8 AS "fromMs",
         floor(extract(epoch FROM least(h.ended_at, h.until)) * 1000)::float8 AS "untilMs"
  FROM holds h
  WHERE (h.instance_id = ANY($1::uuid[]) OR h.instance_id IS NULL AND (h.pool_id IS NULL OR h.pool_id = $2))
    AND coalesce(least(h.ended_at, h.until), 'infinity') > $3
  ORDER BY h.id DESC LIMIT ${MOST_HOLDS}`;

/** Whether each of these instances was held by one and the same hold throughout [fromMs, untilMs), since `since`. */
export async function heldTimesOf(
  manager: EntityManager,
  pool: PoolRow,
  instances: readonly { readonly id: string }[],
  since: Date,
): Promise<(fromMs: number, untilMs: number) => boolean> {
  const ids = instances.map(({ id }) => id);
  const holds = await manager.query<Held[]>(HELD, [ids, pool.id, since]);
  const starts = Math.ceil(MOST_STARTS / Math.max(1, holds.filter(({ schedule }) => schedule).length));
  const between = { fromMs: since.getTime(), untilMs: Date.now() };
  const spansOf = (instanceId: string | null) =>
    holds.filter((hold) => hold.instanceId === instanceId).flatMap((hold) => timesOf(hold, between, starts));
  // A pool's own setting has no beginning: it stands since its last change at the latest.
  const frozen = pool.frozen ? [{ fromMs: pool.updatedAt.getTime(), untilMs: Infinity }] : [];
  const common = [...spansOf(null), ...frozen];
  const own = ids.map(spansOf);
  return (fromMs, untilMs) => {
    const within = (span: Span) => span.fromMs <= fromMs && span.untilMs >= untilMs;
    return common.some(within) || (own.length > 0 && own.every((spans) => spans.some(within)));
  };
}

function timesOf({ schedule, fromMs, untilMs }: Held, between: Span, mostStarts: number): Span[] {
  const whole = { fromMs, untilMs: untilMs ?? Infinity };
  if (schedule === null) return [whole];
  const from = Math.max(between.fromMs, whole.fromMs);
  return spansBetween(schedule, from, Math.min(between.untilMs, whole.untilMs), mostStarts).map((span) => ({
    fromMs: Math.max(span.fromMs, whole.fromMs),
    untilMs: Math.min(span.untilMs, whole.untilMs),
  }));
}
