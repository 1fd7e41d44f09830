import type { HoldKind, Schedule } from "@fulcrum/contracts/holds.js";
import type { Series } from "@fulcrum/contracts/live.js";
import type { DataSource } from "typeorm";
import { spansBetween } from "../holds/freeze-spans.js";

/** Of which instance, from when to when, in steps of what. */
export interface Span {
  readonly id: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly stepMs: number;
}

/** Marks of each kind, the newest ones; a chart with more is a carpet. */
const MAX_MARKS = 300;
/** Starts of freeze windows that are looked at for one answer, shared among them; all of them take some 0.1 s. */
const MAX_STARTS = 1_000;

type Mark = Series["marks"][number];
type Predicted = Series["predicted"][number];

const MOMENTS = `
  (SELECT d.decided_at_ms::float8 AS "atMs", NULL AS "endMs", 'decision' AS kind, d.id, d.message AS label
   FROM decisions d
   WHERE d.instance_id = $1 AND d.kind = 'move' AND d.at >= $2 AND d.at <= $3 ORDER BY d.id DESC LIMIT ${MAX_MARKS})
  UNION ALL
  (SELECT floor(extract(epoch FROM r.created_at) * 1000)::float8, NULL, 'rollout', r.id,
          r.kind || ', generation ' || r.generation || ': ' || r.state FROM reconfigurations r
   WHERE r.instance_id = $1 AND r.created_at >= $2 AND r.created_at <= $3 ORDER BY r.generation DESC LIMIT ${MAX_MARKS})`;

interface HoldOf {
  readonly id: string;
  readonly kind: HoldKind;
  readonly actor: string;
  readonly reason: string;
  readonly schedule: Schedule | null;
  readonly startMs: number;
  readonly endMs: number | null;
  readonly endReason: string | null;
}

/** Whatever was in force in the span, also when it began before. A hold has ended when its time ran out, written down or not. */
const HOLDS = `
  SELECT h.id, h.kind, h.actor, h.reason, h.schedule, floor(extract(epoch FROM h.starts_at) * 1000)::float8 AS "startMs",
         floor(extract(epoch FROM least(h.ended_at, h.until)) * 1000)::float8 AS "endMs", h.end_reason AS "endReason"
  FROM holds h
  WHERE (h.instance_id = $1
         OR h.instance_id IS NULL AND (h.pool_id IS NULL OR h.pool_id = (SELECT pool_id FROM instances WHERE id = $1)))
    AND h.starts_at <= $3 AND coalesce(least(h.ended_at, h.until), 'infinity') > $2
  ORDER BY h.id DESC LIMIT ${MAX_MARKS}`;

/** What the last decision of each step foretold for what it asked. */
const PREDICTED = `
  SELECT DISTINCT ON (floor((d.decided_at_ms - $4::float8) / $5::float8))
         d.decided_at_ms::float8 AS "atMs", d.predicted -> 'ttftMs' AS "ttftMs", d.predicted -> 'tpotMs' AS "tpotMs"
  FROM decisions d
  WHERE d.instance_id = $1 AND d.at >= $2 AND d.at <= $3 AND jsonb_typeof(d.predicted) = 'object'
  ORDER BY floor((d.decided_at_ms - $4::float8) / $5::float8), d.id DESC`;

export async function readMarks(
  source: DataSource,
  span: Span,
): Promise<{ marks: Mark[]; predicted: Predicted[] }> {
  const { id, fromMs, toMs, stepMs } = span;
  const between = [id, new Date(fromMs), new Date(toMs)];
  const moments = await source.query<Mark[]>(MOMENTS, between);
  const holds = await source.query<HoldOf[]>(HOLDS, between);
  const predicted = await source.query<Predicted[]>(PREDICTED, [...between, fromMs, stepMs]);
  const marks = [...moments, ...holdMarks(holds, span)].toSorted((a, b) => a.atMs - b.atMs);
  return { marks, predicted };
}

/** A freeze window is marked at the times that it held, not for as long as it was written down. Pure. */
export function holdMarks(holds: readonly HoldOf[], { fromMs, toMs }: Pick<Span, "fromMs" | "toMs">): Mark[] {
  const starts = Math.ceil(
    MAX_STARTS / Math.max(1, holds.filter(({ schedule }) => schedule !== null).length),
  );
  const marks = holds.flatMap((hold) => {
    const { id, startMs, endMs, schedule } = hold;
    const label = labelOf(hold);
    if (schedule === null) return [{ atMs: startMs, endMs, kind: "hold" as const, id, label }];
    const writtenToMs = endMs ?? Infinity;
    return spansBetween(schedule, Math.max(fromMs, startMs), Math.min(toMs, writtenToMs), starts).map(
      (one) => ({
        atMs: Math.max(one.fromMs, startMs),
        endMs: finiteOrNull(Math.min(one.untilMs, writtenToMs)),
        kind: "hold" as const,
        id,
        label,
      }),
    );
  });
  return marks.toSorted((a, b) => b.atMs - a.atMs).slice(0, MAX_MARKS);
}

/** Of a freeze window whose end is not in sight none is told. */
function finiteOrNull(ms: number): number | null {
  return Number.isFinite(ms) ? ms : null;
}

function labelOf({ kind, actor, reason, endReason }: HoldOf): string {
  const ended = endReason === null ? "" : `; ended: ${endReason}`;
  return `${kind.replace("_", " ")} by ${actor}: ${reason}${ended}`;
}
