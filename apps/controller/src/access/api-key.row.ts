import type { Role } from "@fulcrum/contracts/resources.js";
import { Column, Entity, Index, PrimaryColumn } from "typeorm";

@Entity("api_keys")
@Index("ux_api_keys_hash", ["hash"], { unique: true })
export class ApiKeyRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_api_keys" })
  id!: string;
  @Column("text")
  name!: string;
  @Column("text")
  role!: Role;
  @Column("text", { nullable: true })
  agent!: string | null;
  /** SHA-256 of the key in hex. The key holds 256 random bits, so a slow hash would add nothing. */
  @Column("text")
  hash!: string;
  @Column("timestamptz", { name: "created_at" })
  createdAt!: Date;
  @Column("text", { name: "created_by" })
  createdBy!: string;
  @Column("timestamptz", { name: "last_used_at", nullable: true })
  lastUsedAt!: Date | null;
  @Column("timestamptz", { name: "revoked_at", nullable: true })
  revokedAt!: Date | null;
}
