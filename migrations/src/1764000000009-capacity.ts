import type { MigrationInterface, QueryRunner } from "typeorm";

/** What each pool's instances could carry, as it was last computed; one row a pool. */
export class Capacity1764000000009 implements MigrationInterface {
  name = "Capacity1764000000009";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE pool_capacities (
        pool_id uuid NOT NULL,
        claimed_at timestamptz NOT NULL,
        computed_at timestamptz,
        instances integer NOT NULL,
        needed integer NOT NULL,
        headroom double precision,
        known integer NOT NULL,
        recent jsonb NOT NULL,
        items jsonb NOT NULL,
        CONSTRAINT pk_pool_capacities PRIMARY KEY (pool_id),
        CONSTRAINT fk_pool_capacities_pool FOREIGN KEY (pool_id) REFERENCES pools (id))`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE pool_capacities`);
  }
}
