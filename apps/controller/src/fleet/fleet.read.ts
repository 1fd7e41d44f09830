import type { AgentResource, Instance } from "@fulcrum/contracts/resources.js";
import type { SloTarget, Window } from "@fulcrum/core/nouns.js";
import type { GuardConfig } from "@fulcrum/core/decision.js";
import { flapsOf } from "@fulcrum/core/guard/flap.js";
import { bucketAdvice } from "@fulcrum/core/signal/bucket-advice.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import { ACTIVE_HOLDS, type ActiveHold, standingHold } from "../holds/standing.js";
import { parseCursor } from "../db/page.js";
import { ProblemError } from "../http/problem-error.js";
import { recentMovesSql, type StoredMove, toMoves } from "./recent-moves.js";
import { type RecentLatencies, recentHistogram } from "./recent-histogram.js";

export interface InstanceView {
  id: string;
  name: string;
  pool: string;
  mode: Instance["mode"];
  rank_count: number;
  agents: string[] | null;
  capabilities: Instance["capabilities"];
  generation: number;
  allocation: Omit<Instance["desired"], "generation">;
  observed: Instance["observed"];
  observed_at: Date | null;
  last_good: Instance["lastGood"];
  holds: ActiveHold[] | null;
  frozen: boolean;
  degraded: boolean;
  conditions: string[];
  last_end_at: Date | null;
  stale_after_ms: number;
  slo: SloTarget;
  decision_id: string | null;
  decision_at: Date | null;
  decision_kind: "move" | "hold";
  decision_reason: string;
  decision_message: string;
  rollout: Instance["rollout"];
  created_at: Date;
}

interface InstanceRead extends InstanceView {
  /** Of the newest windows, newest first; null before the first one. */
  latencies: RecentLatencies[] | null;
  moves: StoredMove[] | null;
  guards: GuardConfig;
}

export interface WindowQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

/** Windows of which a list says how many samples fell into a bucket: ten seconds' worth. */
const RECENT_WINDOWS = 10;

const INSTANCES = instancesSql(
  `w.latencies, p.guards, ${recentMovesSql("now()")} AS moves`,
  `LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object('ttft', r.body -> 'ttft', 'tpot', r.body -> 'tpot')) AS latencies
    FROM (SELECT body FROM windows WHERE instance_id = i.id ORDER BY seq DESC LIMIT ${RECENT_WINDOWS}) r
  ) w ON true`,
);

/** Selects what toInstance reads, and `column`, which may come from `join`. */
export function instancesSql(column: string, join = ""): string {
  return `
  SELECT i.id, i.name, p.name AS pool, p.mode, i.rank_count, i.capabilities, i.generation, i.allocation,
         s.observed, s.observed_at, i.last_good, p.frozen, ${ACTIVE_HOLDS} AS holds, i.degraded, s.conditions, s.last_end_at,
         (p.guards ->> 'staleAfterMs')::float8 AS stale_after_ms, v.slo,
         d.id AS decision_id, d.at AS decision_at, d.kind AS decision_kind, d.reason AS decision_reason,
         d.message AS decision_message, o.state AS rollout, i.created_at,
         (SELECT array_agg(DISTINCT a.name) FROM instance_ranks r JOIN agents a ON a.id = r.agent_id
          WHERE r.instance_id = i.id) AS agents, ${column}
  FROM instances i
  JOIN pools p ON p.id = i.pool_id
  JOIN slo_versions v ON v.pool_id = p.id AND v.version = p.slo_version
  JOIN instance_signals s ON s.instance_id = i.id
  ${join}
  LEFT JOIN decisions d ON d.id = s.last_decision_id
  LEFT JOIN reconfigurations o ON o.instance_id = i.id AND o.ended_at IS NULL
  WHERE i.deleted_at IS NULL`;
}

/** Read models of instances and agents for the admin API. */
@Injectable()
export class FleetRead {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  async instances(query: { pool?: string | undefined; limit: number; cursor?: string | undefined }) {
    const rows = await this.source.query<InstanceRead[]>(
      `${INSTANCES} AND ($1::text IS NULL OR p.name = $1) AND ($2::text IS NULL OR i.name > $2) ORDER BY i.name LIMIT $3`,
      [query.pool ?? null, query.cursor ?? null, query.limit + 1],
    );
    const items = rows.slice(0, query.limit).map((row) => whole(row, Date.now()));
    return { items, nextCursor: rows.length > query.limit ? items.at(-1)!.name : null };
  }

  async instance(name: string): Promise<Instance> {
    const [row] = await this.source.query<InstanceRead[]>(`${INSTANCES} AND i.name = $1`, [name]);
    if (!row) throw new ProblemError("not_found", `There is no instance ${name}.`);
    return whole(row, Date.now());
  }

