import type { MigrationInterface, QueryRunner } from "typeorm";

/**
 * Pools, instances, agents, keys, decisions, reconfigurations, audit.
 *
 * Names of keys and indexes are spelled out, so that the entities can name the same ones and
 * TypeORM's own comparison of schema and entities finds nothing to do (a test holds that).
 */
export class CreateTables1764000000000 implements MigrationInterface {
  name = "CreateTables1764000000000";

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of [...POOLS, ...FLEET, ...DECISIONS, ...ACCESS, ...AUDIT])
      await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE audit, api_keys, reconfiguration_steps, reconfigurations, decisions,
                 instance_ranks, instance_signals, instances, agents, slo_versions, pools`);
    await runner.query(`DROP FUNCTION append_audit, audit_is_append_only`);
  }
}

const POOLS = [
  `CREATE TABLE pools (
     id uuid NOT NULL,
     name text NOT NULL,
     model text NOT NULL,
     mode text NOT NULL,
     policy jsonb NOT NULL,
     guards jsonb NOT NULL,
     limits jsonb NOT NULL,
     control_interval_ms integer NOT NULL,
     lookback_ms integer NOT NULL,
     frozen boolean NOT NULL,
     slo_version integer NOT NULL,
     version integer NOT NULL,
     created_at timestamptz NOT NULL,
     updated_at timestamptz NOT NULL,
     deleted_at timestamptz,
     CONSTRAINT pk_pools PRIMARY KEY (id))`,
  `CREATE UNIQUE INDEX ux_pools_name ON pools (name) WHERE deleted_at IS NULL`,
  `CREATE TABLE slo_versions (
     pool_id uuid NOT NULL,
     version integer NOT NULL,
     slo jsonb NOT NULL,
     created_at timestamptz NOT NULL,
     created_by text NOT NULL,
     CONSTRAINT pk_slo_versions PRIMARY KEY (pool_id, version),
     CONSTRAINT fk_slo_versions_pool FOREIGN KEY (pool_id) REFERENCES pools (id))`,
];

const FLEET = [
  `CREATE TABLE agents (
     id uuid NOT NULL,
     name text NOT NULL,
     node text NOT NULL,
     agent_version text NOT NULL,
     last_seen_at timestamptz NOT NULL,
     clock_skew_ms double precision NOT NULL,
     created_at timestamptz NOT NULL,
     CONSTRAINT pk_agents PRIMARY KEY (id))`,
  `CREATE UNIQUE INDEX ux_agents_name ON agents (name)`,
  `CREATE TABLE instances (
     id uuid NOT NULL,
     pool_id uuid NOT NULL,
     name text NOT NULL,
     rank_count integer NOT NULL,
     capabilities jsonb NOT NULL,
     generation integer NOT NULL,
     attempt integer NOT NULL,
     allocation jsonb NOT NULL,
     issued_at timestamptz NOT NULL,
     issue_reason text NOT NULL,
     last_good jsonb NOT NULL,
     changed_at timestamptz,
     pinned boolean NOT NULL,
     pinned_until timestamptz,
     degraded boolean NOT NULL,
     created_at timestamptz NOT NULL,
     deleted_at timestamptz,
     CONSTRAINT pk_instances PRIMARY KEY (id),
     CONSTRAINT fk_instances_pool FOREIGN KEY (pool_id) REFERENCES pools (id))`,
  `CREATE UNIQUE INDEX ux_instances_name ON instances (name) WHERE deleted_at IS NULL`,
  `CREATE INDEX ix_instances_pool ON instances (pool_id)`,
  // Written with every report: apart from instances, and with room in each page for in-place updates.
  `CREATE TABLE instance_signals (
     instance_id uuid NOT NULL,
     last_seq bigint NOT NULL,
     last_end_at timestamptz,
     observed jsonb,
     observed_at timestamptz,
     conditions text[] NOT NULL,
     evaluated_at timestamptz,
     policy_state json,
     last_decision_id uuid,
     last_decision_key text,
     last_decision_at timestamptz,
     CONSTRAINT pk_instance_signals PRIMARY KEY (instance_id),
     CONSTRAINT fk_instance_signals_instance FOREIGN KEY (instance_id) REFERENCES instances (id))
   WITH (fillfactor = 50)`,
  `CREATE TABLE instance_ranks (
     instance_id uuid NOT NULL,
     rank integer NOT NULL,
     agent_id uuid NOT NULL,
     generation integer NOT NULL,
     attempt integer NOT NULL,
     step text,
     delivered jsonb,
     updated_at timestamptz NOT NULL,
     CONSTRAINT pk_instance_ranks PRIMARY KEY (instance_id, rank),
     CONSTRAINT fk_instance_ranks_instance FOREIGN KEY (instance_id) REFERENCES instances (id),
     CONSTRAINT fk_instance_ranks_agent FOREIGN KEY (agent_id) REFERENCES agents (id))`,
  `CREATE INDEX ix_instance_ranks_agent ON instance_ranks (agent_id)`,
];

// json, not jsonb, where a row must give back exactly the text that was decided on.
const DECISIONS = [
  `CREATE TABLE decisions (
     id uuid NOT NULL,
     pool_id uuid NOT NULL,
     instance_id uuid NOT NULL,
     at timestamptz NOT NULL,
     kind text NOT NULL,
     reason text NOT NULL,
     message text NOT NULL,
     mode text NOT NULL,
     outcome text NOT NULL,
     based_on_generation integer NOT NULL,
     generation integer,
     allocation jsonb NOT NULL,
     predicted jsonb,
     policy_name text NOT NULL,
     policy_version integer NOT NULL,
     decided_at_ms bigint NOT NULL,
     snapshot json NOT NULL,
     policy_config json NOT NULL,
     guard_config json NOT NULL,
     decision json NOT NULL,
     CONSTRAINT pk_decisions PRIMARY KEY (id),
     CONSTRAINT fk_decisions_pool FOREIGN KEY (pool_id) REFERENCES pools (id),
     CONSTRAINT fk_decisions_instance FOREIGN KEY (instance_id) REFERENCES instances (id))`,
  `CREATE INDEX ix_decisions_instance ON decisions (instance_id, id)`,
  `CREATE INDEX ix_decisions_pool ON decisions (pool_id, id)`,
  `CREATE INDEX ix_decisions_reason ON decisions (reason, id)`,
  `CREATE TABLE reconfigurations (
     id uuid NOT NULL,
     pool_id uuid NOT NULL,
     instance_id uuid NOT NULL,
     decision_id uuid,
     kind text NOT NULL,
     state text NOT NULL,
     generation integer NOT NULL,
     attempt integer NOT NULL,
     from_allocation jsonb NOT NULL,
     to_allocation jsonb NOT NULL,
     failure text,
     deadline_at timestamptz NOT NULL,
     created_at timestamptz NOT NULL,
     ended_at timestamptz,
     CONSTRAINT pk_reconfigurations PRIMARY KEY (id),
     CONSTRAINT fk_reconfigurations_pool FOREIGN KEY (pool_id) REFERENCES pools (id),
     CONSTRAINT fk_reconfigurations_instance FOREIGN KEY (instance_id) REFERENCES instances (id))`,
  // The database itself refuses a second rollout beside an unfinished one, and a generation twice.
  `CREATE UNIQUE INDEX ux_reconfigurations_open ON reconfigurations (instance_id) WHERE ended_at IS NULL`,
  `CREATE UNIQUE INDEX ux_reconfigurations_generation ON reconfigurations (instance_id, generation)`,
  `CREATE INDEX ix_reconfigurations_pool ON reconfigurations (pool_id, id)`,
  `CREATE TABLE reconfiguration_steps (
     id bigint GENERATED ALWAYS AS IDENTITY,
     reconfiguration_id uuid NOT NULL,
     at timestamptz NOT NULL,
     rank integer,
     attempt integer NOT NULL,
     step text NOT NULL,
     delivered jsonb,
     detail text,
     CONSTRAINT pk_reconfiguration_steps PRIMARY KEY (id),
     CONSTRAINT fk_reconfiguration_steps_reconfiguration
       FOREIGN KEY (reconfiguration_id) REFERENCES reconfigurations (id) ON DELETE CASCADE)`,
  `CREATE INDEX ix_reconfiguration_steps_reconfiguration ON reconfiguration_steps (reconfiguration_id)`,
];

const ACCESS = [
  `CREATE TABLE api_keys (
     id uuid NOT NULL,
     name text NOT NULL,
     role text NOT NULL,
     agent text,
     hash text NOT NULL,
     created_at timestamptz NOT NULL,
     created_by text NOT NULL,
     last_used_at timestamptz,
     revoked_at timestamptz,
     CONSTRAINT pk_api_keys PRIMARY KEY (id))`,
  `CREATE UNIQUE INDEX ux_api_keys_hash ON api_keys (hash)`,
];

const AUDIT = [
  `CREATE TABLE audit (
     seq bigint NOT NULL,
     at timestamptz NOT NULL,
     actor text NOT NULL,
     key_id uuid,
     address text,
     action text NOT NULL,
     subject text NOT NULL,
     before json,
     after json,
     prev_hash text NOT NULL,
     hash text NOT NULL,
     CONSTRAINT pk_audit PRIMARY KEY (seq))`,
  // The chain's only writer. Rows are hashed where the last hash is known, so that the lock which keeps the
  // chain in one line is held for one statement and the commit, not for round trips. A row's hash is that of
  // '["<prev_hash>",<seq>,' || tail || ']', where tail is the rest of the row as JSON.
  `CREATE FUNCTION append_audit(
     ats timestamptz[], actors text[], key_ids uuid[], addresses text[], actions text[], subjects text[],
     befores text[], afters text[], tails text[]) RETURNS void LANGUAGE plpgsql AS $$
   DECLARE
     last_seq bigint;
     last_hash text;
     next_hash text;
   BEGIN
     PERFORM pg_advisory_xact_lock(4702111);
     SELECT seq, hash INTO last_seq, last_hash FROM audit ORDER BY seq DESC LIMIT 1;
     last_seq := coalesce(last_seq, 0);
     last_hash := coalesce(last_hash, repeat('0', 64));
     FOR i IN 1 .. array_length(ats, 1) LOOP
       last_seq := last_seq + 1;
       next_hash := encode(sha256(convert_to('["' || last_hash || '",' || last_seq || ',' || tails[i] || ']', 'UTF8')), 'hex');
       INSERT INTO audit (seq, at, actor, key_id, address, action, subject, before, after, prev_hash, hash)
       VALUES (last_seq, ats[i], actors[i], key_ids[i], addresses[i], actions[i], subjects[i],
               befores[i]::json, afters[i]::json, last_hash, next_hash);
       last_hash := next_hash;
     END LOOP;
   END $$`,
  `CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN RAISE EXCEPTION 'audit rows are only ever added'; END $$`,
  `CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit
     FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()`,
  `CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
     FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()`,
];
