import type { MigrationInterface, QueryRunner } from "typeorm";

/**
 * The audit log cut by month, so that old months can be dropped whole. `month` only grows with `seq`, whatever the
 * clocks of replicas say: what is dropped is then a beginning of the chain, never a part out of its middle. Housekeeping
 * makes the coming months; the default partition takes what none covers, so that a write never fails for lack of one.
 */
export class PartitionAudit1764000000003 implements MigrationInterface {
  name = "PartitionAudit1764000000003";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE audit RENAME TO audit_whole`);
    await runner.query(`ALTER TABLE audit_whole RENAME CONSTRAINT pk_audit TO pk_audit_whole`);
    await runner.query(PARTITIONED);
    await runner.query(`CREATE TABLE audit_default PARTITION OF audit DEFAULT`);
    for (const statement of [...GUARDED, GUARD_DEFAULT, MONTHS_SO_FAR, appendAudit(MONTHLY)])
      await runner.query(statement);
    await runner.query(`
      INSERT INTO audit
      SELECT seq, max(date_trunc('month', at AT TIME ZONE 'UTC')::date) OVER (ORDER BY seq),
             at, actor, key_id, address, action, subject, before, after, prev_hash, hash
      FROM audit_whole`);
    await runner.query(`DROP TABLE audit_whole`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE audit_whole (LIKE audit INCLUDING DEFAULTS)`);
    await runner.query(`ALTER TABLE audit_whole DROP COLUMN month`);
    await runner.query(
      `INSERT INTO audit_whole
       SELECT seq, at, actor, key_id, address, action, subject, before, after, prev_hash, hash FROM audit`,
    );
    await runner.query(`DROP TABLE audit`);
    await runner.query(`ALTER TABLE audit_whole RENAME TO audit`);
    await runner.query(`ALTER TABLE audit ADD CONSTRAINT pk_audit PRIMARY KEY (seq)`);
    for (const statement of [...GUARDED, appendAudit(WHOLE)]) await runner.query(statement);
  }
}

const PARTITIONED = `
  CREATE TABLE audit (
    seq bigint NOT NULL,
    month date NOT NULL,
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
    CONSTRAINT pk_audit PRIMARY KEY (seq, month)
  ) PARTITION BY RANGE (month)`;

const GUARDED = [
  `CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit
     FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()`,
  `CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
     FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()`,
];

/** A partition can be truncated by its own name: the parent's trigger does not see that. */
const GUARD_DEFAULT = `
  CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit_default
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()`;

/** A month that has rows in the default partition could not be made later. */
const MONTHS_SO_FAR = `
  DO $$
  DECLARE
    month date;
    name text;
  BEGIN
    FOR month IN
      SELECT generate_series(date_trunc('month', min(at) AT TIME ZONE 'UTC'),
                             date_trunc('month', max(at) AT TIME ZONE 'UTC'), interval '1 month')::date
      FROM audit_whole
    LOOP
      name := 'audit_' || to_char(month, 'YYYYMM');
      EXECUTE format('CREATE TABLE %I PARTITION OF audit FOR VALUES FROM (%L) TO (%L)',
                     name, month, (month + interval '1 month')::date);
      EXECUTE format('CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON %I
                      FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()', name);
    END LOOP;
  END $$`;

interface Shape {
  readonly declared: string;
  readonly last: string;
  readonly step: string;
  readonly columns: string;
  readonly values: string;
}

const WHOLE: Shape = {
  declared: "",
  last: "seq, hash INTO last_seq, last_hash",
  step: "",
  columns: "seq, at",
  values: "last_seq, ats[i]",
};

const MONTHLY: Shape = {
  declared: "this_month date;",
  last: "seq, hash, month INTO last_seq, last_hash, this_month",
  // greatest() passes over a null.
  step: "this_month := greatest(this_month, date_trunc('month', ats[i] AT TIME ZONE 'UTC')::date);",
  columns: "seq, month, at",
  values: "last_seq, this_month, ats[i]",
};

/** The chain's only writer, as the first migration made it, for a table of this shape. */
function appendAudit({ declared, last, step, columns, values }: Shape): string {
  return `CREATE OR REPLACE FUNCTION append_audit(
     ats timestamptz[], actors text[], key_ids uuid[], addresses text[], actions text[], subjects text[],
     befores text[], afters text[], tails text[]) RETURNS void LANGUAGE plpgsql AS $$
   DECLARE
     last_seq bigint;
     last_hash text;
     next_hash text;
     ${declared}
   BEGIN
     PERFORM pg_advisory_xact_lock(4702111);
     SELECT ${last} FROM audit ORDER BY seq DESC LIMIT 1;
     last_seq := coalesce(last_seq, 0);
     last_hash := coalesce(last_hash, repeat('0', 64));
     FOR i IN 1 .. array_length(ats, 1) LOOP
       last_seq := last_seq + 1;
       ${step}
       next_hash := encode(sha256(convert_to('["' || last_hash || '",' || last_seq || ',' || tails[i] || ']', 'UTF8')), 'hex');
       INSERT INTO audit (${columns}, actor, key_id, address, action, subject, before, after, prev_hash, hash)
       VALUES (${values}, actors[i], key_ids[i], addresses[i], actions[i], subjects[i],
               befores[i]::json, afters[i]::json, last_hash, next_hash);
       last_hash := next_hash;
     END LOOP;
   END $$`;
}
