import type { ReconfigurationState } from "@fulcrum/contracts/resources.js";
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { Column, Entity, ForeignKey, Index, PrimaryColumn, PrimaryGeneratedColumn } from "typeorm";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { PoolRow } from "../pools/pool.rows.js";

@Entity("reconfigurations")
@Index("ux_reconfigurations_open", ["instanceId"], { unique: true, where: "ended_at IS NULL" })
@Index("ux_reconfigurations_generation", ["instanceId", "generation"], { unique: true })
@Index("ix_reconfigurations_pool", ["poolId", "id"])
export class ReconfigurationRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_reconfigurations" })
  id!: string;
  @Column("uuid", { name: "pool_id" })
  @ForeignKey(() => PoolRow, { name: "fk_reconfigurations_pool" })
  poolId!: string;
  @Column("uuid", { name: "instance_id" })
  @ForeignKey(() => InstanceRow, { name: "fk_reconfigurations_instance" })
  instanceId!: string;
  @Column("uuid", { name: "decision_id", nullable: true })
  decisionId!: string | null;
  @Column("text")
  kind!: "decision" | "rollback" | "adoption" | "override" | "manual_rollback";
  @Column("text")
  state!: ReconfigurationState;
  @Column("integer")
  generation!: number;
  @Column("integer")
  attempt!: number;
  @Column("jsonb", { name: "from_allocation" })
  fromAllocation!: GeneratedAllocation;
  @Column("jsonb", { name: "to_allocation" })
  toAllocation!: Allocation;
  @Column("text", { nullable: true })
  failure!: string | null;
  /** The trace that it belongs to and the span that its own hang under; null: it is not traced. */
  @Column("text", { nullable: true })
  traceparent!: string | null;
  /** When the queue's job looks at it again if nothing is heard. */
  @Column("timestamptz", { name: "deadline_at" })
  deadlineAt!: Date;
  @Column("timestamptz", { name: "created_at" })
  createdAt!: Date;
  @Column("timestamptz", { name: "ended_at", nullable: true })
  endedAt!: Date | null;
}

@Entity("reconfiguration_steps")
@Index("ix_reconfiguration_steps_reconfiguration", ["reconfigurationId"])
export class ReconfigurationStepRow {
  @PrimaryGeneratedColumn("identity", {
    type: "bigint",
    generatedIdentity: "ALWAYS",
    primaryKeyConstraintName: "pk_reconfiguration_steps",
  })
  id!: string;
  @Column("uuid", { name: "reconfiguration_id" })
  @ForeignKey(() => ReconfigurationRow, {
    name: "fk_reconfiguration_steps_reconfiguration",
    onDelete: "CASCADE",
  })
  reconfigurationId!: string;
  @Column("timestamptz")
  at!: Date;
  @Column("integer", { nullable: true })
  rank!: number | null;
  @Column("integer")
  attempt!: number;
  @Column("text")
  step!: string;
  @Column("jsonb", { nullable: true })
  delivered!: Allocation | null;
  @Column("text", { nullable: true })
  detail!: string | null;
}
