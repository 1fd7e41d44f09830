/** What was promised and what ran at the times of a series. */
import type { Series } from "@fulcrum/contracts/live.js";
import type { Allocation, SloTarget } from "@fulcrum/core/nouns.js";
import type { DataSource } from "typeorm";

/** SLO versions that are listed, the newest ones up to the span's end. */
const MAX_SLOS = 200;

export type SloOf = Series["slos"][number];

/** The SLO in force at the beginning and each that came into force in the span, oldest first; never empty. */
export async function readSlos(
  source: DataSource,
  poolId: string,
  { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
): Promise<SloOf[]> {
  const rows = await source.query<{ version: number; slo: SloTarget; at: Date }[]>(
    `SELECT version, slo, created_at AS at FROM slo_versions
     WHERE pool_id = $1 AND (created_at <= $2 OR version = 1) ORDER BY version DESC LIMIT ${MAX_SLOS}`,
    [poolId, new Date(toMs)],
  );
  const all = rows.toReversed().map(({ version, slo, at }) => ({ fromMs: at.getTime(), version, slo }));
  const first = all.findLastIndex((one) => one.fromMs <= fromMs);
  return all.slice(Math.max(0, first)).map((one) => ({ ...one, fromMs: Math.max(one.fromMs, fromMs) }));
}

/** The last one that was in force by `atMs`; before the first of them that one. */
export function sloAt(slos: readonly SloOf[], atMs: number): SloTarget {
  return (slos.findLast(({ fromMs }) => fromMs <= atMs) ?? slos[0]!).slo;
}

/**
 * By generation, what was read back of it: with the acknowledgements, and of the present one with the last report. What
 * an instance was found with had been read back too. A generation of which nothing was read back is not in it.
 */
export async function readDelivered(
  source: DataSource,
  instanceId: string,
  generations: readonly number[],
): Promise<ReadonlyMap<number, Allocation>> {
  if (generations.length === 0) return new Map();
  const rows = await source.query<{ generation: number; delivered: Allocation }[]>(
    `SELECT generation, delivered FROM (
       SELECT i.generation, i.allocation AS delivered, 1 AS told FROM instances i WHERE i.id = $1 AND i.generation = 0
       UNION ALL
       SELECT (r.from_allocation ->> 'generation')::int, r.from_allocation, 1 FROM reconfigurations r
       WHERE r.instance_id = $1 AND (r.generation = 1 OR r.kind = 'adoption')
       UNION ALL
       SELECT r.generation, s.delivered, 2 FROM reconfigurations r
       CROSS JOIN LATERAL (
         SELECT s.delivered FROM reconfiguration_steps s
         WHERE s.reconfiguration_id = r.id AND s.delivered IS NOT NULL AND s.step IN ('switched', 'verified')
         ORDER BY s.at DESC, s.id DESC LIMIT 1) s
       WHERE r.instance_id = $1 AND r.generation = ANY($2::int[])
       UNION ALL
       SELECT (s.observed ->> 'generation')::int, s.observed, 3 FROM instance_signals s
       WHERE s.instance_id = $1 AND s.observed IS NOT NULL
     ) g WHERE generation = ANY($2::int[]) ORDER BY told`,
    [instanceId, generations],
  );
  // The last one counts: of the present generation that is the report.
  return new Map(
    rows.map(({ generation, delivered: { split, kvQuotaPct } }) => [generation, { split, kvQuotaPct }]),
  );
}
