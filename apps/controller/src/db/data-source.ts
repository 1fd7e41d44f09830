import { MIGRATIONS } from "@fulcrum/migrations/all.js";
import { DataSource, type DataSourceOptions } from "typeorm";
import { AlertRow } from "../alerts/alert.row.js";
import { ApiKeyRow } from "../access/api-key.row.js";
import { PoolCapacityRow } from "../capacity/capacity.row.js";
import { CanaryBlockRow } from "../canary/canary-block.row.js";
import { DecisionRow } from "../decisions/decision.row.js";
import { AgentRow, InstanceRow } from "../fleet/fleet.rows.js";
import { HoldRow } from "../holds/hold.row.js";
import { OutcomeRow } from "../outcomes/outcome.row.js";
import { makeAuditMonths } from "./audit-months.js";
import { PoolRow, SloVersionRow } from "../pools/pool.rows.js";
import { ProposalRow, ProposalVoteRow } from "../proposals/proposal.rows.js";
import { ReconfigurationRow, ReconfigurationStepRow } from "../reconfigurations/reconfiguration.rows.js";
import { DeliveryRow, WebhookRow } from "../webhooks/webhook.rows.js";

/** Listed by hand: no globs, so that nothing is picked up by accident. */
export const ENTITIES = [
  PoolRow,
  SloVersionRow,
  AgentRow,
  InstanceRow,
  ApiKeyRow,
  DecisionRow,
  ReconfigurationRow,
  ReconfigurationStepRow,
  HoldRow,
  ProposalRow,
  ProposalVoteRow,
  OutcomeRow,
  AlertRow,
  WebhookRow,
  DeliveryRow,
  CanaryBlockRow,
  PoolCapacityRow,
];

export function dataSourceOptions(url: string, poolSize: number): DataSourceOptions {
  return {
    type: "postgres",
    url,
    poolSize,
    entities: ENTITIES,
    migrations: MIGRATIONS,
    migrationsTableName: "fulcrum_migrations",
    synchronize: false,
    logging: false,
    applicationName: "fulcrum-controller",
    // A query that cannot get a connection fails with a clear error instead of waiting for ever.
    connectTimeoutMS: 10_000,
    extra: { idleTimeoutMillis: 30_000, statement_timeout: 30_000 },
  };
}

/** Any constant: replicas that start together migrate one after the other. */
const MIGRATION_LOCK = 4_702_112;

/** Connects and brings the schema up to date. */
export async function openDatabase(options: DataSourceOptions): Promise<DataSource> {
  const source = await new DataSource(options).initialize();
  const runner = source.createQueryRunner();
  try {
    await runner.query("SELECT pg_advisory_lock($1)", [MIGRATION_LOCK]);
    await source.runMigrations({ transaction: "each" });
    // Before the first row: a month that has rows in the default partition cannot be made any more.
    await makeAuditMonths(source, Date.now());
  } finally {
    await runner.query("SELECT pg_advisory_unlock($1)", [MIGRATION_LOCK]);
    await runner.release();
  }
  return source;
}
