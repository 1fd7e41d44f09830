import type { SloTarget } from "@fulcrum/core/nouns.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";

/** What a report's windows are counted against. */
export interface Bounds {
  readonly poolId: string;
  readonly sloVersion: number;
  readonly slo: SloTarget;
}

/** Instances whose bounds are remembered; past it the memory starts anew. */
const MAX_REMEMBERED = 20_000;

/**
 * The SLO in force for each instance, so that windows can be counted as they are stored without a further look into the
 * database. Each report's statement says which version is in force: what is out of date is read again with the next report.
 * So after a change of the SLO at most one report of an instance, on each replica, is still held against the bounds before.
 */
@Injectable()
export class SloBounds {
  private readonly byInstance = new Map<string, Bounds>();

  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** By instance's name; one that does not exist is left out. */
  async of(names: readonly string[]): Promise<ReadonlyMap<string, Bounds>> {
    const unknown = names.filter((name) => !this.byInstance.has(name));
    if (unknown.length > 0) await this.load(unknown);
    return this.byInstance;
  }

  /** What the database said with a report. */
  note(instance: string, inForce: Pick<Bounds, "poolId" | "sloVersion">): void {
    const known = this.byInstance.get(instance);
    if (known?.poolId !== inForce.poolId || known.sloVersion !== inForce.sloVersion)
      this.byInstance.delete(instance);
  }

  private async load(names: readonly string[]): Promise<void> {
    const rows = await this.source.query<
      { name: string; pool_id: string; slo_version: number; slo: SloTarget }[]
    >(
      `SELECT i.name, p.id AS pool_id, p.slo_version, v.slo
       FROM instances i JOIN pools p ON p.id = i.pool_id
       JOIN slo_versions v ON v.pool_id = p.id AND v.version = p.slo_version
       WHERE i.name = ANY($1::text[]) AND i.deleted_at IS NULL`,
      [names],
    );
    if (this.byInstance.size + rows.length > MAX_REMEMBERED) this.byInstance.clear();
    for (const { name, pool_id: poolId, slo_version: sloVersion, slo } of rows)
      this.byInstance.set(name, { poolId, sloVersion, slo });
  }
}
