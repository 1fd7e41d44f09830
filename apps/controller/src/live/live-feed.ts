import { setTimeout as pause } from "node:timers/promises";
import { SPARK_MS } from "@fulcrum/contracts/live.js";
import type { Window } from "@fulcrum/core/nouns.js";
import { type BeforeApplicationShutdown, Inject, Injectable } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource, type EntityManager } from "typeorm";
import { LOGGER } from "../obs/logger.js";
import { type Changes, readChanges, readPosition } from "./read-changes.js";
import { follows, type Position } from "./position.js";
import { RecentSteps } from "./recent-steps.js";

/** What a position may be behind to be caught up with. */
export const CATCH_UP_MS = 60_000;
/** What a first look reads before it answers: the usual lookback. The rest of the sparklines comes after it. */
const FIRST_MS = 30_000;
/** Instances whose windows are read at a time, and the pause in which others get their turn. */
const CHUNK = 25;
const PAUSE_MS = 20;
/** Of each instance: four a second. */
const MOST_WINDOWS = (4 * SPARK_MS) / 1_000;

/** A place and what came up to it; null: nobody can tell what came in between. */
export interface Advance {
  readonly position: Position;
  readonly changes: Changes | null;
}

/**
 * Follows the database for this replica: what the last two minutes of every instance were, and what has changed since
 * the last look. It looks when it is asked, one look at a time.
 */
@Injectable()
export class LiveFeed implements BeforeApplicationShutdown {
  readonly recent = new RecentSteps();
  private position: Position | null = null;
  private lookedAtMs = -Infinity;
  private busy: Promise<unknown> = Promise.resolve();
  private filling: Promise<void> = Promise.resolve();
  private closing = false;
  private listener: (advance: Advance) => void = () => {};

  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Hears of every look, in order. */
  onAdvance(listener: (advance: Advance) => void): void {
    this.listener = listener;
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.closing = true;
    await this.busy;
    await this.filling;
  }

  /** The newest position, at most `maxAgeMs` old; `recent` is at least as new. */
  advance(maxAgeMs = 0): Promise<Position> {
    return this.exclusive(() => this.look(maxAgeMs));
  }

  /**
   * Hands `join` what came between `from` and the present position, at which it goes on; nothing happens meanwhile.
   * `changes` is null where that cannot be told: too long ago, too much, or from another database.
   */
  join(from: Position | null, join: (advance: Advance) => void): Promise<void> {
    return this.exclusive(async () => {
      const position = await this.look(0);
      join({ position, changes: from && (await this.between(from, position)) });
    });
  }

  private async between(from: Position, to: Position): Promise<Changes | null> {
    const tooOld = to.atMs - from.atMs > CATCH_UP_MS || from.atMs - to.atMs > CATCH_UP_MS;
    if (tooOld || !follows(to, from)) return null;
    const changes = await readChanges(this.source, from, Date.now(), to);
    return changes.cut ? null : changes;
  }

  private async look(maxAgeMs: number): Promise<Position> {
    const nowMs = Date.now();
    if (this.position && nowMs - this.lookedAtMs < maxAgeMs) return this.position;
    const before = this.position && nowMs - this.lookedAtMs < SPARK_MS ? this.position : null;
    const changes = before && (await readChanges(this.source, before, nowMs));
    if (changes) for (const { instanceId, window } of changes.windows) this.recent.add(instanceId, window);
    this.position = changes?.position ?? (await this.start(nowMs));
    this.lookedAtMs = nowMs;
    this.recent.prune(nowMs);
    this.listener({ position: this.position, changes: changes?.cut ? null : changes });
    return this.position;
  }

  /** Begins anew: the newest windows of every instance as of one moment; the older ones are added while others go on. */
  private async start(nowMs: number): Promise<Position> {
    await this.filling;
    this.recent.clear();
    const splitMs = nowMs - FIRST_MS;
    const { position, ids } = await this.source.transaction("REPEATABLE READ", async (manager) => {
      const position = await readPosition(manager);
      const rows = await manager.query<{ id: string }[]>(
        "SELECT instance_id AS id FROM instance_signals ORDER BY instance_id",
      );
      const ids = rows.map(({ id }) => id);
      await this.read(manager, ids, splitMs, nowMs + SPARK_MS);
      return { position, ids };
    });
    this.filling = this.read(this.source.manager, ids, nowMs - SPARK_MS, splitMs).catch((error: unknown) => {
      this.logger.warn({ event: "sparklines_not_filled", err: error });
    });
    return position;
  }

  /** Adds the windows that were received after `afterMs`, up to `toMs`. */
  private async read(
    manager: EntityManager,
    ids: readonly string[],
    afterMs: number,
    toMs: number,
  ): Promise<void> {
    for (let at = 0; at < ids.length && !this.closing; at += CHUNK) {
      const rows = await manager.query<{ id: string; body: Window }[]>(
        `SELECT s.instance_id AS id, w.body FROM instance_signals s
         CROSS JOIN LATERAL (
           SELECT w.body FROM windows w
           WHERE w.instance_id = s.instance_id AND w.seq > s.last_seq - $2::int
             AND w.received_at > $3 AND w.received_at <= $4
           ORDER BY w.seq) w
         WHERE s.instance_id = ANY($1::uuid[])`,
        [ids.slice(at, at + CHUNK), MOST_WINDOWS, new Date(afterMs), new Date(toMs)],
      );
      for (const { id, body } of rows) this.recent.add(id, body);
      await pause(PAUSE_MS);
    }
  }

  private exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.busy.then(work);
    this.busy = result.catch(() => {});
    return result;
  }
}
