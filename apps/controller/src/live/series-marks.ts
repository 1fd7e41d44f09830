import type { Series } from "@fulcrum/contracts/live.js";
import type { DataSource } from "typeorm";
import type { Span } from "./series.read.js";

/** Marks of each kind, the newest ones; a chart with more is a carpet. */
const MAX_MARKS = 300;

type Mark = Series["marks"][number];
type Predicted = Series["predicted"][number];

const MARKS = `
  (SELECT d.decided_at_ms::float8 AS "atMs", 'decision' AS kind, d.id, d.message AS label FROM decisions d
   WHERE d.instance_id = $1 AND d.kind = 'move' AND d.at >= $2 AND d.at <= $3 ORDER BY d.id DESC LIMIT ${MAX_MARKS})
  UNION ALL
  (SELECT floor(extract(epoch FROM r.created_at) * 1000)::float8, 'rollout', r.id,
          r.kind || ', generation ' || r.generation || ': ' || r.state FROM reconfigurations r
   WHERE r.instance_id = $1 AND r.created_at >= $2 AND r.created_at <= $3 ORDER BY r.generation DESC LIMIT ${MAX_MARKS})
  UNION ALL
  (SELECT floor(extract(epoch FROM h.starts_at) * 1000)::float8, 'hold', h.id,
          replace(h.kind, '_', ' ') || ' by ' || h.actor || ': ' || h.reason FROM holds h
   WHERE (h.instance_id = $1
          OR h.instance_id IS NULL AND (h.pool_id IS NULL OR h.pool_id = (SELECT pool_id FROM instances WHERE id = $1)))
     AND h.starts_at >= $2 AND h.starts_at <= $3 ORDER BY h.id DESC LIMIT ${MAX_MARKS})
  ORDER BY 1`;

/** What the last decision of each step foretold for what it asked. */
const PREDICTED = `
  SELECT DISTINCT ON (floor((d.decided_at_ms - $4::float8) / $5::float8))
         d.decided_at_ms::float8 AS "atMs", d.predicted -> 'ttftMs' AS "ttftMs", d.predicted -> 'tpotMs' AS "tpotMs"
  FROM decisions d
  WHERE d.instance_id = $1 AND d.at >= $2 AND d.at <= $3 AND jsonb_typeof(d.predicted) = 'object'
  ORDER BY floor((d.decided_at_ms - $4::float8) / $5::float8), d.id DESC`;

export async function readMarks(
  source: DataSource,
  { id, fromMs, toMs, stepMs }: Span,
): Promise<{ marks: Mark[]; predicted: Predicted[] }> {
  const between = [id, new Date(fromMs), new Date(toMs)];
  const marks = await source.query<Mark[]>(MARKS, between);
  const predicted = await source.query<Predicted[]>(PREDICTED, [...between, fromMs, stepMs]);
  return { marks, predicted };
}
