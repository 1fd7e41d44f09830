import type { HoldKind, Schedule } from "@fulcrum/contracts/holds.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { Column, Entity, ForeignKey, Index, PrimaryColumn } from "typeorm";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { PoolRow } from "../pools/pool.rows.js";

/** Ended, never changed: what held an instance at any moment can be asked. Of a hold whose time ran out `ended_by` is null. */
@Entity("holds")
@Index("ix_holds_active", ["instanceId", "poolId"], { where: "ended_at IS NULL" })
@Index("ix_holds_instance", ["instanceId", "id"])
@Index("ix_holds_pool", ["poolId", "id"])
export class HoldRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_holds" })
  id!: string;
  @Column("text")
  kind!: HoldKind;
  /** Of an instance's hold its pool; null: the fleet. */
  @Column("uuid", { name: "pool_id", nullable: true })
  @ForeignKey(() => PoolRow, { name: "fk_holds_pool" })
  poolId!: string | null;
  @Column("uuid", { name: "instance_id", nullable: true })
  @ForeignKey(() => InstanceRow, { name: "fk_holds_instance" })
  instanceId!: string | null;
  @Column("jsonb", { nullable: true })
  allocation!: Allocation | null;
  @Column("integer", { nullable: true })
  generation!: number | null;
  @Column("jsonb", { nullable: true })
  schedule!: Schedule | null;
  @Column("text")
  reason!: string;
  @Column("text")
  actor!: string;
  @Column("timestamptz", { name: "starts_at" })
  startsAt!: Date;
  @Column("timestamptz", { nullable: true })
  until!: Date | null;
  @Column("timestamptz", { name: "ended_at", nullable: true })
  endedAt!: Date | null;
  @Column("text", { name: "ended_by", nullable: true })
  endedBy!: string | null;
  @Column("text", { name: "end_reason", nullable: true })
  endReason!: string | null;
}
