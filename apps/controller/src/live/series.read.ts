import type { Series, SeriesPoint, SeriesQuery } from "@fulcrum/contracts/live.js";
import type { Allocation, SloTarget, Window } from "@fulcrum/core/nouns.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import { CONFIG, type Config } from "../config.js";
import { ProblemError } from "../http/problem-error.js";
import { type Fold, foldWindow, percentileMs, perS, sightOf } from "./fold.js";
import { readMarks, type Span } from "./series-marks.js";
import { readDelivered, readSlos, sloAt } from "./series-past.js";

const HOUR_MS = 3_600_000;
const DEFAULT_SPAN_MS = 15 * 60_000;
/** Shortest step; a window is a second. */
const LEAST_STEP_MS = 1_000;
/** A day at one window a second; of more only every n-th is read. */
const MAX_WINDOWS_READ = 90_000;
/** Read and folded at a time; between two of them others get their turn. */
const CHUNK = 2_000;
/** A window that its agent held back, and clocks that differ: received up to so much after its end, and before. */
const LATE_MS = 600_000;
const EARLY_MS = 5_000;
/** Allocations that are listed; one a minute for a day and a half. */
const MAX_ASKED = 2_000;

interface Asked {
  readonly generation: number;
  readonly allocation: Allocation;
  readonly fromMs: number;
}

/** One instance over time, computed from its windows when asked. */
@Injectable()
export class SeriesRead {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async series(name: string, query: SeriesQuery, nowMs: number): Promise<Series> {
    const [instance] = await this.source.query<
      {
        id: string;
        pool_id: string;
        slo: SloTarget;
        generation: number;
        allocation: Allocation;
        created_at: Date;
      }[]
    >(
      `SELECT i.id, i.pool_id, v.slo, i.generation, i.allocation, i.created_at FROM instances i JOIN pools p ON p.id = i.pool_id
       JOIN slo_versions v ON v.pool_id = p.id AND v.version = p.slo_version
       WHERE i.name = $1 AND i.deleted_at IS NULL`,
      [name],
    );
    if (!instance) throw new ProblemError("not_found", `There is no instance ${name}.`);
    const span = { id: instance.id, ...spanOf(query, nowMs, this.config.windowRetentionHours * HOUR_MS) };
    const asked = await this.asked(span, {
      generation: instance.generation,
      allocation: instance.allocation,
      fromMs: instance.created_at.getTime(),
    });
    const { steps, sampledEvery } = await this.steps(span);
    const { marks, predicted } = await readMarks(this.source, span);
    const slos = await readSlos(this.source, instance.pool_id, span);
    const ran = new Set(
      [...steps.values()].map(({ generation }) => generation).filter((one) => one !== null),
    );
    const delivered = await readDelivered(this.source, span.id, [...ran]);
    const points = [...steps.entries()]
      .sort(([a], [b]) => a - b)
      .map(([index, fold]) => {
        const atMs = span.fromMs + index * span.stepMs;
        return toPoint(atMs, fold, sloAt(slos, atMs + span.stepMs), delivered);
      });
    return {
      stepMs: span.stepMs,
      fromMs: span.fromMs,
      toMs: span.toMs,
      slo: instance.slo,
      slos,
      points,
      sampledEvery,
      asked: asked.map(({ fromMs, generation, allocation }) => ({ fromMs, generation, allocation })),
      marks,
      predicted,
    };
  }

  /** Windows that ended in the span, folded by step. */
  private async steps(span: Span): Promise<{ steps: Map<number, Fold>; sampledEvery: number }> {
    const between = [span.id, new Date(span.fromMs - EARLY_MS), new Date(span.toMs + LATE_MS)];
    const [counted] = await this.source.query<{ count: number }[]>(
      "SELECT count(*)::int AS count FROM windows WHERE instance_id = $1 AND received_at >= $2 AND received_at < $3",
      between,
    );
    const sampledEvery = Math.max(1, Math.ceil((counted?.count ?? 0) / MAX_WINDOWS_READ));
    const steps = new Map<number, Fold>();
    for (let after = -1; ;) {
      const rows = await this.source.query<{ seq: number; body: Window }[]>(
        `SELECT seq::float8 AS seq, body FROM windows
         WHERE instance_id = $1 AND received_at >= $2 AND received_at < $3
           AND end_at > $4 AND end_at <= $5 AND seq > $6 AND seq % $7 = 0
         ORDER BY seq LIMIT ${CHUNK}`,
        [...between, new Date(span.fromMs), new Date(span.toMs), after, sampledEvery],
      );
      for (const { body } of rows) {
        // A window that ends on a step's edge lies before it.
        const index = Math.ceil((body.endAtMs - span.fromMs) / span.stepMs) - 1;
        steps.set(index, foldWindow(steps.get(index) ?? null, body));
      }
      if (rows.length < CHUNK) return { steps, sampledEvery };
      after = rows.at(-1)!.seq;
    }
  }

