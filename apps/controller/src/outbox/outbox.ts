/**
 * What webhooks are told. Everything of interest is in the audit log, so that is where it is taken from: in the same
 * transaction, one row for each webhook that asked for it. Somebody is told if and only if it happened.
 */
import type { WebhookEvent } from "@fulcrum/contracts/webhooks.js";
import type { EntityManager } from "typeorm";
import { uuidV7 } from "../db/uuid-v7.js";

/** Of an audit row what a message carries. */
export interface Happening {
  readonly action: string;
  /** `instance/NAME` or `pool/NAME`. */
  readonly subject: string;
  readonly actor: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** Which actions of the audit log are told, and as what. A rollback that failed leaves its instance degraded too. */
const EVENTS: Readonly<Record<string, readonly WebhookEvent[]>> = {
  "alert.firing": ["alert.firing"],
  "alert.resolved": ["alert.resolved"],
  "instance.degraded": ["instance.degraded"],
  "proposal.create": ["proposal.opened"],
  "reconfiguration.rolled_back": ["rollout.rolled_back"],
  "reconfiguration.failed": ["rollout.failed", "instance.degraded"],
  "pool.create": ["pool.changed"],
  "pool.update": ["pool.changed"],
  "pool.delete": ["pool.changed"],
  "slo.set": ["slo.changed"],
};

/** Waiting messages of one webhook at most: of a target that is away for a day while a fleet burns, the rest is dropped. */
const MAX_WAITING = 10_000;

/** Writes a row for each webhook that wants to hear of each; costs nothing where nothing is to be told. */
export async function tell(
  manager: EntityManager,
  happenings: readonly Happening[],
  at: string,
): Promise<void> {
  const told = happenings.flatMap((one) => eventsOf(one).map((event) => ({ ...one, event })));
  if (told.length === 0) return;
  const hooks = await manager.query<{ id: string; events: string[]; pool: string | null; room: number }[]>(
    `SELECT w.id, w.events, w.pool,
            ${MAX_WAITING} - (SELECT count(*)::int FROM (
              SELECT 1 FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.state = 'pending' LIMIT ${MAX_WAITING}) q) AS room
     FROM webhooks w WHERE w.disabled_at IS NULL ORDER BY w.id`,
  );
  if (hooks.length === 0) return;
  const pools = await poolsOf(manager, told);
  const rows = hooks.flatMap((hook) =>
    told
      .map((one) => ({ ...one, pool: pools.get(one.subject) ?? null }))
      .filter(({ event, pool }) => hook.events.includes(event) && (hook.pool === null || hook.pool === pool))
      .slice(0, Math.max(0, hook.room))
      .map(({ event, pool, ...one }) => ({
        id: uuidV7(),
        hook: hook.id,
        event,
        body: bodyOf(event, at, { ...whereOf(one.subject, pool), ...rest(one) }),
      })),
  );
  if (rows.length === 0) return;
  await manager.query(
    `INSERT INTO webhook_deliveries (id, webhook_id, event, body, state, tries, created_at, next_try_at)
     SELECT t.id, t.hook, t.event, t.body, 'pending', 0, $5::timestamptz, $5::timestamptz
     FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS t(id, hook, event, body)`,
    [
      rows.map(({ id }) => id),
      rows.map(({ hook }) => hook),
      rows.map(({ event }) => event),
      rows.map(({ body }) => body),
      at,
    ],
  );
}

/** A pool's SLO may also come with a change of its other settings. */
function eventsOf({ action, before, after }: Happening): readonly WebhookEvent[] {
  const events = EVENTS[action] ?? [];
  return action === "pool.update" && sloVersionOf(before) !== sloVersionOf(after)
    ? [...events, "slo.changed"]
    : events;
}

function sloVersionOf(pool: unknown): unknown {
  return (pool as { sloVersion?: unknown } | null)?.sloVersion;
}

/** The body of a message, as Standard Webhooks has it. */
export function bodyOf(type: string, timestamp: string, data: object): string {
  return JSON.stringify({ type, timestamp, data });
}

function rest({ actor, before, after }: Happening): object {
  return { actor, before: before ?? null, after: after ?? null };
}

function whereOf(subject: string, pool: string | null): { pool: string | null; instance: string | null } {
  return { pool, instance: subject.startsWith("instance/") ? nameIn(subject) : null };
}

function nameIn(subject: string): string {
  return subject.slice(subject.indexOf("/") + 1);
}

async function poolsOf(
  manager: EntityManager,
  told: readonly { subject: string }[],
): Promise<ReadonlyMap<string, string>> {
  const subjects = [...new Set(told.map(({ subject }) => subject))];
  const byPool = subjects
    .filter((subject) => subject.startsWith("pool/"))
    .map((subject): [string, string] => [subject, nameIn(subject)]);
  const instances = subjects.filter((subject) => subject.startsWith("instance/")).map(nameIn);
  if (instances.length === 0) return new Map(byPool);
  const rows = await manager.query<{ instance: string; pool: string }[]>(
    `SELECT i.name AS instance, p.name AS pool FROM instances i JOIN pools p ON p.id = i.pool_id
     WHERE i.name = ANY($1::text[]) AND i.deleted_at IS NULL`,
    [instances],
  );
  return new Map([...byPool, ...rows.map((row): [string, string] => [`instance/${row.instance}`, row.pool])]);
}
