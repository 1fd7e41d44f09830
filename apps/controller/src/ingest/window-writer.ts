import type { GeneratedAllocation, Window } from "@fulcrum/core/nouns.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import type { AssignmentRow } from "../assignments/assignment.service.js";
import { isDatabaseAway, isRetryable } from "../db/sqlstate.js";

/** One instance's part of a report, in the controller's time. */
export interface WindowBatch {
  readonly instance: string;
  readonly windows: readonly Window[];
  readonly observed: GeneratedAllocation | null;
  readonly conditions: readonly string[];
}

/** What the database knows of an instance once its windows are stored. */
export interface StoredInstance extends AssignmentRow {
  readonly instance_id: string;
  readonly previous_seq: number;
  readonly last_seq: number;
  readonly stored: number;
  readonly evaluated_at: Date | null;
  readonly control_interval_ms: number;
  readonly lookback_ms: number;
  readonly observed_generation: number | null;
}

interface Pending {
  readonly batches: readonly WindowBatch[];
  readonly resolve: (rows: Map<string, StoredInstance>) => void;
  readonly reject: (error: unknown) => void;
}

/** Reports that share one statement at most; more wait for the next. */
const MAX_GROUP = 64;
/** Statements in flight: one that waits for its commit does not hold up the next. */
const MAX_FLUSHES = 2;
const MAX_TRIES = 3;

/**
 * Stores windows and answers with what each instance should run, in one statement for all reports that
 * came in while the one before was under way (group commit): one round trip and one fsync for many.
 *
 * A window is stored when its sequence number is above the instance's last one, which is read and moved
 * under the row's lock: the same report twice, through two replicas, stores its windows once.
 * An instance that is not in the answer does not exist or was deleted.
 */
@Injectable()
export class WindowWriter {
  private readonly pending: Pending[] = [];
  private flushes = 0;

  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** Resolves when the windows are durable. */
  write(batches: readonly WindowBatch[]): Promise<Map<string, StoredInstance>> {
    return new Promise((resolve, reject) => {
      this.pending.push({ batches, resolve, reject });
      this.pump();
    });
  }

  private pump(): void {
    while (this.pending.length > 0 && this.flushes < MAX_FLUSHES) {
      const group = this.pending.splice(0, MAX_GROUP);
      this.flushes += 1;
      void this.flush(group).finally(() => {
        this.flushes -= 1;
        this.pump();
      });
    }
  }

  private async flush(group: readonly Pending[]): Promise<void> {
    try {
      const rows = await this.store(group.flatMap((pending) => pending.batches));
      const byName = new Map(rows.map((row) => [row.name, row]));
      for (const pending of group) pending.resolve(byName);
    } catch (error) {
      // What one report brought must not cost the others theirs: each is tried once more alone.
      if (group.length > 1 && !isDatabaseAway(error)) {
        for (const pending of group) await this.flush([pending]);
        return;
      }
      for (const pending of group) pending.reject(error);
    }
  }

  private async store(batches: readonly WindowBatch[]): Promise<StoredInstance[]> {
    const parameters = toParameters(batches);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.source.query<StoredInstance[]>(STORE, parameters);
      } catch (error) {
        if (!isRetryable(error) || attempt >= MAX_TRIES) throw error;
      }
    }
  }
}

/**
 * Bodies travel as one text with a line each: JSON has no raw line feeds, and a text parameter needs no
 * escaping, unlike an array of texts.
 */
const STORE = `
  WITH input AS (
    SELECT t.name, t.seq, t.end_at, t.generation, b.body
    FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::int[]) WITH ORDINALITY AS t(name, seq, end_at, generation, n)
    JOIN string_to_table($5::text, E'\\n') WITH ORDINALITY AS b(body, n) USING (n)
  ), news AS (
    SELECT * FROM unnest($6::text[], $7::text[], $8::text[]) AS t(name, observed, conditions)
  ), head AS (
    SELECT i.id, i.name, s.last_seq
    FROM instances i JOIN instance_signals s ON s.instance_id = i.id
    WHERE i.name = ANY($6::text[]) AND i.deleted_at IS NULL
    ORDER BY i.id FOR UPDATE OF s
  ), stored AS (
    INSERT INTO windows (instance_id, seq, received_at, end_at, generation, body)
    SELECT h.id, w.seq, $9::timestamptz, w.end_at, w.generation, w.body::json
    FROM input w JOIN head h ON h.name = w.name
    WHERE w.seq > h.last_seq
    ON CONFLICT DO NOTHING
    RETURNING instance_id, seq, end_at
  ), newest AS (
    SELECT instance_id, max(seq) AS seq, max(end_at) AS end_at, count(*)::int AS stored FROM stored GROUP BY instance_id
  ), moved AS (
    UPDATE instance_signals s
    SET last_seq = greatest(s.last_seq, n.seq), last_end_at = greatest(s.last_end_at, n.end_at),
        observed = coalesce(t.observed::jsonb, s.observed),
        observed_at = CASE WHEN t.observed IS NULL THEN s.observed_at ELSE $9::timestamptz END,
        conditions = string_to_array(t.conditions, ',')
    FROM head h JOIN news t ON t.name = h.name LEFT JOIN newest n ON n.instance_id = h.id
    WHERE s.instance_id = h.id
    RETURNING s.instance_id, h.last_seq::float8 AS previous_seq, s.last_seq::float8 AS last_seq, s.evaluated_at,
              (s.observed ->> 'generation')::int AS observed_generation, coalesce(n.stored, 0) AS stored
  )
  SELECT m.*, i.name, i.generation, i.attempt, i.allocation, i.issue_reason, i.issued_at,
         p.control_interval_ms, p.lookback_ms
  FROM moved m JOIN instances i ON i.id = m.instance_id JOIN pools p ON p.id = i.pool_id`;

function toParameters(batches: readonly WindowBatch[]): unknown[] {
  const names: string[] = [];
  const seqs: number[] = [];
  const ends: Date[] = [];
  const generations: (number | null)[] = [];
  const bodies: string[] = [];
  // Two reports of one instance in a group: the later one says what is observed now.
  const latest = new Map<string, WindowBatch>();
  for (const batch of batches) {
    latest.set(batch.instance, batch);
    for (const window of batch.windows) {
      names.push(batch.instance);
      seqs.push(window.seq);
      ends.push(new Date(window.endAtMs));
      generations.push(window.generation);
      bodies.push(JSON.stringify(window));
    }
  }
  const news = [...latest.values()];
  return [
    names,
    seqs,
    ends,
    generations,
    bodies.join("\n"),
    news.map((batch) => batch.instance),
    news.map((batch) => (batch.observed ? JSON.stringify(batch.observed) : null)),
    news.map((batch) => batch.conditions.join(",")),
    new Date(),
  ];
}
