import { tallyOf } from "@fulcrum/core/budget/count.js";
import type { GeneratedAllocation, Window } from "@fulcrum/core/nouns.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import { type Bounds, SloBounds } from "../budgets/slo-bounds.js";
import type { AssignmentRow } from "../assignments/assignment.service.js";
import { isDatabaseAway, isRetryable } from "../db/sqlstate.js";
import { ProblemError } from "../http/problem-error.js";

/** One instance's part of a report, in the controller's time. */
export interface WindowBatch {
  readonly agent: string;
  readonly instance: string;
  readonly windows: readonly Window[];
  readonly observed: GeneratedAllocation | null;
  readonly conditions: readonly string[];
}

/** What the database knows of an instance once its windows are stored. */
export interface StoredInstance extends AssignmentRow {
  readonly instance_id: string;
  /** The agent that reported, and whether it is the one whose windows count. */
  readonly agent: string;
  readonly speaks: boolean;
  readonly previous_seq: number;
  readonly last_seq: number;
  readonly evaluated_at: Date | null;
  readonly control_interval_ms: number;
  readonly lookback_ms: number;
  readonly pool_id: string;
  readonly slo_version: number;
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
/** Reports that wait at most; past it one is refused at once, and its agent keeps the windows and comes again. */
const MAX_PENDING = 1_024;

/**
 * Stores windows and answers with what each instance should run, in one statement for all reports that
 * came in while the one before was under way (group commit): one round trip and one fsync for many.
 *
 * A window is stored when its sequence number is above the instance's last one, which is read and moved
 * under the row's lock: the same report twice, through two replicas, stores its windows once. By the same test, on the
 * same row, what is stored is counted for the error budget (budgets/fold.ts).
 * Of a group of ranks the windows of the lowest rank's agent count, since one engine measures for all; those
 * of the others are let go. An instance that is not in the answer does not exist, was deleted, or is none of
 * the agent's.
 */
@Injectable()
export class WindowWriter {
  private readonly pending: Pending[] = [];
  private flushes = 0;

  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(SloBounds) private readonly bounds: SloBounds,
  ) {}

  /** Resolves when the windows are durable, with the rows of this report by instance. */
  write(batches: readonly WindowBatch[]): Promise<Map<string, StoredInstance>> {
    if (this.pending.length >= MAX_PENDING) {
      const detail = `${MAX_PENDING} reports wait for the database already; try again.`;
      return Promise.reject(new ProblemError("unavailable", detail));
    }
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
      const byReport = new Map(rows.map((row) => [keyOf(row.agent, row.name), row]));
      for (const { batches, resolve } of group) resolve(rowsOf(batches, byReport));
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
    const bounds = await this.bounds.of(batches.map(({ instance }) => instance));
    const parameters = toParameters(batches, bounds);
    for (let attempt = 1; ; attempt += 1) {
      try {
        const rows = await this.source.query<StoredInstance[]>(STORE, parameters);
        for (const { name, pool_id: poolId, slo_version: sloVersion } of rows)
          this.bounds.note(name, { poolId, sloVersion });
        return rows;
      } catch (error) {
        if (!isRetryable(error) || attempt >= MAX_TRIES) throw error;
      }
    }
  }
}

/**
 * Bodies travel as one text with a line each: JSON has no raw line feeds, and a text parameter needs no
 * escaping, unlike an array of texts. What each instance's newest window is, is known before: joining back
 * what was inserted would cost the square of the rows, since the planner takes a CTE for one row.
 */
