import { Column, Entity, ForeignKey, PrimaryColumn } from "typeorm";
import { PoolRow } from "../pools/pool.rows.js";

/** What both parts of a pool served in one block of time; `at` is its beginning. Shares are null where nothing was served. */
@Entity("canary_blocks")
export class CanaryBlockRow {
  @PrimaryColumn("uuid", { name: "pool_id", primaryKeyConstraintName: "pk_canary_blocks" })
  @ForeignKey(() => PoolRow, { name: "fk_canary_blocks_pool" })
  poolId!: string;
  /** Of the canary that it belongs to. */
  @PrimaryColumn("timestamptz", { primaryKeyConstraintName: "pk_canary_blocks" })
  since!: Date;
  @PrimaryColumn("timestamptz", { primaryKeyConstraintName: "pk_canary_blocks" })
  at!: Date;
  @Column("integer", { name: "canary_requests" })
  canaryRequests!: number;
  @Column("double precision", { name: "canary_share", nullable: true })
  canaryShare!: number | null;
  @Column("integer", { name: "rest_requests" })
  restRequests!: number;
  @Column("double precision", { name: "rest_share", nullable: true })
  restShare!: number | null;
}
