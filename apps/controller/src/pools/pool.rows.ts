import type { CanarySettings } from "@fulcrum/contracts/pools.js";
import type { Approval } from "@fulcrum/contracts/proposals.js";
import type { GuardConfig, PolicyConfig } from "@fulcrum/core/decision.js";
import type { Limits, Mode, SloTarget } from "@fulcrum/core/nouns.js";
import { Column, Entity, ForeignKey, Index, PrimaryColumn } from "typeorm";

@Entity("pools")
@Index("ux_pools_name", ["name"], { unique: true, where: "deleted_at IS NULL" })
export class PoolRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_pools" })
  id!: string;
  @Column("text")
  name!: string;
  @Column("text")
  model!: string;
  @Column("text")
  mode!: Mode;
  @Column("jsonb")
  policy!: PolicyConfig;
  @Column("jsonb")
  guards!: GuardConfig;
  @Column("jsonb")
  limits!: Partial<Limits>;
  @Column("integer", { name: "control_interval_ms" })
  controlIntervalMs!: number;
  @Column("integer", { name: "lookback_ms" })
  lookbackMs!: number;
  @Column("boolean")
  frozen!: boolean;
  /** Whether a change that made it worse is taken back; in mode enforce only. */
  @Column("boolean", { name: "auto_rollback" })
  autoRollback!: boolean;
  /** Over how many days the promise is counted. */
  @Column("integer", { name: "budget_days" })
  budgetDays!: number;
  /** Mode recommend: how many keys must approve, and how long a proposal lives. */
  @Column("jsonb")
  approval!: Approval;
  /** Mode canary: on which share of the instances. */
  @Column("jsonb")
  canary!: CanarySettings;
  /** Mode canary: instances with a lesser number are moved, and since when the two parts are compared. */
  @Column("double precision", { name: "canary_below", nullable: true })
  canaryBelow!: number | null;
  @Column("timestamptz", { name: "canary_since", nullable: true })
  canarySince!: Date | null;
  /** Since then, and up to the canary's beginning, all instances were treated alike. */
  @Column("timestamptz", { name: "alike_since" })
  alikeSince!: Date;
  @Column("integer", { name: "slo_version" })
  sloVersion!: number;
  @Column("integer")
  version!: number;
  @Column("timestamptz", { name: "created_at" })
  createdAt!: Date;
  @Column("timestamptz", { name: "updated_at" })
  updatedAt!: Date;
  @Column("timestamptz", { name: "deleted_at", nullable: true })
  deletedAt!: Date | null;
}

@Entity("slo_versions")
export class SloVersionRow {
  @PrimaryColumn("uuid", { name: "pool_id", primaryKeyConstraintName: "pk_slo_versions" })
  @ForeignKey(() => PoolRow, { name: "fk_slo_versions_pool" })
  poolId!: string;
  @PrimaryColumn("integer", { primaryKeyConstraintName: "pk_slo_versions" })
  version!: number;
  @Column("jsonb")
  slo!: SloTarget;
  @Column("timestamptz", { name: "created_at" })
  createdAt!: Date;
  @Column("text", { name: "created_by" })
  createdBy!: string;
}
