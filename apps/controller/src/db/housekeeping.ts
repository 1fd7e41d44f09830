import { Inject, Injectable, type OnApplicationBootstrap } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource } from "typeorm";
import { CONFIG, type Config } from "../config.js";
import { LOGGER } from "../obs/logger.js";
import { dropAuditMonths, makeAuditMonths } from "./audit-months.js";

const HOUR_MS = 3_600_000;
/** Partitions are made so far ahead; the default partition takes what falls outside. */
const HOURS_AHEAD = 3;
/** Rows per DELETE, and DELETEs per run: a run stays short and the rest waits for the next. */
const DELETE_BATCH = 1_000;
const MAX_BATCHES = 50;
/** Dead letters wait so long for somebody to send them again. */
const DELIVERY_RETENTION_DAYS = 30;
/** The longest budget, and a day. */
const BUDGET_RETENTION_DAYS = 91;

/** Keeps history bounded: makes the coming partitions of windows and audit, drops old ones, deletes old decisions. */
@Injectable()
export class Housekeeping implements OnApplicationBootstrap {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.makePartitions(Date.now());
  }

  async run(nowMs: number = Date.now()): Promise<{ dropped: number; deleted: number; auditMonths: number }> {
    await this.makePartitions(nowMs);
    const dropped = await this.dropPartitions(nowMs);
    const deleted = (await this.deleteDecisions(nowMs)) + (await this.deleteTold(nowMs));
    const auditMonths = await this.dropAudit(nowMs);
    if (dropped + deleted + auditMonths > 0)
      this.logger.info({ event: "housekeeping", dropped, deleted, auditMonths });
    return { dropped, deleted, auditMonths };
  }

  private async dropAudit(nowMs: number): Promise<number> {
    const { auditRetentionMonths } = this.config;
    if (auditRetentionMonths === null) return 0;
    const { dropped, stuck } = await dropAuditMonths(this.source, auditRetentionMonths, nowMs);
    if (stuck !== null) this.logger.warn({ event: "audit_month_kept", partition: stuck });
    return dropped;
  }

  private async makePartitions(nowMs: number): Promise<void> {
    await makeAuditMonths(this.source, nowMs).catch((error: unknown) => {
      this.logger.warn({ event: "partition_not_made", partition: "audit", err: error });
    });
    const first = Math.floor(nowMs / HOUR_MS) * HOUR_MS;
    for (let hour = 0; hour <= HOURS_AHEAD; hour += 1) {
      const from = first + hour * HOUR_MS;
      await this.makePartition(from).catch((error: unknown) => {
        // Rows of that hour lie in the default partition already: they stay there.
        this.logger.warn({ event: "partition_not_made", partition: partitionName(from), err: error });
      });
    }
  }

  private async makePartition(fromMs: number): Promise<void> {
    const name = partitionName(fromMs);
    const [existing] = await this.source.query<{ found: string | null }[]>(
      "SELECT to_regclass($1) AS found",
      [name],
    );
    if (existing?.found) return;
    await this.source.query(
      `CREATE TABLE IF NOT EXISTS ${name} PARTITION OF windows
       FOR VALUES FROM ('${new Date(fromMs).toISOString()}') TO ('${new Date(fromMs + HOUR_MS).toISOString()}')`,
    );
  }

  private async dropPartitions(nowMs: number): Promise<number> {
    const oldest = partitionName(nowMs - this.config.windowRetentionHours * HOUR_MS);
    const rows = await this.source.query<{ name: string }[]>(
      `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
       WHERE i.inhparent = 'windows'::regclass AND c.relname ~ '^windows_[0-9]{10}$' AND c.relname < $1`,
      [oldest],
    );
    for (const { name } of rows) await this.source.query(`DROP TABLE ${name}`);
    const cutoff = new Date(nowMs - this.config.windowRetentionHours * HOUR_MS);
    await this.source.query("DELETE FROM windows_default WHERE received_at < $1", [cutoff]);
    return rows.length;
  }

  private async deleteDecisions(nowMs: number): Promise<number> {
    const cutoff = new Date(nowMs - this.config.decisionRetentionDays * 24 * HOUR_MS);
    let deleted = 0;
    for (const table of ["decisions", "reconfigurations", "proposals", "holds", "alerts"])
      deleted += await this.deleteBefore(table, table === "decisions" ? "at" : "ended_at", cutoff);
    return deleted;
  }

  private async deleteBefore(table: string, when: string, cutoff: Date): Promise<number> {
    let deleted = 0;
    for (let batch = 0; batch < MAX_BATCHES; batch += 1) {
      const [, count] = await this.source.query<[unknown, number]>(
        `DELETE FROM ${table} WHERE id IN (SELECT id FROM ${table} WHERE ${when} < $1 LIMIT ${DELETE_BATCH})`,
        [cutoff],
      );
      deleted += count;
      if (count < DELETE_BATCH) break;
    }
    return deleted;
  }

  /** Messages that arrived or were given up, buckets beyond any budget, and positions of instances that are gone. */
  private async deleteTold(nowMs: number): Promise<number> {
    const deleted = await this.deleteBefore(
      "webhook_deliveries",
      "ended_at",
      new Date(nowMs - DELIVERY_RETENTION_DAYS * 24 * HOUR_MS),
    );
    // A bucket each five minutes and pool: no more than a run can delete at once.
    await this.source.query("DELETE FROM budget_buckets WHERE from_at < $1", [
      new Date(nowMs - BUDGET_RETENTION_DAYS * 24 * HOUR_MS),
    ]);
    await this.source.query(
      "DELETE FROM budget_positions b WHERE NOT EXISTS (SELECT 1 FROM instance_signals s WHERE s.instance_id = b.instance_id)",
    );
    return deleted;
  }
}

/** `windows_2026112217`: names sort as their hours do. */
export function partitionName(atMs: number): string {
  return `windows_${new Date(atMs).toISOString().slice(0, 13).replace(/[-T]/g, "")}`;
}
