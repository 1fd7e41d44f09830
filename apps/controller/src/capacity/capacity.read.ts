import type { Capacity } from "@fulcrum/contracts/capacity.js";
import { PLANNED_SHARE } from "@fulcrum/core/capacity.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import { findPool } from "../pools/pool.service.js";
import { PoolCapacityRow } from "./capacity.row.js";

/** A figure of each pool, as the metrics show it. */
export interface PoolFigures {
  readonly pool: string;
  readonly instances: number;
  readonly needed: number;
  readonly headroom: number | null;
}

/** What was computed longer ago says nothing of now: twenty times as old as it should be. */
const STALE_AFTER_MS = 300_000;

@Injectable()
export class CapacityRead {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  async capacity(name: string): Promise<Capacity> {
    const pool = await findPool(this.source.manager, name);
    const row = await this.source.manager.findOneBy(PoolCapacityRow, { poolId: pool.id });
    if (!row?.computedAt) return notYet(name, await this.instancesOf(pool.id));
    const { instances, needed, headroom, known } = row;
    const additional = Math.max(0, needed - instances);
    const perInstance = [...row.items];
    return {
      pool: name,
      instances,
      needed,
      additional,
      headroom,
      known,
      perInstance,
      message: messageOf({ instances, needed, headroom, known, perInstance }),
    };
  }

  /** Of all pools, for the metrics; what is stale is left out. */
  async figures(nowMs: number): Promise<readonly PoolFigures[]> {
    return this.source.query<PoolFigures[]>(
      `SELECT p.name AS pool, c.instances, c.needed, c.headroom
       FROM pool_capacities c JOIN pools p ON p.id = c.pool_id
       WHERE p.deleted_at IS NULL AND c.computed_at > $1 ORDER BY p.name`,
      [new Date(nowMs - STALE_AFTER_MS)],
    );
  }

  private async instancesOf(poolId: string): Promise<number> {
    const [row] = await this.source.query<{ count: number }[]>(
      "SELECT count(*)::int AS count FROM instances WHERE pool_id = $1 AND deleted_at IS NULL",
      [poolId],
    );
    return row?.count ?? 0;
  }
}

function notYet(pool: string, instances: number): Capacity {
  return {
    pool,
    instances,
    needed: instances,
    additional: 0,
    headroom: null,
    known: 0,
    perInstance: [],
    message: "Not computed yet; the next sweep does it.",
  };
}

type Told = Pick<Capacity, "instances" | "needed" | "headroom" | "known" | "perInstance">;

function messageOf({ instances, needed, headroom, known, perInstance }: Told): string {
  if (instances === 0) return "The pool has no instance.";
  if (headroom === null || known === 0) {
    const why = perInstance.find((each) => each.headroom === null)?.why ?? "no instance tells";
    return `How much the pool could carry is not known: ${why}.`;
  }
  const carried = `At the best split ${instances === 1 ? "its instance carries" : `its ${instances} instances carry`} ${times(headroom)} the present load`;
  const planned = `planned with ${Math.round(PLANNED_SHARE * 100)} % of that`;
  if (needed > instances) {
    return `${carried}, ${planned}: ${needed - instances} more would keep the promise.`;
  }
  if (needed === instances) return `${carried}, ${planned}: it needs all it has.`;
  return `${carried}, ${planned}: ${needed} would do.`;
}

function times(headroom: number): string {
  return `${headroom.toPrecision(2)} times`;
}
