import type { Capacity } from "@fulcrum/contracts/capacity.js";
import type { Need } from "@fulcrum/core/capacity.js";
import { Column, Entity, ForeignKey, PrimaryColumn } from "typeorm";
import { PoolRow } from "../pools/pool.rows.js";

export type CapacityItem = Capacity["perInstance"][number];

/** The newest of each pool. Whoever claims it computes it, so that of several replicas one does. */
@Entity("pool_capacities")
export class PoolCapacityRow {
  @PrimaryColumn("uuid", { name: "pool_id", primaryKeyConstraintName: "pk_pool_capacities" })
  @ForeignKey(() => PoolRow, { name: "fk_pool_capacities_pool" })
  poolId!: string;
  @Column("timestamptz", { name: "claimed_at" })
  claimedAt!: Date;
  /** Null until it was computed for the first time. */
  @Column("timestamptz", { name: "computed_at", nullable: true })
  computedAt!: Date | null;
  @Column("integer")
  instances!: number;
  /** What is told; `recent` are the needs that it was made from. */
  @Column("integer")
  needed!: number;
  @Column("double precision", { nullable: true })
  headroom!: number | null;
  @Column("integer")
  known!: number;
  @Column("jsonb")
  recent!: readonly Need[];
  @Column("jsonb")
  items!: readonly CapacityItem[];
}
