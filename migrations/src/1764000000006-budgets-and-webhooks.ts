import type { MigrationInterface, QueryRunner } from "typeorm";

/**
 * Error budgets (what reports count on the instance's signals row, how far that was added up, and the sums in buckets),
 * alerts, webhooks and what was sent to them.
 */
export class BudgetsAndWebhooks1764000000006 implements MigrationInterface {
  name = "BudgetsAndWebhooks1764000000006";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE pools ADD COLUMN budget_days integer NOT NULL DEFAULT 28`);
    await runner.query(`ALTER TABLE pools ALTER COLUMN budget_days DROP DEFAULT`);
    await runner.query(
      `ALTER TABLE instance_signals ${TALLY.map((name) => `ADD COLUMN slo_${name} float8 NOT NULL DEFAULT 0`).join(", ")}`,
    );
    for (const statement of [...BUDGETS, ...WEBHOOKS]) await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(
      `DROP TABLE webhook_deliveries, webhooks, alerts, budget_totals, budget_buckets, budget_positions`,
    );
    await runner.query(
      `ALTER TABLE instance_signals ${TALLY.map((name) => `DROP COLUMN slo_${name}`).join(", ")}`,
    );
    await runner.query(`ALTER TABLE pools DROP COLUMN budget_days`);
  }
}

const TALLY = ["finished", "ttft", "ttft_ok", "tpot", "tpot_ok"];

const BUDGETS = [
  // No foreign key: whoever adds up would wait for the instance's lock, and who deletes an instance waits for them.
  `CREATE TABLE budget_positions (
     instance_id uuid NOT NULL,
     ${TALLY.map((name) => `${name} float8 NOT NULL`).join(",\n     ")},
     at timestamptz NOT NULL,
     CONSTRAINT pk_budget_positions PRIMARY KEY (instance_id))`,
  `CREATE TABLE budget_buckets (
     pool_id uuid NOT NULL,
     from_at timestamptz NOT NULL,
     requests float8 NOT NULL,
     within float8 NOT NULL,
     CONSTRAINT pk_budget_buckets PRIMARY KEY (pool_id, from_at),
     CONSTRAINT fk_budget_buckets_pool FOREIGN KEY (pool_id) REFERENCES pools (id))`,
  // Buckets go after a while; a counter may only grow.
  `CREATE TABLE budget_totals (
     pool_id uuid NOT NULL,
     requests float8 NOT NULL,
     within float8 NOT NULL,
     CONSTRAINT pk_budget_totals PRIMARY KEY (pool_id),
     CONSTRAINT fk_budget_totals_pool FOREIGN KEY (pool_id) REFERENCES pools (id))`,
  `CREATE TABLE alerts (
     id uuid NOT NULL,
     pool_id uuid NOT NULL,
     name text NOT NULL,
     severity text NOT NULL,
     message text NOT NULL,
     "values" jsonb NOT NULL,
     started_at timestamptz NOT NULL,
     quiet_since timestamptz,
     ended_at timestamptz,
     CONSTRAINT pk_alerts PRIMARY KEY (id),
     CONSTRAINT fk_alerts_pool FOREIGN KEY (pool_id) REFERENCES pools (id))`,
  `CREATE UNIQUE INDEX ux_alerts_open ON alerts (pool_id, name) WHERE ended_at IS NULL`,
  `CREATE INDEX ix_alerts_pool ON alerts (pool_id, id)`,
];

const WEBHOOKS = [
  `CREATE TABLE webhooks (
     id uuid NOT NULL,
     url text NOT NULL,
     events text[] NOT NULL,
     pool text,
     secret text NOT NULL,
     created_at timestamptz NOT NULL,
     created_by text NOT NULL,
     disabled_at timestamptz,
     CONSTRAINT pk_webhooks PRIMARY KEY (id))`,
  `CREATE TABLE webhook_deliveries (
     id uuid NOT NULL,
     webhook_id uuid NOT NULL,
     event text NOT NULL,
     body text NOT NULL,
     state text NOT NULL,
     tries integer NOT NULL,
     created_at timestamptz NOT NULL,
     next_try_at timestamptz,
     ended_at timestamptz,
     last_status integer,
     last_error text,
     last_answer text,
     CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id),
     CONSTRAINT fk_webhook_deliveries_webhook FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE)`,
  `CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (next_try_at) WHERE state = 'pending'`,
  `CREATE INDEX ix_webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id)`,
];
