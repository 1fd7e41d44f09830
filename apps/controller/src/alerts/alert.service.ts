import type { Alert, alertQuery } from "@fulcrum/contracts/budgets.js";
import { type Heard, QUIET_MS, type Standing, standingOf } from "@fulcrum/core/budget/standing.js";
import { Inject, Injectable, type OnModuleInit } from "@nestjs/common";
import { DataSource, type EntityManager, IsNull } from "typeorm";
import type { z } from "zod";
import { appendAudit, type AuditRecord, CONTROLLER } from "../audit/append-audit.js";
import { BudgetRead, type PoolBurn } from "../budgets/budget.read.js";
import { foldCounts } from "../budgets/fold.js";
import { pageBefore } from "../db/page.js";
import { uuidV7 } from "../db/uuid-v7.js";
import { PoolRow } from "../pools/pool.rows.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { AlertRow } from "./alert.row.js";

/** Any constant; held by whoever looks. */
const LOOK_LOCK = 4_702_115;
/** Each replica looks at most so often: the shortest window is five minutes. */
const LOOK_EVERY_MS = 15_000;

type Named = AlertRow & { readonly pool: PoolRow };

/** Adds up what was counted, and fires and ends the alerts that follow from it. Works with every sweep. */
@Injectable()
export class AlertService implements OnModuleInit {
  private lookedAtMs = 0;

  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(BudgetRead) private readonly budgets: BudgetRead,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
  ) {}

  onModuleInit(): void {
    this.queue.onSweep(async () => {
      await foldCounts(this.source, Date.now());
      if (Date.now() - this.lookedAtMs < LOOK_EVERY_MS) return;
      this.lookedAtMs = Date.now();
      await this.look();
    });
  }

  /** Fires what must fire and ends what is over. Does nothing while another replica is at it. */
  async look(nowMs: number = Date.now()): Promise<void> {
    const pools = await this.budgets.burning(nowMs);
    await this.source.transaction(async (manager) => {
      const [lock] = await manager.query<{ mine: boolean }[]>(
        "SELECT pg_try_advisory_xact_lock($1) AS mine",
        [LOOK_LOCK],
      );
      if (!lock?.mine) return;
      const open = await openAlerts(manager);
      const audit = [
        ...(await fire(manager, pools, open, nowMs)),
        ...(await settle(manager, pools, open, nowMs)),
      ];
      await appendAudit(manager, CONTROLLER, ...audit);
    });
  }

  async list(query: z.infer<typeof alertQuery>) {
    const builder = this.source.manager
      .createQueryBuilder(AlertRow, "row")
      .innerJoinAndMapOne("row.pool", PoolRow, "pool", "pool.id = row.poolId");
    if (query.state === "firing") builder.andWhere("row.endedAt IS NULL");
    if (query.state === "resolved") builder.andWhere("row.endedAt IS NOT NULL");
    if (query.pool) builder.andWhere("pool.name = :pool", { pool: query.pool });
    return pageBefore(builder, { limit: query.limit, cursor: query.cursor }, (row) => toAlert(row as Named));
  }

  /** Alerts that fire, by pool, name and severity. */
  async firing(): Promise<{ pool: string; name: string; severity: string }[]> {
    return this.source.query(
      `SELECT p.name AS pool, a.name, a.severity FROM alerts a JOIN pools p ON p.id = a.pool_id WHERE a.ended_at IS NULL`,
    );
  }
}

async function openAlerts(manager: EntityManager): Promise<Named[]> {
  const rows = await manager
    .createQueryBuilder(AlertRow, "row")
    .innerJoinAndMapOne("row.pool", PoolRow, "pool", "pool.id = row.poolId")
    .where("row.endedAt IS NULL")
    .getMany();
  return rows as Named[];
}

function keyOf(poolId: string, name: string): string {
  return `${poolId}/${name}`;
}

