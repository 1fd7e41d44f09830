/** The statements about trials. Each is bounded: in rows, and in how far back it looks. */
import type { Candidate, GuardConfig, Signal } from "@fulcrum/core/decision.js";
import type { GeneratedAllocation, Mode, SloTarget, Window } from "@fulcrum/core/nouns.js";
import type { PredictedLatencies } from "@fulcrum/core/outcome/attainment.js";
import type { Recorded } from "@fulcrum/core/outcome/hindsight.js";
import { OUTCOME_RULES, type Subject } from "@fulcrum/core/outcome/judge.js";
import { MAX_FOLDED_WINDOWS } from "@fulcrum/core/signal/summarise.js";
import type { DataSource } from "typeorm";
import { uuidV7Floor } from "../db/uuid-v7.js";

/** A rollout that took longer than this from its offer to its end is not tried. */
const LONGEST_ROLLOUT_MS = 900_000;
/** A recorded move is tried when a sweep finds it so soon; they come in every minute anew. */
const RECORDED_WITHIN_MS = 90_000;
/** Trials opened by one sweep, of each subject. */
const MAX_OPENED = 500;
/** Trials looked at by one sweep: each reads at most twice MAX_FOLDED_WINDOWS windows. The rest waits for the next. */
export const MAX_LOOKS = 200;

const COLUMNS =
  "decision_id, subject, pool_id, instance_id, mode, generation, started_at, look_at, taken_back";

/** A trial for every applied move that was verified since the last sweep. */
const OPEN_MOVES = `
  INSERT INTO outcomes (${COLUMNS})
  SELECT d.id, 'move', r.pool_id, r.instance_id, d.mode, r.generation, r.ended_at, $1, false
  FROM reconfigurations r JOIN decisions d ON d.id = r.decision_id
  WHERE r.id > $2 AND r.kind = 'decision' AND r.state = 'verified' AND r.ended_at > $3
    AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.id AND o.subject = 'move')
  ORDER BY r.id LIMIT ${MAX_OPENED}
  ON CONFLICT DO NOTHING`;

/** One trial at a time for each instance that may not be moved: of the newest move that was only recorded. */
const OPEN_STAYS = `
  INSERT INTO outcomes (${COLUMNS})
  SELECT DISTINCT ON (d.instance_id)
         d.id, 'stay', d.pool_id, d.instance_id, d.mode, d.based_on_generation, d.at, $1::timestamptz, false
  FROM decisions d
  WHERE d.id > $2 AND d.kind = 'move' AND d.outcome = 'recorded' AND d.mode <> 'enforce'
    AND NOT EXISTS (SELECT 1 FROM outcomes o
                    WHERE o.instance_id = d.instance_id AND o.subject = 'stay'
                      AND (o.ended_at IS NULL OR o.ended_at > d.at))
  ORDER BY d.instance_id, d.id DESC LIMIT ${MAX_OPENED}
  ON CONFLICT DO NOTHING`;

export async function openTrials(source: DataSource, nowMs: number): Promise<void> {
  const now = new Date(nowMs);
  await source.query(OPEN_MOVES, [
    now,
    uuidV7Floor(nowMs - LONGEST_ROLLOUT_MS),
    new Date(nowMs - OUTCOME_RULES.longestMs),
  ]);
  await source.query(OPEN_STAYS, [now, uuidV7Floor(nowMs - RECORDED_WITHIN_MS)]);
}

/** An open trial with what its decision saw and predicted. */
export interface OpenTrial {
  readonly decision_id: string;
  readonly subject: Subject;
  readonly instance_id: string;
  readonly generation: number;
  readonly started_at: Date;
  readonly before: Signal;
  readonly slo: SloTarget;
  readonly current: GeneratedAllocation;
  readonly predicted: PredictedLatencies | null;
  readonly candidates: readonly Candidate[] | null;
  readonly based_on: number;
  /** When the change was begun; of staying, when it was decided. An approved proposal may lie far behind its decision. */
  readonly begun_at: Date;
  /** Whether it was begun so long after its decision that what was before must be looked at anew. */
  readonly waited: boolean;
  readonly lookback_ms: number;
  readonly generation_now: number;
  readonly deleted: boolean;
  readonly guards: GuardConfig;
  readonly pool_mode: Mode;
  readonly auto_rollback: boolean;
}

/** A decision that is applied at once is begun within the second. */
const WAITED_MS = 10_000;

