import type { LiveEventName } from "@fulcrum/contracts/live.js";
import type { GeneratedAllocation, SloTarget, Window } from "@fulcrum/core/nouns.js";
import type { DataSource, EntityManager } from "typeorm";
import type { Position } from "./position.js";

/** A window that was stored, with what is needed to say how good it was. */
export interface NewWindow {
  readonly instanceId: string;
  readonly instance: string;
  readonly slo: SloTarget;
  /** What the agent read back last. */
  readonly observed: GeneratedAllocation | null;
  readonly window: Window;
}

/** Something else that changed: its event's name and data. */
export interface NewFact {
  readonly kind: Exclude<LiveEventName, "window" | "position" | "reset">;
  readonly instance: string | null;
  readonly data: object;
}

export interface Changes {
  /** Where it ends: the place to go on from. */
  readonly position: Position;
  readonly windows: readonly NewWindow[];
  readonly facts: readonly NewFact[];
  /** More windows of an instance than are read at once: some are missing here. */
  readonly cut: boolean;
}

interface Row {
  kind: "position" | "window" | NewFact["kind"];
  instance_id: string | null;
  instance: string | null;
  data: unknown;
  slo: SloTarget | null;
  observed: GeneratedAllocation | null;
}

/** A report brings at most 32 windows of an instance; at rest there is one a second. */
const WINDOWS_PER_READ = 40;
const WINDOWS_PER_S = 4;
/** An agent that was cut off brings what it held back in many reports: then more are looked at, up to so many. */
const MORE_TIMES = 8;
const MOST_WINDOWS = 2_000;
/** Clocks of replicas and the database, and transactions that wait: where a time only narrows what is looked at. */
const SLACK_MS = 120_000;

/**
 * Whether a row was written after the position $1 and, where $2 is given, not after that. By the transaction that
 * wrote it (xmin), since commits come in another order than clock readings. No savepoints are used: of those a
 * snapshot does not tell. age() is the cheap first look; transactions older than every one that ran at $1 are out.
 */
const changed = (xmin: string) => `(
  age(${xmin}) <= since.oldest
  AND NOT pg_visible_in_snapshot((since.base + since.oldest - age(${xmin}))::text::xid8, since.snapshot)
  AND ($2::pg_snapshot IS NULL
       OR pg_visible_in_snapshot((since.base + since.oldest - age(${xmin}))::text::xid8, $2::pg_snapshot)))`;

