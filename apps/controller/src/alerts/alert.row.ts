import type { Alert } from "@fulcrum/contracts/budgets.js";
import { Column, Entity, ForeignKey, Index, PrimaryColumn } from "typeorm";
import { PoolRow } from "../pools/pool.rows.js";

/** Fires until `endedAt`; of a pool and a name one at a time. */
@Entity("alerts")
@Index("ux_alerts_open", ["poolId", "name"], { unique: true, where: "ended_at IS NULL" })
@Index("ix_alerts_pool", ["poolId", "id"])
export class AlertRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_alerts" })
  id!: string;
  @Column("uuid", { name: "pool_id" })
  @ForeignKey(() => PoolRow, { name: "fk_alerts_pool" })
  poolId!: string;
  @Column("text")
  name!: Alert["name"];
  @Column("text")
  severity!: Alert["severity"];
  @Column("text")
  message!: string;
  @Column("jsonb")
  values!: Alert["values"];
  @Column("timestamptz", { name: "started_at" })
  startedAt!: Date;
  /** Since when something speaks for its end (standing.ts); null: nothing does. */
  @Column("timestamptz", { name: "quiet_since", nullable: true })
  quietSince!: Date | null;
  @Column("timestamptz", { name: "ended_at", nullable: true })
  endedAt!: Date | null;
}
