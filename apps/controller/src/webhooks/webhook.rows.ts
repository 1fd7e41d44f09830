import type { Delivery, DeliveryState, WebhookEvent } from "@fulcrum/contracts/webhooks.js";
import { Column, Entity, ForeignKey, Index, PrimaryColumn } from "typeorm";

@Entity("webhooks")
export class WebhookRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_webhooks" })
  id!: string;
  @Column("text")
  url!: string;
  @Column("text", { array: true })
  events!: WebhookEvent[];
  /** By name: a pool that is made again under it is the same to whoever listens. */
  @Column("text", { nullable: true })
  pool!: string | null;
  /** `whsec_…`, as it is: signing needs it. Never answered again, audited or logged. */
  @Column("text")
  secret!: string;
  @Column("timestamptz", { name: "created_at" })
  createdAt!: Date;
  @Column("text", { name: "created_by" })
  createdBy!: string;
  @Column("timestamptz", { name: "disabled_at", nullable: true })
  disabledAt!: Date | null;
}

/** The outbox. A pending row is sent by whoever moves `nextTryAt` on. */
@Entity("webhook_deliveries")
@Index("ix_webhook_deliveries_due", ["nextTryAt"], { where: "state = 'pending'" })
@Index("ix_webhook_deliveries_webhook", ["webhookId", "id"])
export class DeliveryRow {
  @PrimaryColumn("uuid", { primaryKeyConstraintName: "pk_webhook_deliveries" })
  id!: string;
  @Column("uuid", { name: "webhook_id" })
  @ForeignKey(() => WebhookRow, { name: "fk_webhook_deliveries_webhook", onDelete: "CASCADE" })
  webhookId!: string;
  @Column("text")
  event!: Delivery["event"];
  @Column("text")
  body!: string;
  @Column("text")
  state!: DeliveryState;
  @Column("integer")
  tries!: number;
  @Column("timestamptz", { name: "created_at" })
  createdAt!: Date;
  @Column("timestamptz", { name: "next_try_at", nullable: true })
  nextTryAt!: Date | null;
  /** Set while a try is under way; of a controller that died it passes by itself. */
  @Column("timestamptz", { name: "claimed_until", nullable: true })
  claimedUntil!: Date | null;
  @Column("timestamptz", { name: "ended_at", nullable: true })
  endedAt!: Date | null;
  @Column("integer", { name: "last_status", nullable: true })
  lastStatus!: number | null;
  @Column("text", { name: "last_error", nullable: true })
  lastError!: string | null;
  @Column("text", { name: "last_answer", nullable: true })
  lastAnswer!: string | null;
}
