import type { MigrationInterface, QueryRunner } from "typeorm";

/** The trace that a reconfiguration belongs to, so that it goes on after a restart and on another replica. */
export class Traces1764000000008 implements MigrationInterface {
  name = "Traces1764000000008";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE reconfigurations ADD COLUMN traceparent text`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE reconfigurations DROP COLUMN traceparent`);
  }
}
