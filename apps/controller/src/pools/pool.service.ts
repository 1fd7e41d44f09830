import { fullGuards, fullPolicy } from "@fulcrum/contracts/pool-defaults.js";
import type { Pool, PoolInput, PoolPatch, SloVersion } from "@fulcrum/contracts/pools.js";
import { DEFAULT_APPROVAL } from "@fulcrum/contracts/proposals.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager, IsNull } from "typeorm";
import { type Actor, appendAudit } from "../audit/append-audit.js";
import { lockHolds } from "../db/holds-lock.js";
import { violatesUnique } from "../db/sqlstate.js";
import { uuidV7 } from "../db/uuid-v7.js";
import { stale } from "../http/etag.js";
import { ProblemError } from "../http/problem-error.js";
import { canaryAfter, newCanary } from "./canary-cut.js";
import { checkLimits } from "./pool-settings.js";
import { PoolRow, SloVersionRow } from "./pool.rows.js";

@Injectable()
export class PoolService {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  async list(): Promise<Pool[]> {
    const rows = await this.source.manager.find(PoolRow, {
      where: { deletedAt: IsNull() },
      order: { name: "ASC" },
    });
    return Promise.all(rows.map((row) => this.toPool(this.source.manager, row)));
  }

  async get(name: string): Promise<Pool> {
    return this.toPool(this.source.manager, await findPool(this.source.manager, name));
  }

  async create(input: PoolInput, actor: Actor): Promise<Pool> {
    checkLimits(input.limits);
    const { slo, ...settings } = input;
    const now = new Date();
    const row: PoolRow = {
      ...settings,
      id: uuidV7(),
      policy: fullPolicy(input.policy),
      guards: fullGuards(input.guards),
      approval: { ...DEFAULT_APPROVAL, ...input.approval },
      ...newCanary(input, now),
      alikeSince: now,
      sloVersion: 1,
      version: 1,
      createdAt: now,
      updatedAt: now,
      deletedAt: null,
    };
    try {
      return await this.source.transaction(async (manager) => {
        await manager.insert(PoolRow, row);
        await manager.insert(SloVersionRow, {
          poolId: row.id,
          version: 1,
          slo,
          createdAt: now,
          createdBy: actor.name,
        });
        const pool = await this.toPool(manager, row);
        await appendAudit(manager, actor, {
          action: "pool.create",
          subject: `pool/${row.name}`,
          before: null,
          after: pool,
        });
        return pool;
      });
    } catch (error) {
      if (violatesUnique(error, "ux_pools_name"))
        throw new ProblemError("conflict", `There is a pool ${input.name} already.`, [
          { field: "name", message: "is taken" },
        ]);
      throw error;
    }
  }

  /** Changes what `patch` names, on condition that the pool is still at `version` (null: whatever it is at). */
  async patch(name: string, input: PoolPatch, version: number | null, actor: Actor): Promise<Pool> {
    const { slo, ...patch } = input;
    if (patch.limits) checkLimits(patch.limits);
    return this.change(name, version, actor, "pool.update", async (manager, row) => {
      const changed: Partial<PoolRow> = {
        ...patch,
        policy: patch.policy ? fullPolicy(patch.policy) : row.policy,
        guards: patch.guards ? { ...row.guards, ...patch.guards } : row.guards,
        approval: { ...row.approval, ...patch.approval },
        canary: { ...row.canary, ...patch.canary },
        version: row.version + 1,
        updatedAt: new Date(),
      };
      if (slo) changed.sloVersion = (await addSlo(manager, row, slo, actor)).version;
      Object.assign(changed, await canaryAfter(manager, row, { ...row, ...changed }));
      await manager.update(PoolRow, { id: row.id }, changed);
      return { ...row, ...changed };
    });
  }

  /** Deletes the pool and its instances: agents keep the split they have, reports for them answer `gone`. */
  async delete(name: string, version: number | null, actor: Actor): Promise<void> {
    await this.source.transaction(async (manager) => {
      const row = await lockPool(manager, name);
      if (version !== null && version !== row.version) throw stale(`Pool ${name}`, row.version);
      const before = await this.toPool(manager, row);
      const now = new Date();
      await lockInstancesOf(manager, row.id);
      await manager.query(
        "DELETE FROM instance_signals WHERE instance_id IN (SELECT id FROM instances WHERE pool_id = $1)",
        [row.id],
      );
      await manager.query(
        `UPDATE reconfigurations SET state = 'superseded', ended_at = $2, failure = 'the pool was deleted'
         WHERE pool_id = $1 AND ended_at IS NULL`,
        [row.id, now],
      );
      await manager.query(
        `UPDATE holds SET ended_at = $2, ended_by = $3, end_reason = 'the pool was deleted'
         WHERE pool_id = $1 AND ended_at IS NULL`,
        [row.id, now, actor.name],
      );
      await manager.query("UPDATE instances SET deleted_at = $2 WHERE pool_id = $1 AND deleted_at IS NULL", [
        row.id,
        now,
      ]);
      await manager.update(PoolRow, { id: row.id }, { deletedAt: now, version: row.version + 1 });
      await appendAudit(manager, actor, {
        action: "pool.delete",
        subject: `pool/${name}`,
        before,
        after: null,
      });
    });
  }