  /** What was asked in the span, and what was in force at its beginning; `present` where nothing ever changed. */
  private async asked({ id, fromMs, toMs }: Span, present: Asked): Promise<Asked[]> {
    const rows = await this.source.query<
      { at: Date; generation: number; to: Allocation; from: Allocation & { generation: number } }[]
    >(
      `SELECT created_at AS at, generation, to_allocation AS to, from_allocation AS from FROM reconfigurations
       WHERE instance_id = $1 AND created_at <= $2 ORDER BY generation DESC LIMIT ${MAX_ASKED}`,
      [id, new Date(toMs)],
    );
    const changes = rows
      .toReversed()
      .map(({ at, generation, to }): Asked => ({ generation, allocation: plain(to), fromMs: at.getTime() }));
    const [oldest] = rows.toReversed();
    const before: Asked = oldest
      ? { generation: oldest.from.generation, allocation: plain(oldest.from), fromMs: 0 }
      : present;
    const all = [before, ...changes];
    const first = all.findLastIndex((one) => one.fromMs <= fromMs);
    return all.slice(Math.max(0, first)).map((one) => ({ ...one, fromMs: Math.max(one.fromMs, fromMs) }));
  }
}

/** Bounded by how long windows are kept; throws naming the field where it cannot be. */
function spanOf(query: SeriesQuery, nowMs: number, keptMs: number): Omit<Span, "id"> {
  const toMs = query.to === undefined ? nowMs : Math.min(nowMs, Date.parse(query.to));
  const wantedMs = query.from === undefined ? toMs - DEFAULT_SPAN_MS : Date.parse(query.from);
  const fromMs = Math.max(wantedMs, nowMs - keptMs);
  if (fromMs >= toMs) {
    const kept = new Date(nowMs - keptMs).toISOString();
    const message = `must be before to (${new Date(toMs).toISOString()}); windows are kept since ${kept}`;
    throw new ProblemError("invalid_request", `from: ${message}`, [{ field: "from", message }]);
  }
  const stepMs = Math.max(
    LEAST_STEP_MS,
    Math.ceil((toMs - fromMs) / query.points / LEAST_STEP_MS) * LEAST_STEP_MS,
  );
  return { fromMs, toMs, stepMs };
}

function toPoint(
  atMs: number,
  step: Fold,
  slo: SloTarget,
  delivered: ReadonlyMap<number, Allocation>,
): SeriesPoint {
  const ran = step.generation === null ? undefined : delivered.get(step.generation);
  return {
    atMs,
    ...sightOf(step.ttft, step.tpot, slo),
    ttftP50Ms: percentileMs(step.ttft, 0.5),
    tpotP50Ms: percentileMs(step.tpot, 0.5),
    arrivalPerS: perS(step.arrivals, step.durationMs),
    promptTokensPerS: perS(step.promptTokens, step.durationMs),
    prefillWaiting: step.prefillWaiting,
    decodeRunning: step.decodeRunning,
    kvUsedShare: step.kvUsedShare,
    kvQuotaPct: ran?.kvQuotaPct ?? null,
    prefillSmPct: ran?.split.prefillSmPct ?? null,
    decodeSmPct: ran?.split.decodeSmPct ?? null,
    generation: step.generation,
  };
}

/** The allocation without its generation. */
function plain({ split, kvQuotaPct }: Allocation): Allocation {
  return { split, kvQuotaPct };
}