/** One statement, so one picture. $3: the position's time less the slack; $4: the least UUID of that time; $5: windows. */
const CHANGES = `
  WITH since AS MATERIALIZED (
    SELECT $1::pg_snapshot AS snapshot, age(pg_snapshot_xmin($1::pg_snapshot)::xid) AS oldest,
           pg_snapshot_xmin($1::pg_snapshot)::text::bigint AS base
  )
  SELECT 'position' AS kind, NULL::uuid AS instance_id, NULL AS instance,
         json_build_object('atMs', floor(extract(epoch FROM clock_timestamp()) * 1000),
                           'snapshot', pg_current_snapshot()::text) AS data,
         NULL::jsonb AS slo, NULL::jsonb AS observed
  UNION ALL
  SELECT 'window', i.id, i.name, w.body, v.slo, s.observed
  FROM since
  JOIN instance_signals s ON ${changed("s.xmin")} OR $2::pg_snapshot IS NOT NULL
  JOIN instances i ON i.id = s.instance_id AND i.deleted_at IS NULL
  JOIN pools p ON p.id = i.pool_id
  JOIN slo_versions v ON v.pool_id = p.id AND v.version = p.slo_version
  CROSS JOIN LATERAL (
    SELECT w.body FROM windows w
    WHERE w.instance_id = i.id AND w.seq > s.last_seq - $5::int AND w.received_at > $3::timestamptz
      AND ${changed("w.xmin")}
    ORDER BY w.seq) w
  UNION ALL
  SELECT 'decision', i.id, i.name,
         json_build_object('id', d.id, 'instance', i.name, 'kind', d.kind, 'reason', d.reason), NULL, NULL
  FROM since
  JOIN decisions d ON d.id > $4::uuid AND ${changed("d.xmin")}
  JOIN instances i ON i.id = d.instance_id
  UNION ALL
  SELECT 'rollout', i.id, i.name,
         json_build_object('id', r.id, 'instance', i.name, 'state', r.state, 'generation', r.generation), NULL, NULL
  FROM since CROSS JOIN instances i
  CROSS JOIN LATERAL (
    SELECT r.id, r.state, r.generation, r.xmin AS written FROM reconfigurations r
    WHERE r.instance_id = i.id ORDER BY r.generation DESC LIMIT 2) r
  WHERE i.deleted_at IS NULL AND ${changed("r.written")}
  UNION ALL
  SELECT 'hold', i.id, i.name, json_build_object('id', h.id, 'pool', p.name, 'instance', i.name), NULL, NULL
  FROM since
  JOIN holds h ON ${changed("h.xmin")}
  LEFT JOIN instances i ON i.id = h.instance_id
  LEFT JOIN pools p ON p.id = h.pool_id
  UNION ALL
  SELECT 'pool', NULL, NULL,
         json_build_object('pool', p.name, 'version', p.version, 'sloVersion', p.slo_version,
                           'deleted', p.deleted_at IS NOT NULL), NULL, NULL
  FROM since
  JOIN pools p ON ${changed("p.xmin")}
  UNION ALL
  SELECT 'proposal', i.id, i.name,
         json_build_object('id', o.id, 'instance', i.name, 'state', o.state), NULL, NULL
  FROM since CROSS JOIN instances i
  CROSS JOIN LATERAL (
    SELECT o.id, o.state, o.xmin AS written, o.ended_at FROM proposals o
    WHERE o.instance_id = i.id ORDER BY o.id DESC LIMIT 2) o
  WHERE i.deleted_at IS NULL
    AND (${changed("o.written")}
         OR o.ended_at IS NULL AND EXISTS (
           SELECT 1 FROM proposal_votes b WHERE b.proposal_id = o.id AND ${changed("b.xmin")}))`;

/** What was committed after `from`; with `to`, up to there and no further. */
export async function readChanges(
  source: DataSource,
  from: Position,
  nowMs: number,
  to: Position | null = null,
): Promise<Changes> {
  const sinceMs = Math.min(from.atMs, nowMs) - SLACK_MS;
  const elapsedS = Math.max(0, nowMs - from.atMs) / 1_000;
  let atMost = Math.ceil(WINDOWS_PER_READ + WINDOWS_PER_S * elapsedS);
  for (;;) {
    const rows = await source.query<Row[]>(CHANGES, [
      from.snapshot,
      to?.snapshot ?? null,
      new Date(sinceMs),
      leastUuidOf(sinceMs),
      atMost,
    ]);
    const changes = toChanges(rows, atMost);
    if (!changes.cut || atMost >= MOST_WINDOWS) return changes;
    atMost = Math.min(MOST_WINDOWS, atMost * MORE_TIMES);
  }
}

/** Where the database is now. */
export async function readPosition(manager: EntityManager): Promise<Position> {
  const [row] = await manager.query<{ at_ms: number; snapshot: string }[]>(
    `SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS at_ms, pg_current_snapshot()::text AS snapshot`,
  );
  return { atMs: row!.at_ms, snapshot: row!.snapshot };
}

function toChanges(rows: readonly Row[], windowsAtMost: number): Changes {
  const windows: NewWindow[] = [];
  const facts: NewFact[] = [];
  const counts = new Map<string, number>();
  let position: Position | null = null;
  for (const { kind, instance_id, instance, data, slo, observed } of rows) {
    if (kind === "position") position = data as Position;
    else if (kind === "window") {
      windows.push({
        instanceId: instance_id!,
        instance: instance!,
        slo: slo!,
        observed,
        window: data as Window,
      });
      counts.set(instance_id!, (counts.get(instance_id!) ?? 0) + 1);
    } else facts.push({ kind, instance, data: data as object });
  }
  const cut = [...counts.values()].some((count) => count >= windowsAtMost);
  return { position: position!, windows, facts, cut };
}

/** Ids are UUIDs of version 7: they begin with their time. */
function leastUuidOf(atMs: number): string {
  const hex = Math.max(0, Math.floor(atMs)).toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}
