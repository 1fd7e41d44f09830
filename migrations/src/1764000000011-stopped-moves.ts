import type { MigrationInterface, QueryRunner } from "typeorm";

/** What stopped a decided move between its decision and its commit: a hold, a change of the pool, another change. */
export class StoppedMoves1764000000011 implements MigrationInterface {
  name = "StoppedMoves1764000000011";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE decisions ADD COLUMN stopped_by text`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE decisions DROP COLUMN stopped_by`);
  }
}
