import type { MigrationInterface, QueryRunner } from "typeorm";

/**
 * The barrier of groups: `gate` is a part of the assignment (null: the instance needs none), so it lies where the
 * rest of the assignment does and costs a report no join.
 */
export class AddGroupBarrier1764000000002 implements MigrationInterface {
  name = "AddGroupBarrier1764000000002";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE instances ADD COLUMN gate jsonb`);
    await runner.query(`
      ALTER TABLE instance_ranks
        ADD COLUMN barrier boolean NOT NULL DEFAULT false,
        ADD COLUMN iterations jsonb`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE instance_ranks DROP COLUMN barrier, DROP COLUMN iterations`);
    await runner.query(`ALTER TABLE instances DROP COLUMN gate`);
  }
}
