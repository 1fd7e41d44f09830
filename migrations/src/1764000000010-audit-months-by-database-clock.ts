import type { MigrationInterface, QueryRunner } from "typeorm";

/**
 * The month that an audit row lies in goes by its own time, but by no more than the database's: one row of a replica whose
 * clock is ahead used to take all after it into a month to come, where no partition is yet. Rows that lie there come back.
 */
export class AuditMonthsByDatabaseClock1764000000010 implements MigrationInterface {
  name = "AuditMonthsByDatabaseClock1764000000010";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(appendAudit(`least(${MONTH_OF_ROW}, ${MONTH_NOW})`));
    await runner.query(`ALTER TABLE audit DETACH PARTITION audit_default`);
    await runner.query(`ALTER TABLE audit_default RENAME TO audit_outside`);
    await runner.query(`CREATE TABLE audit_default PARTITION OF audit DEFAULT`);
    await runner.query(`
      CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit_default
        FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()`);
    // Still grows with seq: not below the months of the rows before.
    await runner.query(`
      INSERT INTO audit
      SELECT seq, greatest(least(month, ${MONTH_NOW}),
                            (SELECT max(month) FROM audit WHERE seq < (SELECT min(seq) FROM audit_outside))),
             at, actor, key_id, address, action, subject, before, after, prev_hash, hash
      FROM audit_outside`);
    await runner.query(`DROP TABLE audit_outside`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(appendAudit(MONTH_OF_ROW));
  }
}

const MONTH_OF_ROW = "date_trunc('month', ats[i] AT TIME ZONE 'UTC')::date";
const MONTH_NOW = "date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date";

/** As the migration that cut the log by month made it, with another month for each row. */
function appendAudit(month: string): string {
  return `CREATE OR REPLACE FUNCTION append_audit(
     ats timestamptz[], actors text[], key_ids uuid[], addresses text[], actions text[], subjects text[],
     befores text[], afters text[], tails text[]) RETURNS void LANGUAGE plpgsql AS $$
   DECLARE
     last_seq bigint;
     last_hash text;
     next_hash text;
     this_month date;
   BEGIN
     PERFORM pg_advisory_xact_lock(4702111);
     SELECT seq, hash, month INTO last_seq, last_hash, this_month FROM audit ORDER BY seq DESC LIMIT 1;
     last_seq := coalesce(last_seq, 0);
     last_hash := coalesce(last_hash, repeat('0', 64));
     FOR i IN 1 .. array_length(ats, 1) LOOP
       last_seq := last_seq + 1;
       this_month := greatest(this_month, ${month});
       next_hash := encode(sha256(convert_to('["' || last_hash || '",' || last_seq || ',' || tails[i] || ']', 'UTF8')), 'hex');
       INSERT INTO audit (seq, month, at, actor, key_id, address, action, subject, before, after, prev_hash, hash)
       VALUES (last_seq, this_month, ats[i], actors[i], key_ids[i], addresses[i], actions[i], subjects[i],
               befores[i]::json, afters[i]::json, last_hash, next_hash);
       last_hash := next_hash;
     END LOOP;
   END $$`;
}