const STORE = `
  WITH input AS (
    SELECT t.agent, t.name, t.seq, t.end_at, t.generation, b.body
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::int[])
      WITH ORDINALITY AS t(agent, name, seq, end_at, generation, n)
    JOIN string_to_table($6::text, E'\\n') WITH ORDINALITY AS b(body, n) USING (n)
  ), news AS (
    SELECT * FROM unnest($7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::timestamptz[], $14::text[])
      AS t(agent, name, observed, conditions, seq, end_at, counts)
  ), head AS (
    SELECT i.id, i.name, n.agent, n.observed, n.conditions, n.seq, n.end_at, n.counts, s.last_seq, s.evaluated_at,
           n.agent = looks_after.first AS speaks, looks_after.barrier
    FROM news n
    JOIN instances i ON i.name = n.name AND i.deleted_at IS NULL
    JOIN instance_signals s ON s.instance_id = i.id
    JOIN LATERAL (
      SELECT (array_agg(a.name ORDER BY r.rank))[1] AS first, bool_or(a.name = n.agent) AS mine,
             bool_and(r.barrier) FILTER (WHERE a.name = n.agent) AS barrier
      FROM instance_ranks r JOIN agents a ON a.id = r.agent_id WHERE r.instance_id = i.id
    ) looks_after ON looks_after.mine
    ORDER BY i.id FOR UPDATE OF s
  ), stored AS (
    INSERT INTO windows (instance_id, seq, received_at, end_at, generation, body)
    SELECT h.id, w.seq, $13::timestamptz, w.end_at, w.generation, w.body::json
    FROM input w JOIN head h ON h.name = w.name AND h.agent = w.agent
    WHERE h.speaks AND w.seq > h.last_seq
    ON CONFLICT DO NOTHING
  ), moved AS (
    UPDATE instance_signals s
    SET last_seq = greatest(s.last_seq, h.seq),
        last_end_at = CASE WHEN h.seq > s.last_seq THEN h.end_at ELSE s.last_end_at END,
        observed = coalesce(h.observed::jsonb, s.observed),
        observed_at = CASE WHEN h.observed IS NULL THEN s.observed_at ELSE $13::timestamptz END,
        conditions = string_to_array(h.conditions, ','),
        slo_finished = s.slo_finished + c.finished, slo_ttft = s.slo_ttft + c.ttft, slo_ttft_ok = s.slo_ttft_ok + c.ttft_ok,
        slo_tpot = s.slo_tpot + c.tpot, slo_tpot_ok = s.slo_tpot_ok + c.tpot_ok
    FROM head h CROSS JOIN LATERAL (
      SELECT coalesce(sum((w ->> 1)::float8), 0) AS finished, coalesce(sum((w ->> 2)::float8), 0) AS ttft,
             coalesce(sum((w ->> 3)::float8), 0) AS ttft_ok, coalesce(sum((w ->> 4)::float8), 0) AS tpot,
             coalesce(sum((w ->> 5)::float8), 0) AS tpot_ok
      FROM json_array_elements(h.counts::json) AS w WHERE (w ->> 0)::bigint > h.last_seq
    ) c
    WHERE s.instance_id = h.id AND h.speaks
  )
  SELECT h.id AS instance_id, h.agent, h.speaks, h.last_seq::float8 AS previous_seq,
         (CASE WHEN h.speaks THEN greatest(h.last_seq, h.seq) ELSE h.last_seq END)::float8 AS last_seq, h.evaluated_at,
         h.name, i.generation, i.attempt, i.allocation, i.issue_reason, i.issued_at,
         CASE WHEN h.barrier THEN i.gate END AS gate,
         p.control_interval_ms, p.lookback_ms, p.id AS pool_id, p.slo_version
  FROM head h JOIN instances i ON i.id = h.id JOIN pools p ON p.id = i.pool_id`;

function keyOf(agent: string, instance: string): string {
  return `${agent}/${instance}`;
}

function rowsOf(
  batches: readonly WindowBatch[],
  byReport: ReadonlyMap<string, StoredInstance>,
): Map<string, StoredInstance> {
  const rows = new Map<string, StoredInstance>();
  for (const { agent, instance } of batches) {
    const row = byReport.get(keyOf(agent, instance));
    if (row) rows.set(instance, row);
  }
  return rows;
}

type Counts = [seq: number, finished: number, ttft: number, ttftOk: number, tpot: number, tpotOk: number];

/** What the windows of a batch add to the instance's totals, by their number; of one sent twice the first counts. */
function countsOf(
  batches: readonly WindowBatch[],
  bounds: ReadonlyMap<string, Bounds>,
): Map<string, Counts[]> {
  const byInstance = new Map<string, Map<number, Counts>>();
  for (const { agent, instance, windows } of batches) {
    const slo = bounds.get(instance)?.slo;
    if (!slo) continue;
    const key = keyOf(agent, instance);
    const counts = byInstance.get(key) ?? new Map<number, Counts>();
    byInstance.set(key, counts);
    for (const window of windows) {
      if (counts.has(window.seq)) continue;
      const { finished, ttft, ttftOk, tpot, tpotOk } = tallyOf(window, slo);
      counts.set(window.seq, [window.seq, finished, ttft, ttftOk, tpot, tpotOk]);
    }
  }
  return new Map([...byInstance].map(([key, counts]) => [key, [...counts.values()]]));
}

function toParameters(batches: readonly WindowBatch[], bounds: ReadonlyMap<string, Bounds>): unknown[] {
  const agents: string[] = [];
  const names: string[] = [];
  const seqs: number[] = [];
  const ends: Date[] = [];
  const generations: (number | null)[] = [];
  const bodies: string[] = [];
  // Two reports of one instance in a group: the later one says what is observed now.
  const latest = new Map<string, WindowBatch>();
  const newest = new Map<string, Window>();
  for (const batch of batches) {
    const key = keyOf(batch.agent, batch.instance);
    latest.set(key, batch);
    // Ascending within a batch; of two batches either may hold the newer one.
    const last = batch.windows.at(-1);
    if (last && last.seq > (newest.get(key)?.seq ?? -1)) newest.set(key, last);
    for (const window of batch.windows) {
      agents.push(batch.agent);
      names.push(batch.instance);
      seqs.push(window.seq);
      ends.push(new Date(window.endAtMs));
      generations.push(window.generation);
      bodies.push(JSON.stringify(window));
    }
  }
  const counts = countsOf(batches, bounds);
  const news = [...latest.entries()].map(([key, batch]) => ({
    ...batch,
    newest: newest.get(key),
    counts: counts.get(key) ?? [],
  }));
  return [
    agents,
    names,
    seqs,
    ends,
    generations,
    bodies.join("\n"),
    news.map((batch) => batch.agent),
    news.map((batch) => batch.instance),
    news.map((batch) => (batch.observed ? JSON.stringify(batch.observed) : null)),
    news.map((batch) => batch.conditions.join(",")),
    news.map((batch) => batch.newest?.seq ?? null),
    news.map((batch) => (batch.newest ? new Date(batch.newest.endAtMs) : null)),
    new Date(),
    news.map((batch) => JSON.stringify(batch.counts)),
  ];
}
