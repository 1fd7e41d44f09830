import { okShare, sampleCount } from "@fulcrum/core/signal/histogram.js";
import type { Histogram, SloTarget } from "@fulcrum/core/nouns.js";
import { withinBoth } from "@fulcrum/core/outcome/attainment.js";
import { Inject, Injectable, type OnModuleInit } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource } from "typeorm";
import { LOGGER } from "../obs/logger.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { CanaryBlockRow } from "./canary-block.row.js";
import { type Parts, partsOf } from "./parts-of-pool.js";

export const BLOCK_MS = 60_000;
/** Blocks before the canary began that it is held against: two hours, counted within two minutes. */
const BLOCKS_BEFORE = 120;
/** A window that was received in a block may be committed so long after its end. */
const LATE_MS = 5_000;
/** Blocks of one pool that one sweep counts: an hour of them is caught up with in a minute. */
const BLOCKS_PER_SWEEP = 5;
/** Instances of either part whose windows are read, those with the least numbers: a fair sample, 4,000 windows a block. */
const MOST_SAMPLED = 32;
/** A verdict is over the blocks of the last week. */
export const KEEP_BLOCKS_MS = 7 * 86_400_000;

interface Running {
  readonly id: string;
  readonly canaryBelow: number;
  readonly since: Date;
  readonly slo: SloTarget;
}

interface Served {
  readonly requests: number;
  readonly share: number | null;
}

/** Counts what both parts of pools in mode canary serve, block by block, with every sweep. */
@Injectable()
export class CanaryService implements OnModuleInit {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onModuleInit(): void {
    this.queue.onSweep(() => this.sweep());
  }

  async sweep(nowMs: number = Date.now()): Promise<void> {
    const pools = await this.source.query<Running[]>(
      `SELECT p.id, p.canary_below AS "canaryBelow", p.canary_since AS since, v.slo
       FROM pools p JOIN slo_versions v ON v.pool_id = p.id AND v.version = p.slo_version
       WHERE p.mode = 'canary' AND p.deleted_at IS NULL ORDER BY p.id`,
    );
    for (const pool of pools) {
      try {
        await this.count(pool, nowMs);
      } catch (error) {
        // One pool that cannot be counted keeps no other from its turn.
        this.logger.warn({ event: "canary_not_counted", pool: pool.id, err: error });
      }
    }
  }

  private async count(pool: Running, nowMs: number): Promise<void> {
    const due = await this.dueBlocks(pool, nowMs);
    if (due.length === 0) return;
    const parts = await partsOf(this.source.manager, pool);
    for (const at of due) {
      const canary = await this.served(pool, parts.canary, at);
      const rest = await this.served(pool, parts.rest, at);
      const row: CanaryBlockRow = {
        poolId: pool.id,
        since: pool.since,
        at,
        canaryRequests: canary.requests,
        canaryShare: canary.share,
        restRequests: rest.requests,
        restShare: rest.share,
      };
      // Another replica may have been first; it counted the same.
      await this.source.createQueryBuilder().insert().into(CanaryBlockRow).values(row).orIgnore().execute();
    }
    await this.source.query("DELETE FROM canary_blocks WHERE at < $1", [new Date(nowMs - KEEP_BLOCKS_MS)]);
  }

  /** The oldest blocks that are over and not counted yet, from those before the canary began on. */
  private async dueBlocks({ id, since }: Running, nowMs: number): Promise<Date[]> {
    const rows = await this.source.query<{ at: Date }[]>(
      `SELECT b.at FROM pools p
       CROSS JOIN LATERAL generate_series(
         greatest($2::timestamptz - make_interval(secs => $3),
                  $2::timestamptz + make_interval(secs => $4) * ceil(extract(epoch FROM $5::timestamptz - $2::timestamptz) / $4)),
         $6::timestamptz, make_interval(secs => $4)) AS b(at)
       WHERE p.id = $1 AND (b.at >= $2 OR b.at >= p.alike_since)
         AND NOT EXISTS (SELECT 1 FROM canary_blocks c WHERE c.pool_id = $1 AND c.since = $2 AND c.at = b.at)
       ORDER BY b.at LIMIT ${BLOCKS_PER_SWEEP}`,
      [
        id,
        since,
        (BLOCKS_BEFORE * BLOCK_MS) / 1_000,
        BLOCK_MS / 1_000,
        new Date(nowMs - KEEP_BLOCKS_MS),
        new Date(nowMs - BLOCK_MS - LATE_MS),
      ],
    );
    return rows.map(({ at }) => at);
  }

  private async served(pool: Running, part: Parts["rest"], at: Date): Promise<Served> {
    const windows = await this.source.query<{ ttft: Histogram; tpot: Histogram }[]>(
      `SELECT w.body -> 'ttft' AS ttft, w.body -> 'tpot' AS tpot FROM unnest($1::uuid[]) AS i(id)
       CROSS JOIN LATERAL (
         SELECT body FROM windows w WHERE w.instance_id = i.id AND w.received_at >= $2 AND w.received_at < $3
         LIMIT ${BLOCK_MS / 200}) w`,
      [part.slice(0, MOST_SAMPLED).map(({ id }) => id), at, new Date(at.getTime() + BLOCK_MS)],
    );
    const ttft = withinOf(
      windows.map((window) => window.ttft),
      pool.slo.ttft.boundMs,
    );
    const tpot = withinOf(
      windows.map((window) => window.tpot),
      pool.slo.tpot.boundMs,
    );
    if (ttft.share === null || tpot.share === null) return { requests: 0, share: null };
    return { requests: tpot.requests, share: withinBoth(ttft.share, tpot.share) };
  }
}

function withinOf(histograms: readonly Histogram[], boundMs: number): Served {
  let requests = 0;
  let within = 0;
  for (const histogram of histograms) {
    const samples = sampleCount(histogram);
    requests += samples;
    within += samples * (okShare(histogram, boundMs)?.share ?? 0);
  }
  return { requests, share: requests > 0 ? within / requests : null };
}
