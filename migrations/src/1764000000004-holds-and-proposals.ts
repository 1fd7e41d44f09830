import type { MigrationInterface, QueryRunner } from "typeorm";

/**
 * Holds (what keeps the policy from moving: pins move here from the columns of `instances`), proposals of pools in mode
 * recommend with the votes on them, and how a pool asks.
 */
export class HoldsAndProposals1764000000004 implements MigrationInterface {
  name = "HoldsAndProposals1764000000004";

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of [...HOLDS, PINS_SO_FAR, ...PROPOSALS]) await runner.query(statement);
    await runner.query(`ALTER TABLE instances DROP COLUMN pinned, DROP COLUMN pinned_until`);
    await runner.query(
      `ALTER TABLE pools ADD COLUMN approval jsonb NOT NULL DEFAULT '{"required": 1, "expireMs": 900000}'`,
    );
    await runner.query(`ALTER TABLE pools ALTER COLUMN approval DROP DEFAULT`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE pools DROP COLUMN approval`);
    await runner.query(
      `ALTER TABLE instances ADD COLUMN pinned boolean NOT NULL DEFAULT false, ADD COLUMN pinned_until timestamptz`,
    );
    await runner.query(`ALTER TABLE instances ALTER COLUMN pinned DROP DEFAULT`);
    await runner.query(`
      UPDATE instances i SET pinned = true, pinned_until = h.until FROM holds h
      WHERE h.instance_id = i.id AND h.kind = 'pin' AND h.ended_at IS NULL`);
    await runner.query(`DROP TABLE proposal_votes, proposals, holds`);
  }
}

const HOLDS = [
  `CREATE TABLE holds (
     id uuid NOT NULL,
     kind text NOT NULL,
     pool_id uuid,
     instance_id uuid,
     allocation jsonb,
     generation integer,
     schedule jsonb,
     reason text NOT NULL,
     actor text NOT NULL,
     starts_at timestamptz NOT NULL,
     until timestamptz,
     ended_at timestamptz,
     ended_by text,
     end_reason text,
     CONSTRAINT pk_holds PRIMARY KEY (id),
     CONSTRAINT fk_holds_pool FOREIGN KEY (pool_id) REFERENCES pools (id),
     CONSTRAINT fk_holds_instance FOREIGN KEY (instance_id) REFERENCES instances (id))`,
  // What is asked with every decision: the few that are in force, of the instance, its pool or the fleet.
  `CREATE INDEX ix_holds_active ON holds (instance_id, pool_id) WHERE ended_at IS NULL`,
  `CREATE INDEX ix_holds_instance ON holds (instance_id, id)`,
  `CREATE INDEX ix_holds_pool ON holds (pool_id, id)`,
];

/** Ids that sort by time, as all others; who pinned and why is in the audit log. */
const PINS_SO_FAR = `
  INSERT INTO holds (id, kind, pool_id, instance_id, reason, actor, starts_at, until)
  SELECT (left(t.hex, 8) || '-' || right(t.hex, 4) || '-7' || substr(r.hex, 1, 3) || '-8' || substr(r.hex, 4, 3)
          || '-' || substr(r.hex, 7, 12))::uuid,
         'pin', i.pool_id, i.id, coalesce(a.reason, 'pinned before holds were kept'), coalesce(a.actor, 'unknown'),
         coalesce(a.at, now()), i.pinned_until
  FROM instances i
  CROSS JOIN LATERAL (SELECT lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') AS hex) t
  CROSS JOIN LATERAL (SELECT md5(i.id::text || random()) AS hex) r
  LEFT JOIN LATERAL (
    SELECT actor, at, after ->> 'reason' AS reason FROM audit
    WHERE action = 'instance.pin' AND subject = 'instance/' || i.name ORDER BY seq DESC LIMIT 1) a ON true
  WHERE i.pinned AND i.deleted_at IS NULL AND (i.pinned_until IS NULL OR i.pinned_until > now())`;

const PROPOSALS = [
  `CREATE TABLE proposals (
     id uuid NOT NULL,
     decision_id uuid NOT NULL,
     pool_id uuid NOT NULL,
     instance_id uuid NOT NULL,
     based_on_generation integer NOT NULL,
     from_allocation jsonb NOT NULL,
     to_allocation jsonb NOT NULL,
     reason text NOT NULL,
     message text NOT NULL,
     predicted jsonb,
     state text NOT NULL,
     required integer NOT NULL,
     created_at timestamptz NOT NULL,
     expires_at timestamptz NOT NULL,
     ended_at timestamptz,
     generation integer,
     CONSTRAINT pk_proposals PRIMARY KEY (id),
     CONSTRAINT fk_proposals_pool FOREIGN KEY (pool_id) REFERENCES pools (id),
     CONSTRAINT fk_proposals_instance FOREIGN KEY (instance_id) REFERENCES instances (id))`,
  // The database itself refuses a second open proposal of an instance.
  `CREATE UNIQUE INDEX ux_proposals_open ON proposals (instance_id) WHERE ended_at IS NULL`,
  `CREATE INDEX ix_proposals_instance ON proposals (instance_id, id)`,
  `CREATE INDEX ix_proposals_pool ON proposals (pool_id, id)`,
  // One vote of a kind per key: who approves twice counts once.
  `CREATE TABLE proposal_votes (
     proposal_id uuid NOT NULL,
     key_id uuid NOT NULL,
     verdict text NOT NULL,
     actor text NOT NULL,
     comment text,
     at timestamptz NOT NULL,
     CONSTRAINT pk_proposal_votes PRIMARY KEY (proposal_id, key_id, verdict),
     CONSTRAINT fk_proposal_votes_proposal FOREIGN KEY (proposal_id) REFERENCES proposals (id) ON DELETE CASCADE)`,
];