async function fire(
  manager: EntityManager,
  pools: readonly PoolBurn[],
  open: readonly AlertRow[],
  nowMs: number,
): Promise<AuditRecord[]> {
  const known = new Set(open.map(({ poolId, name }) => keyOf(poolId, name)));
  const audit: AuditRecord[] = [];
  for (const pool of pools) {
    for (const one of pool.burn) {
      if (!one.firing || known.has(keyOf(pool.id, one.name))) continue;
      const { name, severity, message, longMs, shortMs, longRate, shortRate, shortRequests, threshold } = one;
      const values = { longMs, shortMs, longRate, shortRate, shortRequests, threshold, target: pool.target };
      const row: AlertRow = {
        id: uuidV7(),
        poolId: pool.id,
        name,
        severity,
        message,
        values,
        startedAt: new Date(nowMs),
        quietSince: null,
        endedAt: null,
      };
      await manager.insert(AlertRow, row);
      audit.push({
        action: "alert.firing",
        subject: `pool/${pool.name}`,
        before: null,
        after: { alert: row.id, name, severity, message, startedAt: row.startedAt, values },
      });
    }
  }
  return audit;
}

async function settle(
  manager: EntityManager,
  pools: readonly PoolBurn[],
  open: readonly Named[],
  nowMs: number,
): Promise<AuditRecord[]> {
  const burns = new Map(
    pools.flatMap((pool) => pool.burn.map((one) => [keyOf(pool.id, one.name), one] as const)),
  );
  const heard = await heardOf(manager, [...new Set(open.map(({ poolId }) => poolId))], nowMs);
  const audit: AuditRecord[] = [];
  for (const row of open) {
    const { id, name, severity, startedAt } = row;
    const burn = burns.get(keyOf(row.poolId, name));
    // Of a pool that is gone, or has such a pair no more, nothing will be heard.
    const now: Standing = burn
      ? standingOf(burn, heard.get(row.poolId) ?? { instances: 0, arrivals: 0 })
      : { state: "ending", afterMs: 0, message: "The pool has no such budget any more." };
    if (now.state === "firing") {
      const { message } = now;
      if (row.quietSince !== null || row.message !== message)
        await manager.update(AlertRow, { id }, { quietSince: null, message });
      continue;
    }
    const quietSince = row.quietSince ?? new Date(nowMs);
    if (row.quietSince === null) await manager.update(AlertRow, { id }, { quietSince });
    if (nowMs - quietSince.getTime() < now.afterMs) continue;
    const endedAt = new Date(nowMs);
    await manager.update(AlertRow, { id, endedAt: IsNull() }, { endedAt });
    audit.push({
      action: "alert.resolved",
      subject: `pool/${row.pool.name}`,
      before: { alert: id, name, severity, startedAt },
      after: { alert: id, name, severity, startedAt, endedAt, message: now.message },
    });
  }
  return audit;
}

/** What came in at pools with an open alert. Windows are sought by the time that their partitions are cut by. */
async function heardOf(
  manager: EntityManager,
  pools: readonly string[],
  nowMs: number,
): Promise<ReadonlyMap<string, Heard>> {
  if (pools.length === 0) return new Map();
  const rows = await manager.query<(Heard & { pool_id: string })[]>(
    `SELECT i.pool_id, count(*)::int AS instances, coalesce(sum(w.arrivals), 0)::float8 AS arrivals
     FROM instances i CROSS JOIN LATERAL (
       SELECT sum((w.body ->> 'arrivals')::float8) AS arrivals FROM windows w
       WHERE w.instance_id = i.id AND w.received_at > $2 AND w.received_at <= $3) w
     WHERE i.pool_id = ANY($1::uuid[]) AND i.deleted_at IS NULL GROUP BY 1`,
    [pools, new Date(nowMs - QUIET_MS), new Date(nowMs)],
  );
  return new Map(rows.map((row) => [row.pool_id, row]));
}

function toAlert(row: Named): Alert {
  const { id, pool, name, severity, message, startedAt, endedAt, values } = row;
  return {
    id,
    pool: pool.name,
    name,
    severity,
    message,
    startedAt: startedAt.toISOString(),
    endedAt: endedAt?.toISOString() ?? null,
    values,
  };
}
