import type { ProposalState } from "@fulcrum/contracts/proposals.js";
import type { Decision } from "@fulcrum/core/decision.js";
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { Column, Entity, ForeignKey, Index, PrimaryColumn } from "typeorm";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { PoolRow } from "../pools/pool.rows.js";

@Entity("proposals")
@Index("ux_proposals_open", ["instanceId"], { unique: true, where: "ended_at IS NULL" })
@Index("ix_proposals_instance", ["instanceId", "id"])
@Index("ix_proposals_pool", ["poolId", "id"])
export class ProposalRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_proposals" })
  id!: string;
  @Column("uuid", { name: "decision_id" })
  decisionId!: string;
  @Column("uuid", { name: "pool_id" })
  @ForeignKey(() => PoolRow, { name: "fk_proposals_pool" })
  poolId!: string;
  @Column("uuid", { name: "instance_id" })
  @ForeignKey(() => InstanceRow, { name: "fk_proposals_instance" })
  instanceId!: string;
  @Column("integer", { name: "based_on_generation" })
  basedOnGeneration!: number;
  @Column("jsonb", { name: "from_allocation" })
  fromAllocation!: GeneratedAllocation;
  @Column("jsonb", { name: "to_allocation" })
  toAllocation!: Allocation;
  @Column("text")
  reason!: string;
  @Column("text")
  message!: string;
  @Column("jsonb", { nullable: true })
  predicted!: Decision["predicted"];
  @Column("text")
  state!: ProposalState;
  @Column("integer")
  required!: number;
  @Column("timestamptz", { name: "created_at" })
  createdAt!: Date;
  @Column("timestamptz", { name: "expires_at" })
  expiresAt!: Date;
  @Column("timestamptz", { name: "ended_at", nullable: true })
  endedAt!: Date | null;
  /** The one that its approval made. */
  @Column("integer", { nullable: true })
  generation!: number | null;
}

@Entity("proposal_votes")
export class ProposalVoteRow {
  @PrimaryColumn("uuid", { name: "proposal_id", primaryKeyConstraintName: "pk_proposal_votes" })
  @ForeignKey(() => ProposalRow, { name: "fk_proposal_votes_proposal", onDelete: "CASCADE" })
  proposalId!: string;
  @PrimaryColumn("uuid", { name: "key_id", primaryKeyConstraintName: "pk_proposal_votes" })
  keyId!: string;
  @PrimaryColumn("text", { primaryKeyConstraintName: "pk_proposal_votes" })
  verdict!: "approve" | "reject";
  @Column("text")
  actor!: string;
  @Column("text", { nullable: true })
  comment!: string | null;
  @Column("timestamptz")
  at!: Date;
}
