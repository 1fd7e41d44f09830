/**
 * What reports counted, added up into buckets of a pool.
 *
 * A report adds its windows' counts to totals on the instance's signals row, in the statement that stores the windows and
 * under the lock that it holds anyway: a window that is stored is counted, once, and one that is a repeat is not. The totals
 * only grow. Here what was added since the last time is taken, and how far it was taken is stored in the same transaction:
 * a crash in between changes nothing, and no report waits for it. One replica at a time.
 *
 * Why not straight into the buckets: all reports of a pool would wait for one row, each for the other's fsync.
 */
import { BUCKET_MS } from "@fulcrum/core/budget/burn.js";
import { type Tally, withinOf } from "@fulcrum/core/budget/count.js";
import type { DataSource, EntityManager } from "typeorm";

/** Any constant; held by whoever adds up. */
const FOLD_LOCK = 4_702_114;
/** A count whose other phase has told nothing waits so long for it. */
const PATIENCE_MS = BUCKET_MS;

interface CountedRow {
  readonly pool_id: string;
  readonly instance_id: string;
  readonly totals: Tally;
  /** null: of this instance nothing was taken yet. */
  readonly taken: Tally | null;
  readonly taken_at: Date | null;
}

/** How far the totals of an instance were taken. */
interface Position {
  readonly instanceId: string;
  readonly totals: Tally;
}

const NONE: Tally = { finished: 0, ttft: 0, ttftOk: 0, tpot: 0, tpotOk: 0 };
const COLUMNS = ["finished", "ttft", "ttft_ok", "tpot", "tpot_ok"] as const;
const tally = (prefix: string) =>
  `json_build_object('finished', ${prefix}finished, 'ttft', ${prefix}ttft, 'ttftOk', ${prefix}ttft_ok,
                     'tpot', ${prefix}tpot, 'tpotOk', ${prefix}tpot_ok)`;

/** Only rows of which a request has finished since. */
const COUNTED = `
  SELECT i.pool_id, s.instance_id, ${tally("s.slo_")} AS totals,
         CASE WHEN b.instance_id IS NOT NULL THEN ${tally("b.")} END AS taken, b.at AS taken_at
  FROM instance_signals s JOIN instances i ON i.id = s.instance_id
  LEFT JOIN budget_positions b ON b.instance_id = s.instance_id
  WHERE s.slo_finished > coalesce(b.finished, 0)`;

/** Adds up what was counted since the last time; false: another replica is at it. */
export async function foldCounts(source: DataSource, nowMs: number): Promise<boolean> {
  return source.transaction(async (manager) => {
    const [lock] = await manager.query<{ mine: boolean }[]>("SELECT pg_try_advisory_xact_lock($1) AS mine", [
      FOLD_LOCK,
    ]);
    if (!lock?.mine) return false;
    await add(manager, await manager.query<CountedRow[]>(COUNTED), nowMs, false);
    return true;
  });
}

/** Forgets what is known of an instance's windows, and counts what was not added up yet. In the caller's transaction. */
export async function forgetSignals(
  manager: EntityManager,
  instanceId: string,
  nowMs: number,
): Promise<void> {
  await manager.query("SELECT pg_advisory_xact_lock($1)", [FOLD_LOCK]);
  // A report that is under way ends first, and one that comes later finds no row.
  await manager.query("SELECT 1 FROM instance_signals WHERE instance_id = $1 FOR UPDATE", [instanceId]);
  const rows = await manager.query<CountedRow[]>(`${COUNTED} AND s.instance_id = $1`, [instanceId]);
  await add(manager, rows, nowMs, true);
  await manager.query("DELETE FROM instance_signals WHERE instance_id = $1", [instanceId]);
  await manager.query("DELETE FROM budget_positions WHERE instance_id = $1", [instanceId]);
}

async function add(
  manager: EntityManager,
  rows: readonly CountedRow[],
  nowMs: number,
  last: boolean,
): Promise<void> {
  const pools = new Map<string, { requests: number; within: number }>();
  const taken: Position[] = [];
  for (const row of rows) {
    const delta = row.taken === null ? row.totals : less(row.totals, row.taken);
    const oneSided = !(delta.ttft > 0 && delta.tpot > 0);
    const late = row.taken_at !== null && nowMs - row.taken_at.getTime() >= PATIENCE_MS;
    if (oneSided && !late && !last) {
      // From now on it is known how long it has waited.
      if (row.taken === null) taken.push({ instanceId: row.instance_id, totals: NONE });
      continue;
    }
    const within = withinOf(delta);
    if (within === null) continue;
    const sum = pools.get(row.pool_id) ?? { requests: 0, within: 0 };
    pools.set(row.pool_id, { requests: sum.requests + delta.finished, within: sum.within + within });
    taken.push({ instanceId: row.instance_id, totals: row.totals });
  }
  if (taken.length > 0) await store(manager, taken, nowMs);
  if (pools.size === 0) return;
  const fromAt = new Date(Math.floor(nowMs / BUCKET_MS) * BUCKET_MS);
  const sums = [...pools.entries()];
  const columns = [
    sums.map(([id]) => id),
    sums.map(([, { requests }]) => requests),
    sums.map(([, { within }]) => within),
  ];
  await manager.query(
    `INSERT INTO budget_buckets AS b (pool_id, from_at, requests, within)
     SELECT t.id, $4::timestamptz, t.requests, t.within
     FROM unnest($1::uuid[], $2::float8[], $3::float8[]) AS t(id, requests, within)
     ON CONFLICT (pool_id, from_at)
     DO UPDATE SET requests = b.requests + excluded.requests, within = b.within + excluded.within`,
    [...columns, fromAt],
  );
  await manager.query(
    `INSERT INTO budget_totals AS b (pool_id, requests, within)
     SELECT t.id, t.requests, t.within FROM unnest($1::uuid[], $2::float8[], $3::float8[]) AS t(id, requests, within)
     ON CONFLICT (pool_id)
     DO UPDATE SET requests = b.requests + excluded.requests, within = b.within + excluded.within`,
    columns,
  );
}

async function store(manager: EntityManager, rows: readonly Position[], nowMs: number): Promise<void> {
  await manager.query(
    `INSERT INTO budget_positions (instance_id, ${COLUMNS.join(", ")}, at)
     SELECT t.id, t.finished, t.ttft, t.ttft_ok, t.tpot, t.tpot_ok, $7::timestamptz
     FROM unnest($1::uuid[], $2::float8[], $3::float8[], $4::float8[], $5::float8[], $6::float8[])
       AS t(id, ${COLUMNS.join(", ")})
     ON CONFLICT (instance_id)
     DO UPDATE SET ${[...COLUMNS, "at"].map((name) => `${name} = excluded.${name}`).join(", ")}`,
    [
      rows.map(({ instanceId }) => instanceId),
      rows.map(({ totals }) => totals.finished),
      rows.map(({ totals }) => totals.ttft),
      rows.map(({ totals }) => totals.ttftOk),
      rows.map(({ totals }) => totals.tpot),
      rows.map(({ totals }) => totals.tpotOk),
      new Date(nowMs),
    ],
  );
}

function less(a: Tally, b: Tally): Tally {
  return {
    finished: a.finished - b.finished,
    ttft: a.ttft - b.ttft,
    ttftOk: a.ttftOk - b.ttftOk,
    tpot: a.tpot - b.tpot,
    tpotOk: a.tpotOk - b.tpotOk,
  };
}