  /** Newest first; the cursor is the sequence number of the last one given. */
  async windows(name: string, query: WindowQuery) {
    const { id } = await this.instance(name);
    const before = query.cursor === undefined ? null : parseCursor(query.cursor, "number");
    const rows = await this.source.query<{ received_at: Date; seq: number; body: Window }[]>(
      `SELECT received_at, seq::float8 AS seq, body FROM windows
       WHERE instance_id = $1 AND received_at >= coalesce($2::timestamptz, '-infinity')
         AND received_at < coalesce($3::timestamptz, 'infinity') AND ($4::bigint IS NULL OR seq < $4)
       ORDER BY seq DESC LIMIT $5`,
      [id, query.from ?? null, query.to ?? null, before, query.limit + 1],
    );
    const items = rows.slice(0, query.limit);
    return {
      items: items.map((row) => ({ receivedAt: row.received_at.toISOString(), window: row.body })),
      nextCursor: rows.length > query.limit ? String(items.at(-1)!.seq) : null,
    };
  }

  async agents(name?: string): Promise<AgentResource[]> {
    const rows = await this.source.query<AgentView[]>(
      `SELECT a.*, (SELECT array_agg(DISTINCT i.name) FROM instance_ranks r
                    JOIN instances i ON i.id = r.instance_id AND i.deleted_at IS NULL
                    WHERE r.agent_id = a.id) AS instances
       FROM agents a WHERE $1::text IS NULL OR a.name = $1 ORDER BY a.name LIMIT 5000`,
      [name ?? null],
    );
    return rows.map((row) => toAgent(row, Date.now()));
  }
}

interface AgentView {
  id: string;
  name: string;
  node: string;
  agent_version: string;
  last_seen_at: Date;
  clock_skew_ms: number;
  created_at: Date;
  instances: string[] | null;
}

/** An agent that reports every second and was silent for so long is called silent. */
export const SILENT_AFTER_MS = 15_000;
/** Clocks this far apart are said to differ; below it the difference is mostly the network's. */
export const SKEW_MS = 2_000;

function toAgent(row: AgentView, nowMs: number): AgentResource {
  const conditions: string[] = [];
  if (nowMs - row.last_seen_at.getTime() > SILENT_AFTER_MS) conditions.push("Silent");
  if (Math.abs(row.clock_skew_ms) > SKEW_MS) conditions.push("ClockSkew");
  return {
    id: row.id,
    name: row.name,
    node: row.node,
    agentVersion: row.agent_version,
    instances: row.instances ?? [],
    lastSeenAt: row.last_seen_at.toISOString(),
    clockSkewMs: row.clock_skew_ms,
    conditions,
    createdAt: row.created_at.toISOString(),
  };
}

/** Latencies that were seen of late: how many samples fell into a bucket. */
export type SeenLatencies = Parameters<typeof bucketAdvice>[1];

function seenIn(latencies: readonly RecentLatencies[] | null): SeenLatencies {
  const recent = latencies ?? [];
  return {
    ttft: recentHistogram(recent.map(({ ttft }) => ttft)),
    tpot: recentHistogram(recent.map(({ tpot }) => tpot)),
  };
}

function whole(row: InstanceRead, nowMs: number): Instance {
  const { flapBudget: budget, flapWindowMs: windowMs } = row.guards;
  const used = flapsOf(toMoves(row.moves), row.guards, nowMs).reversals;
  return { ...toInstance(row, seenIn(row.latencies), nowMs), flaps: { used, budget, windowMs } };
}

export function toInstance(row: InstanceView, seen: SeenLatencies, nowMs: number): Omit<Instance, "flaps"> {
  const { pinned, frozen } = standingHold(row.holds ?? [], row.frozen, nowMs);
  const conditions = [...row.conditions];
  if (row.degraded) conditions.push("Degraded");
  if (pinned) conditions.push("Pinned");
  if (frozen) conditions.push("Paused");
  if (row.last_end_at === null) conditions.push("NoSignal");
  else if (nowMs - row.last_end_at.getTime() > row.stale_after_ms) conditions.push("StaleSignal");
  const advice = bucketAdvice(row.slo, seen, row.capabilities.engine ?? null);
  conditions.push(...advice.map(({ condition }) => condition));
  return {
    id: row.id,
    name: row.name,
    pool: row.pool,
    mode: row.mode,
    rankCount: row.rank_count,
    agents: row.agents ?? [],
    capabilities: row.capabilities,
    desired: { ...row.allocation, generation: row.generation },
    observed: row.observed,
    observedAt: row.observed_at?.toISOString() ?? null,
    lastGood: row.last_good,
    pinned: pinned !== null,
    pinnedUntil: pinned && pinned.untilAtMs !== null ? new Date(pinned.untilAtMs).toISOString() : null,
    conditions,
    bucketWarnings: advice.map(({ message }) => message),
    lastWindowAt: row.last_end_at?.toISOString() ?? null,
    lastDecision: row.decision_id
      ? {
          id: row.decision_id,
          at: row.decision_at!.toISOString(),
          kind: row.decision_kind,
          reason: row.decision_reason,
          message: row.decision_message,
        }
      : null,
    rollout: row.rollout,
    createdAt: row.created_at.toISOString(),
  };
}
