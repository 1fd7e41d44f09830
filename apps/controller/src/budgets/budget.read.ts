import { type Budget, MAX_SLICES } from "@fulcrum/contracts/budgets.js";
import {
  BUCKET_MS,
  type Burn,
  burnOf,
  type Count,
  pairsFor,
  spanWords,
  spentShare,
} from "@fulcrum/core/budget/burn.js";
import { AGE_EDGES_MS, countWithin } from "@fulcrum/core/budget/recent.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import { ProblemError } from "../http/problem-error.js";

const DAY_MS = 86_400_000;

/** What of a pool its budget is counted by. */
interface PromiseRow {
  readonly id: string;
  readonly name: string;
  readonly days: number;
  readonly target: number;
}

export interface PoolBurn extends PromiseRow {
  readonly burn: readonly Burn[];
}

interface AgeRow extends Count {
  readonly pool_id: string;
  readonly age: number;
}

const PROMISES = `
  SELECT p.id, p.name, p.budget_days AS days, (v.slo ->> 'attainmentShare')::float8 AS target
  FROM pools p JOIN slo_versions v ON v.pool_id = p.id AND v.version = p.slo_version
  WHERE p.deleted_at IS NULL AND ($1::text IS NULL OR p.name = $1)`;

/** A dozen rows for each pool: the buckets that lie between two edges make one. */
const BY_AGE = `
  SELECT pool_id, width_bucket(extract(epoch FROM $2::timestamptz - from_at)::float8 * 1000, $3::float8[]) AS age,
         sum(requests) AS requests, sum(within) AS within
  FROM budget_buckets WHERE pool_id = ANY($1::uuid[]) AND from_at > $4::timestamptz
  GROUP BY 1, 2`;

const BY_SLICE = `
  SELECT (floor((extract(epoch FROM from_at)::float8 * 1000 - $2::float8) / $3::float8) * $3::float8 + $2::float8)::float8 AS "fromMs",
         sum(requests) AS requests, sum(within) AS within
  FROM budget_buckets WHERE pool_id = $1 AND from_at >= to_timestamp($2::float8 / 1000) AND from_at < $4
  GROUP BY 1 ORDER BY 1`;

const FIRST = `SELECT extract(epoch FROM min(from_at))::float8 * 1000 AS ms FROM budget_buckets WHERE pool_id = $1`;

const SPENT = `
  SELECT b.pool_id, sum(b.requests) AS requests, sum(b.within) AS within
  FROM budget_buckets b JOIN pools p ON p.id = b.pool_id
  WHERE p.deleted_at IS NULL AND b.from_at >= $1::timestamptz - p.budget_days * interval '1 day' GROUP BY 1`;

/** Budgets, as far as they have been added up. */
@Injectable()
export class BudgetRead {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** @throws ProblemError not_found */
  async budget(name: string, nowMs: number = Date.now()): Promise<Budget> {
    const [pool] = await this.burning(nowMs, name);
    if (!pool) throw new ProblemError("not_found", `There is no pool ${name}.`);
    const { id, days, target, burn } = pool;
    const sliceMs = Math.ceil((days * DAY_MS) / MAX_SLICES / BUCKET_MS) * BUCKET_MS;
    // On a bucket's beginning: what began before is not counted, so it is up to five minutes less.
    const fromMs = Math.ceil((nowMs - days * DAY_MS) / BUCKET_MS) * BUCKET_MS;
    const bySlice = await this.source.query<Budget["bySlice"]>(BY_SLICE, [
      id,
      fromMs,
      sliceMs,
      new Date(nowMs),
    ]);
    const [first] = await this.source.query<{ ms: number | null }[]>(FIRST, [id]);
    const count = bySlice.reduce(
      (sum, slice) => ({ requests: sum.requests + slice.requests, within: sum.within + slice.within }),
      { requests: 0, within: 0 },
    );
    const spent = spentShare(count, target);
    return {
      pool: name,
      days,
      target,
      ...count,
      spentShare: spent,
      remainingShare: 1 - spent,
      sinceMs: first?.ms ?? null,
      bySlice,
      sliceMs,
      burn: burn.map(({ spentShare: _of, ...one }) => one),
      message: budgetWords(name, days, target, count, spent),
    };
  }

  /** How fast every pool, or the one of that name, spends its budget. */
  async burning(nowMs: number, name: string | null = null): Promise<PoolBurn[]> {
    const pools = await this.source.query<PromiseRow[]>(PROMISES, [name]);
    const rows = await this.source.query<AgeRow[]>(BY_AGE, [
      pools.map(({ id }) => id),
      new Date(nowMs),
      AGE_EDGES_MS,
      new Date(nowMs - AGE_EDGES_MS.at(-1)!),
    ]);
    const byPool = new Map<string, Count[]>();
    for (const { pool_id: id, age, requests, within } of rows) {
      const byAge = byPool.get(id) ?? [];
      byPool.set(id, byAge);
      byAge[age] = { requests, within };
    }
    return pools.map((pool) => ({ ...pool, burn: burnOfPool(pool, byPool.get(pool.id) ?? [], nowMs) }));
  }

  /** The share of its budget that each pool has left, by name; of pools without requests none is told. */
  async remaining(nowMs: number = Date.now()): Promise<{ pool: string; remainingShare: number }[]> {
    const pools = await this.source.query<PromiseRow[]>(PROMISES, [null]);
    const rows = await this.source.query<(Count & { pool_id: string })[]>(SPENT, [new Date(nowMs)]);
    const counts = new Map(rows.map((row) => [row.pool_id, row]));
    return pools.flatMap(({ id, name, target }) => {
      const count = counts.get(id);
      return count ? [{ pool: name, remainingShare: 1 - spentShare(count, target) }] : [];
    });
  }

  /** Requests of each pool since it was made, and those within both bounds. */
  async totals(): Promise<(Count & { pool: string })[]> {
    return this.source.query(
      `SELECT p.name AS pool, t.requests, t.within FROM budget_totals t JOIN pools p ON p.id = t.pool_id
       WHERE p.deleted_at IS NULL`,
    );
  }
}

function burnOfPool({ days, target }: PromiseRow, byAge: readonly Count[], nowMs: number): Burn[] {
  return pairsFor(days).map((pair) =>
    burnOf(
      pair,
      countWithin(byAge, pair.longMs, nowMs),
      countWithin(byAge, pair.shortMs, nowMs),
      days,
      target,
    ),
  );
}

function budgetWords(pool: string, days: number, target: number, count: Count, spent: number): string {
  const { requests, within } = count;
  const over = `the last ${spanWords(days * DAY_MS)}`;
  if (requests === 0) return `Nothing finished in pool ${pool} in ${over}: nothing of the budget is spent.`;
  const kept = `${((within / requests) * 100).toFixed(2)} % of ${Math.round(requests)} requests were within both bounds in ${over}`;
  const promise = `${Number((target * 100).toPrecision(6))} % are promised`;
  const left = 1 - spent;
  const words =
    left >= 0
      ? `${(left * 100).toFixed(1)} % of the budget is left`
      : `the budget is overspent by ${(-left * 100).toFixed(1)} %`;
  return `${kept}; ${promise}, so ${words}.`;
}
