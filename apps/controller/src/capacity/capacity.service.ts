import { setImmediate as nextTurn } from "node:timers/promises";
import type { Capabilities } from "@fulcrum/contracts/agent-api.js";
import { needOf, noteNeed, steadyNeed, type Need } from "@fulcrum/core/capacity.js";
import type { PolicyConfig, PolicyState } from "@fulcrum/core/decision.js";
import type { Limits, SloTarget } from "@fulcrum/core/nouns.js";
import { type Headroom, headroomOf } from "@fulcrum/core/policy/search-headroom.js";
import { Inject, Injectable, type OnModuleInit } from "@nestjs/common";
import { DataSource } from "typeorm";
import { narrowLimits } from "../pools/pool-settings.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import type { CapacityItem } from "./capacity.row.js";

/** How old a pool's capacity must be to be computed again; an HPA looks every 15 s. */
const EVERY_MS = 15_000;
/** Pools that one sweep takes, those that waited longest first: of five sweeps a minute 12 times as many. */
const POOLS_A_SWEEP = 5;
/** Instances of a pool that are asked, each 3.5 to 8 ms; the others are taken to be as these. */
const ASKED_A_POOL = 40;
/** An instance whose newest window is older tells nothing of what comes now. */
const SILENT_AFTER_MS = 60_000;

interface Claimed {
  pool_id: string;
  claimed_at: Date;
  recent: readonly Need[];
}

interface Row {
  name: string;
  capabilities: Capabilities;
  pool_limits: Partial<Limits>;
  policy: PolicyConfig;
  slo: SloTarget;
  policy_state: PolicyState | null;
  heard: boolean;
  kv_total_tokens: number | null;
  max_sequences: number | null;
  max_batch_tokens: number | null;
  instances: number;
}

const CLAIM = `
  INSERT INTO pool_capacities AS c (pool_id, claimed_at, instances, needed, known, recent, items)
  SELECT p.id, $1, 0, 0, 0, '[]', '[]' FROM pools p
  LEFT JOIN pool_capacities o ON o.pool_id = p.id
  WHERE p.deleted_at IS NULL AND (o.claimed_at IS NULL OR o.claimed_at <= $2)
  ORDER BY o.claimed_at NULLS FIRST LIMIT ${POOLS_A_SWEEP}
  ON CONFLICT (pool_id) DO UPDATE SET claimed_at = excluded.claimed_at WHERE c.claimed_at <= $2
  RETURNING pool_id, claimed_at, recent`;

/** Windows are sought by the time they were received in, which is what their partitions are cut by. */
const INSTANCES = `
  SELECT i.name, i.capabilities, p.limits AS pool_limits, p.policy, v.slo, s.policy_state,
         w.body IS NOT NULL AS heard,
         (w.body #>> '{kv,totalTokens}')::float8 AS kv_total_tokens,
         (w.body #>> '{work,maxSequences}')::float8 AS max_sequences,
         (w.body #>> '{work,maxBatchTokens}')::float8 AS max_batch_tokens,
         (count(*) OVER ())::int AS instances
  FROM instances i
  JOIN pools p ON p.id = i.pool_id
  JOIN slo_versions v ON v.pool_id = p.id AND v.version = p.slo_version
  JOIN instance_signals s ON s.instance_id = i.id
  LEFT JOIN LATERAL (
    SELECT body FROM windows w WHERE w.instance_id = i.id AND w.received_at > $2 ORDER BY w.seq DESC LIMIT 1) w ON true
  WHERE i.pool_id = $1 AND i.deleted_at IS NULL
  ORDER BY i.id LIMIT ${ASKED_A_POOL}`;

/** Asks of each pool how many instances would keep its promise. Works with every sweep; nothing is scaled from here. */
@Injectable()
export class CapacityService implements OnModuleInit {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
  ) {}

  onModuleInit(): void {
    this.queue.onSweep(() => this.sweep());
  }

  /** Computes what is due, on this replica if no other has claimed it. */
  async sweep(nowMs: number = Date.now()): Promise<void> {
    const times = [new Date(nowMs), new Date(nowMs - EVERY_MS)];
    const claimed = await this.source.query<Claimed[]>(CLAIM, times);
    for (const claim of claimed) await this.compute(claim, nowMs);
    await this.source.query(
      `DELETE FROM pool_capacities c USING pools p WHERE p.id = c.pool_id AND p.deleted_at IS NOT NULL`,
    );
  }

  /** Stores nothing where another has claimed the pool meanwhile. */
  async compute(
    { pool_id: poolId, claimed_at: claimedAt, recent: before }: Claimed,
    nowMs: number,
  ): Promise<void> {
    const rows = await this.source.query<Row[]>(INSTANCES, [poolId, new Date(nowMs - SILENT_AFTER_MS)]);
    const asked: Headroom[] = [];
    const items: CapacityItem[] = [];
    for (const row of rows) {
      const headroom = askedOf(row);
      asked.push(headroom);
      const { factor, arrivalPerS, why } = headroom;
      items.push({ instance: row.name, headroom: factor, arrivalPerS, why });
      // Reports are answered in between.
      await nextTurn();
    }
    const instances = rows[0]?.instances ?? 0;
    const { needed, headroom, known } = needOf({ instances, asked });
    // Where nothing is known nothing is asked for, and what was known counts again once more is.
    const recent = known > 0 ? noteNeed(before, { atMs: nowMs, needed }) : before;
    await this.source.query(
      `UPDATE pool_capacities SET computed_at = $2, instances = $3, needed = $4, headroom = $5, known = $6,
         recent = $7, items = $8 WHERE pool_id = $1 AND claimed_at = $9`,
      [
        poolId,
        new Date(nowMs),
        instances,
        known > 0 ? steadyNeed(recent) : instances,
        headroom,
        known,
        JSON.stringify(recent),
        JSON.stringify(items),
        claimedAt,
      ],
    );
  }
}

function askedOf(row: Row): Headroom {
  const { policy, policy_state: state, slo, heard } = row;
  const unknown = (why: string): Headroom => ({ factor: null, arrivalPerS: null, split: null, why });
  if (policy.name !== "search") return unknown(`policy ${policy.name} learns no model of the load`);
  if (!heard) return unknown("no window came within the last minute");
  return headroomOf({
    state,
    prior: policy.params.prior,
    slo,
    limits: narrowLimits(row.capabilities.limits, row.pool_limits),
    kvTotalTokens: row.kv_total_tokens,
    maxSequences: row.max_sequences,
    maxBatchTokens: row.max_batch_tokens,
  });
}
