import { Column, Entity, PrimaryColumn } from "typeorm";
import { toNumber } from "../db/columns.js";

@Entity("audit")
export class AuditRow {
  @PrimaryColumn("bigint", { primaryKeyConstraintName: "pk_audit", transformer: toNumber })
  seq!: number;
  @Column("timestamptz")
  at!: Date;
  @Column("text")
  actor!: string;
  @Column("uuid", { name: "key_id", nullable: true })
  keyId!: string | null;
  @Column("text", { nullable: true })
  address!: string | null;
  @Column("text")
  action!: string;
  @Column("text")
  subject!: string;
  @Column("json", { nullable: true })
  before!: unknown;
  @Column("json", { nullable: true })
  after!: unknown;
  @Column("text", { name: "prev_hash" })
  prevHash!: string;
  @Column("text")
  hash!: string;
}
