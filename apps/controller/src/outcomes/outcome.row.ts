import type { Mode } from "@fulcrum/core/nouns.js";
import type { Figures } from "@fulcrum/core/outcome/attainment.js";
import type { Hindsight } from "@fulcrum/core/outcome/hindsight.js";
import type { Judgement, Subject, Verdict } from "@fulcrum/core/outcome/judge.js";
import { Column, Entity, ForeignKey, Index, PrimaryColumn } from "typeorm";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { PoolRow } from "../pools/pool.rows.js";

/** One trial of one decision. Open until `endedAt`; goes with its decision. */
@Entity("outcomes")
@Index("ix_outcomes_open", ["lookAt"], { where: "ended_at IS NULL" })
@Index("ix_outcomes_instance", ["instanceId", "endedAt"])
@Index("ix_outcomes_pool", ["poolId", "endedAt"])
@Index("ix_outcomes_left", ["endedAt"], {
  where: "verdict = 'worse' AND worse_than = 'before' AND NOT taken_back",
})
export class OutcomeRow {
  /** Its foreign key is in the migration: decisions stand above outcomes, and are not imported here. */
  @PrimaryColumn("uuid", { name: "decision_id", primaryKeyConstraintName: "pk_outcomes" })
  @ForeignKey("DecisionRow", { name: "fk_outcomes_decision", onDelete: "CASCADE" })
  decisionId!: string;
  @PrimaryColumn("text", { primaryKeyConstraintName: "pk_outcomes" })
  subject!: Subject;
  @Column("uuid", { name: "pool_id" })
  @ForeignKey(() => PoolRow, { name: "fk_outcomes_pool" })
  poolId!: string;
  @Column("uuid", { name: "instance_id" })
  @ForeignKey(() => InstanceRow, { name: "fk_outcomes_instance" })
  instanceId!: string;
  @Column("text")
  mode!: Mode;
  /** On trial: of a move the one it made, of staying the one in force. */
  @Column("integer")
  generation!: number;
  @Column("timestamptz", { name: "started_at" })
  startedAt!: Date;
  @Column("timestamptz", { name: "look_at" })
  lookAt!: Date;
  @Column("timestamptz", { name: "ended_at", nullable: true })
  endedAt!: Date | null;
  @Column("text", { nullable: true })
  verdict!: Verdict | null;
  @Column("text", { name: "worse_than", nullable: true })
  worseThan!: Judgement["worseThan"];
  @Column("integer", { nullable: true })
  requests!: number | null;
  @Column("jsonb", { nullable: true })
  before!: Figures | null;
  @Column("jsonb", { nullable: true })
  predicted!: Judgement["predicted"];
  @Column("jsonb", { nullable: true })
  observed!: Figures | null;
  @Column("text", { nullable: true })
  message!: string | null;
  /** Of staying, when the trial has ended: whether the move would have helped. */
  @Column("jsonb", { nullable: true })
  hindsight!: Hindsight | null;
  @Column("boolean", { name: "taken_back" })
  takenBack!: boolean;
}
