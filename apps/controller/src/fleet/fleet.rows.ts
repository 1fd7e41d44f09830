import { createHash } from "node:crypto";
import type { Capabilities } from "@fulcrum/contracts/agent-api.js";
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { Column, Entity, ForeignKey, Index, PrimaryColumn } from "typeorm";
import type { Gate } from "./gate.js";
import { PoolRow } from "../pools/pool.rows.js";

@Entity("agents")
@Index("ux_agents_name", ["name"], { unique: true })
export class AgentRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_agents" })
  id!: string;
  @Column("text")
  name!: string;
  @Column("text")
  node!: string;
  @Column("text", { name: "agent_version" })
  agentVersion!: string;
  @Column("timestamptz", { name: "last_seen_at" })
  lastSeenAt!: Date;
  @Column("double precision", { name: "clock_skew_ms" })
  clockSkewMs!: number;
  @Column("timestamptz", { name: "created_at" })
  createdAt!: Date;
}

/** `generation`, `attempt` and `allocation` are what was asked; what was delivered is with the signals and ranks. */
@Entity("instances")
@Index("ux_instances_name", ["name"], { unique: true, where: "deleted_at IS NULL" })
@Index("ix_instances_pool", ["poolId"])
@Index("ix_instances_canary", ["poolId", "canaryHash"], { where: "deleted_at IS NULL" })
export class InstanceRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_instances" })
  id!: string;
  @Column("uuid", { name: "pool_id" })
  @ForeignKey(() => PoolRow, { name: "fk_instances_pool" })
  poolId!: string;
  @Column("text")
  name!: string;
  @Column("integer", { name: "rank_count" })
  rankCount!: number;
  @Column("jsonb")
  capabilities!: Capabilities;
  @Column("integer")
  generation!: number;
  @Column("integer")
  attempt!: number;
  @Column("jsonb")
  allocation!: Allocation;
  @Column("timestamptz", { name: "issued_at" })
  issuedAt!: Date;
  @Column("text", { name: "issue_reason" })
  issueReason!: string;
  /** Whether the ranks may switch; null when each may as soon as it is ready. */
  @Column("jsonb", { nullable: true })
  gate!: Gate | null;
  @Column("jsonb", { name: "last_good" })
  lastGood!: GeneratedAllocation;
  /** When the current generation was verified on every rank. */
  @Column("timestamptz", { name: "changed_at", nullable: true })
  changedAt!: Date | null;
  /** A rollback failed too, or changes were taken back in a row: a person is needed. */
  @Column("boolean")
  degraded!: boolean;
  /** `reverts`: only a person ends it; null: the next rollout that is verified does. */
  @Column("text", { name: "degraded_cause", nullable: true })
  degradedCause!: "reverts" | null;
  /** Reverts before then do not count any more. */
  @Column("timestamptz", { name: "degraded_cleared_at", nullable: true })
  degradedClearedAt!: Date | null;
  /** Told by the id alone (canaryHash): on which side of a canary's cut it lies. */
  @Column("double precision", { name: "canary_hash" })
  canaryHash!: number;
  @Column("timestamptz", { name: "created_at" })
  createdAt!: Date;
  @Column("timestamptz", { name: "deleted_at", nullable: true })
  deletedAt!: Date | null;
}

/** In [0, 1), evenly spread. As migration 1764000000007 made it of the instances that there were. */
export function canaryHash(id: string): number {
  return Number.parseInt(createHash("md5").update(id).digest("hex").slice(0, 8), 16) / 2 ** 32;
}
