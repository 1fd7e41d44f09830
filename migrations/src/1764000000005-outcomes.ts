import type { MigrationInterface, QueryRunner } from "typeorm";

/**
 * How decisions turned out, a row per trial; whether a pool takes back what made it worse; and why an instance is
 * degraded: after reverts in a row only a person ends it.
 */
export class Outcomes1764000000005 implements MigrationInterface {
  name = "Outcomes1764000000005";

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of OUTCOMES) await runner.query(statement);
    await runner.query(`ALTER TABLE pools ADD COLUMN auto_rollback boolean NOT NULL DEFAULT true`);
    await runner.query(`ALTER TABLE pools ALTER COLUMN auto_rollback DROP DEFAULT`);
    await runner.query(`
      ALTER TABLE instances ADD COLUMN degraded_cause text, ADD COLUMN degraded_cleared_at timestamptz`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE instances DROP COLUMN degraded_cleared_at, DROP COLUMN degraded_cause`);
    await runner.query(`ALTER TABLE pools DROP COLUMN auto_rollback`);
    await runner.query(`DROP TABLE outcomes`);
  }
}

const OUTCOMES = [
  // What the decision saw and predicted stays with the decision; `verdict` is null while the trial goes on.
  `CREATE TABLE outcomes (
     decision_id uuid NOT NULL,
     subject text NOT NULL,
     pool_id uuid NOT NULL,
     instance_id uuid NOT NULL,
     mode text NOT NULL,
     generation integer NOT NULL,
     started_at timestamptz NOT NULL,
     look_at timestamptz NOT NULL,
     ended_at timestamptz,
     verdict text,
     worse_than text,
     requests integer,
     before jsonb,
     predicted jsonb,
     observed jsonb,
     message text,
     taken_back boolean NOT NULL,
     CONSTRAINT pk_outcomes PRIMARY KEY (decision_id, subject),
     CONSTRAINT fk_outcomes_decision FOREIGN KEY (decision_id) REFERENCES decisions (id) ON DELETE CASCADE,
     CONSTRAINT fk_outcomes_pool FOREIGN KEY (pool_id) REFERENCES pools (id),
     CONSTRAINT fk_outcomes_instance FOREIGN KEY (instance_id) REFERENCES instances (id))`,
  `CREATE INDEX ix_outcomes_open ON outcomes (look_at) WHERE ended_at IS NULL`,
  `CREATE INDEX ix_outcomes_instance ON outcomes (instance_id, ended_at)`,
  `CREATE INDEX ix_outcomes_pool ON outcomes (pool_id, ended_at)`,
];