  async slo(name: string): Promise<SloVersion> {
    const row = await findPool(this.source.manager, name);
    return this.sloAt(this.source.manager, row, row.sloVersion);
  }

  async sloVersions(name: string): Promise<SloVersion[]> {
    const pool = await findPool(this.source.manager, name);
    const rows = await this.source.manager.find(SloVersionRow, {
      where: { poolId: pool.id },
      order: { version: "DESC" },
      take: 1_000,
    });
    return rows.map((row) => toSloVersion(pool, row));
  }

  async setSlo(
    name: string,
    slo: SloVersion["slo"],
    version: number | null,
    actor: Actor,
  ): Promise<SloVersion> {
    return this.source.transaction(async (manager) => {
      await lockHolds(manager);
      const row = await lockPool(manager, name);
      if (version !== null && version !== row.sloVersion)
        throw stale(`The SLO of pool ${name}`, row.sloVersion);
      const before = await this.sloAt(manager, row, row.sloVersion);
      const next = await addSlo(manager, row, slo, actor);
      const changed = { sloVersion: next.version, version: row.version + 1, updatedAt: next.createdAt };
      const canary = await canaryAfter(manager, row, { ...row, ...changed });
      await manager.update(PoolRow, { id: row.id }, { ...changed, ...canary });
      const after = toSloVersion(row, next);
      await appendAudit(manager, actor, { action: "slo.set", subject: `pool/${name}`, before, after });
      return after;
    });
  }

  private async change(
    name: string,
    version: number | null,
    actor: Actor,
    action: string,
    apply: (manager: EntityManager, row: PoolRow) => Promise<PoolRow>,
  ): Promise<Pool> {
    return this.source.transaction(async (manager) => {
      await lockHolds(manager);
      const row = await lockPool(manager, name);
      if (version !== null && version !== row.version) throw stale(`Pool ${name}`, row.version);
      const before = await this.toPool(manager, row);
      const after = await this.toPool(manager, await apply(manager, row));
      await appendAudit(manager, actor, { action, subject: `pool/${name}`, before, after });
      return after;
    });
  }

  private async sloAt(manager: EntityManager, pool: PoolRow, version: number): Promise<SloVersion> {
    const row = await manager.findOneByOrFail(SloVersionRow, { poolId: pool.id, version });
    return toSloVersion(pool, row);
  }

  private async toPool(manager: EntityManager, row: PoolRow): Promise<Pool> {
    const { slo } = await this.sloAt(manager, row, row.sloVersion);
    const [counted] = await manager.query<{ count: number }[]>(
      "SELECT count(*)::int AS count FROM instances WHERE pool_id = $1 AND deleted_at IS NULL",
      [row.id],
    );
    return {
      id: row.id,
      name: row.name,
      model: row.model,
      mode: row.mode,
      policy: row.policy,
      guards: row.guards,
      limits: row.limits,
      controlIntervalMs: row.controlIntervalMs,
      lookbackMs: row.lookbackMs,
      frozen: row.frozen,
      approval: row.approval,
      autoRollback: row.autoRollback,
      budgetDays: row.budgetDays,
      canary: row.canary,
      slo,
      sloVersion: row.sloVersion,
      version: row.version,
      instances: counted?.count ?? 0,
      createdAt: row.createdAt.toISOString(),
      updatedAt: row.updatedAt.toISOString(),
    };
  }
}

export async function findPool(manager: EntityManager, name: string): Promise<PoolRow> {
  const row = await manager.findOneBy(PoolRow, { name, deletedAt: IsNull() });
  if (!row) throw new ProblemError("not_found", `There is no pool ${name}.`);
  return row;
}

/** Not FOR UPDATE: rows that refer to the pool may be added meanwhile, or a decision would wait for us and we for it. */
async function lockPool(manager: EntityManager, name: string): Promise<PoolRow> {
  const row = await manager.findOne(PoolRow, {
    where: { name, deletedAt: IsNull() },
    lock: { mode: "for_no_key_update" },
  });
  if (!row) throw new ProblemError("not_found", `There is no pool ${name}.`);
  return row;
}

/** In the order in which decisions, acknowledgements and reports lock them too: nobody waits in a circle. */
async function lockInstancesOf(manager: EntityManager, poolId: string): Promise<void> {
  await manager.query(
    "SELECT 1 FROM instances WHERE pool_id = $1 AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE",
    [poolId],
  );
  await manager.query(
    `SELECT 1 FROM instance_signals WHERE instance_id IN (SELECT id FROM instances WHERE pool_id = $1)
     ORDER BY instance_id FOR UPDATE`,
    [poolId],
  );
}

async function addSlo(
  manager: EntityManager,
  pool: PoolRow,
  slo: SloVersion["slo"],
  actor: Actor,
): Promise<SloVersionRow> {
  const next: SloVersionRow = {
    poolId: pool.id,
    version: pool.sloVersion + 1,
    slo,
    createdAt: new Date(),
    createdBy: actor.name,
  };
  await manager.insert(SloVersionRow, next);
  return next;
}

function toSloVersion(pool: PoolRow, row: SloVersionRow): SloVersion {
  return {
    pool: pool.name,
    version: row.version,
    slo: row.slo,
    createdAt: row.createdAt.toISOString(),
    createdBy: row.createdBy,
  };
}