const DUE = `
  SELECT o.decision_id, o.subject, o.instance_id, o.generation, o.started_at,
         d.snapshot -> 'signal' AS before, d.snapshot -> 'slo' AS slo, d.snapshot -> 'current' AS current, d.predicted,
         d.based_on_generation AS based_on, d.decision -> 'candidates' AS candidates,
         coalesce(r.created_at, d.at) AS begun_at,
         coalesce(r.created_at > d.at + make_interval(secs => ${WAITED_MS / 1_000}), false) AS waited,
         i.generation AS generation_now, i.deleted_at IS NOT NULL AS deleted, p.lookback_ms,
         p.guards, p.mode AS pool_mode, p.auto_rollback
  FROM outcomes o
  JOIN decisions d ON d.id = o.decision_id
  LEFT JOIN reconfigurations r
    ON o.subject = 'move' AND r.instance_id = o.instance_id AND r.generation = o.generation
  JOIN instances i ON i.id = o.instance_id
  JOIN pools p ON p.id = o.pool_id
  WHERE o.ended_at IS NULL AND o.look_at <= $1
  ORDER BY o.look_at LIMIT ${MAX_LOOKS}`;

export async function dueTrials(source: DataSource, nowMs: number): Promise<OpenTrial[]> {
  return source.query<OpenTrial[]>(DUE, [new Date(nowMs)]);
}

type Stored = Pick<Recorded, "snapshot" | "policy" | "state" | "move">;

/** What the decision of a trial was made on and said, whole; null when it is gone. */
export async function decisionOf(source: DataSource, { decision_id: id }: OpenTrial): Promise<Stored | null> {
  const [row] = await source.query<Stored[]>(
    `SELECT snapshot, policy_config AS policy, decision -> 'state' AS state, allocation AS move
     FROM decisions WHERE id = $1`,
    [id],
  );
  return row ?? null;
}

/** How far back it is asked how much an instance's shares scatter by themselves. */
const HISTORY_MS = 600_000;

/** The windows that ran wholly at the generation on trial since it began; newest first, and only those if they are many. */
export async function windowsOf(source: DataSource, trial: OpenTrial, nowMs: number): Promise<Window[]> {
  const { instance_id: instance, generation, started_at: from } = trial;
  return windowsBetween(source, { instance, generation, from, to: new Date(nowMs) });
}

/** The windows of the generation before, of the ten minutes up to the change; oldest first. */
export async function historyOf(source: DataSource, trial: OpenTrial): Promise<Window[]> {
  const { instance_id: instance, based_on: generation, begun_at: to } = trial;
  const from = new Date(to.getTime() - HISTORY_MS);
  return (await windowsBetween(source, { instance, generation, from, to })).reverse();
}

interface WindowSpan {
  readonly instance: string;
  readonly generation: number;
  readonly from: Date;
  readonly to: Date;
}

async function windowsBetween(source: DataSource, span: WindowSpan): Promise<Window[]> {
  const rows = await source.query<{ body: Window }[]>(
    `SELECT body FROM windows
     WHERE instance_id = $1 AND received_at > $2 AND received_at <= $3 AND generation = $4
     ORDER BY seq DESC LIMIT ${MAX_FOLDED_WINDOWS}`,
    [span.instance, span.from, span.to, span.generation],
  );
  return rows.map(({ body }) => body);
}

/** Changes that were found worse while somebody held the instance, and that it still runs. */
export interface LeftTrial {
  readonly decision_id: string;
  readonly subject: Subject;
  readonly instance_id: string;
  readonly generation: number;
  readonly message: string;
}

/** A fault that has stood for a day is no surprise of the change any more. */
const LEFT_WITHIN = "24 hours";

/** Bounded by MAX_LOOKS; those that cannot be taken back either way are few and fall out after a day. */
export async function leftTrials(source: DataSource): Promise<LeftTrial[]> {
  return source.query<LeftTrial[]>(`
    SELECT o.decision_id, o.subject, o.instance_id, o.generation, o.message
    FROM outcomes o JOIN instances i ON i.id = o.instance_id JOIN pools p ON p.id = o.pool_id
    WHERE o.verdict = 'worse' AND o.worse_than = 'before' AND NOT o.taken_back AND o.subject = 'move'
      AND o.ended_at > now() - interval '${LEFT_WITHIN}'
      AND i.generation = o.generation AND i.deleted_at IS NULL
      AND p.auto_rollback AND p.mode IN ('enforce', 'canary')
    ORDER BY o.ended_at LIMIT ${MAX_LOOKS}`);
}

/** When each of them is looked at again. */
export async function lookLater(
  source: DataSource,
  trials: readonly { readonly trial: OpenTrial; readonly atMs: number }[],
): Promise<void> {
  if (trials.length === 0) return;
  await source.query(
    `UPDATE outcomes o SET look_at = t.look_at
     FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS t(decision_id, subject, look_at)
     WHERE o.decision_id = t.decision_id AND o.subject = t.subject AND o.ended_at IS NULL`,
    [
      trials.map(({ trial }) => trial.decision_id),
      trials.map(({ trial }) => trial.subject),
      trials.map(({ atMs }) => new Date(atMs)),
    ],
  );
}
