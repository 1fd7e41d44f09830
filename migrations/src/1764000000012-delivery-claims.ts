import type { MigrationInterface, QueryRunner } from "typeorm";

/** Whether a message is under way, which the time of its next try alone does not say. */
export class DeliveryClaims1764000000012 implements MigrationInterface {
  name = "DeliveryClaims1764000000012";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE webhook_deliveries ADD COLUMN claimed_until timestamptz`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE webhook_deliveries DROP COLUMN claimed_until`);
  }
}
