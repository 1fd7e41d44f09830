import type { Decision, GuardConfig, PolicyConfig, Snapshot } from "@fulcrum/core/decision.js";
import type { Allocation, Mode } from "@fulcrum/core/nouns.js";
import {
  Column,
  Entity,
  type EntityManager,
  ForeignKey,
  Index,
  PrimaryColumn,
  type QueryDeepPartialEntity,
} from "typeorm";
import { toNumber } from "../db/columns.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { PoolRow } from "../pools/pool.rows.js";

export type DecisionOutcome = "applied" | "recorded" | "lost_race" | "held" | "outdated";

@Entity("decisions")
@Index("ix_decisions_instance", ["instanceId", "id"])
@Index("ix_decisions_pool", ["poolId", "id"])
@Index("ix_decisions_reason", ["reason", "id"])
export class DecisionRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_decisions" })
  id!: string;
  @Column("uuid", { name: "pool_id" })
  @ForeignKey(() => PoolRow, { name: "fk_decisions_pool" })
  poolId!: string;
  @Column("uuid", { name: "instance_id" })
  @ForeignKey(() => InstanceRow, { name: "fk_decisions_instance" })
  instanceId!: string;
  @Column("timestamptz")
  at!: Date;
  @Column("text")
  kind!: "move" | "hold";
  @Column("text")
  reason!: string;
  @Column("text")
  message!: string;
  @Column("text")
  mode!: Mode;
  @Column("text")
  outcome!: DecisionOutcome;
  /** What stopped a move that was to be made, in a sentence. */
  @Column("text", { name: "stopped_by", nullable: true })
  stoppedBy!: string | null;
  @Column("integer", { name: "based_on_generation" })
  basedOnGeneration!: number;
  @Column("integer", { nullable: true })
  generation!: number | null;
  @Column("jsonb")
  allocation!: Allocation;
  @Column("jsonb", { nullable: true })
  predicted!: Decision["predicted"];
  @Column("text", { name: "policy_name" })
  policyName!: string;
  @Column("integer", { name: "policy_version" })
  policyVersion!: number;
  @Column("bigint", { name: "decided_at_ms", transformer: toNumber })
  decidedAtMs!: number;
  @Column("json")
  snapshot!: Snapshot;
  @Column("json", { name: "policy_config" })
  policyConfig!: PolicyConfig;
  @Column("json", { name: "guard_config" })
  guardConfig!: GuardConfig;
  @Column("json")
  decision!: Decision;
}

/** TypeORM's insert type cannot see into `unknown` members of JSON columns; the rows are whole. */
export async function insertDecisions(manager: EntityManager, rows: readonly DecisionRow[]): Promise<void> {
  await manager.insert(DecisionRow, [...rows] as QueryDeepPartialEntity<DecisionRow>[]);
}
