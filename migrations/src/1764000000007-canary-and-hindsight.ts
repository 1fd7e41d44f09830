import type { MigrationInterface, QueryRunner } from "typeorm";

/**
 * Canary: where a pool is cut and since when, each instance's number that tells its side, and what both parts served in
 * each block of time. And what a trial of staying says of the move that was only recorded.
 */
export class CanaryAndHindsight1764000000007 implements MigrationInterface {
  name = "CanaryAndHindsight1764000000007";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE pools ADD COLUMN canary jsonb NOT NULL DEFAULT '{"share": 0.2}', ADD COLUMN canary_below double precision,
        ADD COLUMN canary_since timestamptz, ADD COLUMN alike_since timestamptz`);
    await runner.query(`UPDATE pools SET alike_since = created_at`);
    await runner.query(
      `ALTER TABLE pools ALTER COLUMN canary DROP DEFAULT, ALTER COLUMN alike_since SET NOT NULL`,
    );
    await runner.query(`ALTER TABLE instances ADD COLUMN canary_hash double precision`);
    await runner.query(HASHES);
    await runner.query(`ALTER TABLE instances ALTER COLUMN canary_hash SET NOT NULL`);
    // The least and the greatest of a pool are asked with every decision while it is in mode canary.
    await runner.query(
      `CREATE INDEX ix_instances_canary ON instances (pool_id, canary_hash) WHERE deleted_at IS NULL`,
    );
    await runner.query(BLOCKS);
    await runner.query(`ALTER TABLE outcomes ADD COLUMN hindsight jsonb`);
    // Changes that are worse and still run are asked for with every sweep.
    await runner.query(
      `CREATE INDEX ix_outcomes_left ON outcomes (ended_at)
       WHERE verdict = 'worse' AND worse_than = 'before' AND NOT taken_back`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP INDEX ix_outcomes_left`);
    await runner.query(`ALTER TABLE outcomes DROP COLUMN hindsight`);
    await runner.query(`DROP TABLE canary_blocks`);
    await runner.query(`DROP INDEX ix_instances_canary`);
    await runner.query(`ALTER TABLE instances DROP COLUMN canary_hash`);
    await runner.query(
      `UPDATE pools SET mode = 'observe', version = version + 1, updated_at = now() WHERE mode = 'canary'`,
    );
    await runner.query(
      `ALTER TABLE pools DROP COLUMN alike_since, DROP COLUMN canary_since, DROP COLUMN canary_below, DROP COLUMN canary`,
    );
  }
}

/** As canaryHash in the controller's registration. */
const HASHES = `
  UPDATE instances SET canary_hash = ('x' || left(md5(id::text), 8))::bit(32)::bigint / 4294967296.0::float8`;

/** `at` is the block's beginning; shares are null where a part served nothing. */
const BLOCKS = `
  CREATE TABLE canary_blocks (
    pool_id uuid NOT NULL,
    since timestamptz NOT NULL,
    at timestamptz NOT NULL,
    canary_requests integer NOT NULL,
    canary_share double precision,
    rest_requests integer NOT NULL,
    rest_share double precision,
    CONSTRAINT pk_canary_blocks PRIMARY KEY (pool_id, since, at),
    CONSTRAINT fk_canary_blocks_pool FOREIGN KEY (pool_id) REFERENCES pools (id))`;
