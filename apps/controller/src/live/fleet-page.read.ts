import type { Fleet, FleetItem } from "@fulcrum/contracts/live.js";
import { fleetQuery } from "@fulcrum/contracts/live.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import type { z } from "zod";
import { type InstanceView, instancesSql, toInstance } from "../fleet/fleet.read.js";
import { LiveFeed } from "./live-feed.js";
import { positionId } from "./position.js";
import type { RecentSteps } from "./recent-steps.js";

/** What several pages that are opened at once share. */
const FRESH_MS = 500;

type Row = InstanceView & { lookback_ms: number };

/** The fleet at a glance: one statement for the instances; their latencies are in memory. */
@Injectable()
export class FleetPageRead {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(LiveFeed) private readonly feed: LiveFeed,
  ) {}

  async page({ limit, cursor, pool }: z.infer<typeof fleetQuery>): Promise<Fleet> {
    // Before the rows: what changes in between is then told by the events too.
    const position = await this.feed.advance(FRESH_MS);
    const rows = await this.source.query<Row[]>(
      `${instancesSql("p.lookback_ms")} AND ($1::text IS NULL OR p.name = $1) AND ($2::text IS NULL OR i.name > $2)
       ORDER BY i.name LIMIT $3`,
      [pool ?? null, cursor ?? null, limit + 1],
    );
    const nowMs = Date.now();
    const given = rows.slice(0, limit);
    return {
      at: new Date(nowMs).toISOString(),
      eventId: positionId(position),
      items: given.map((row) => toItem(row, this.feed.recent, nowMs)),
      nextCursor: rows.length > limit ? given.at(-1)!.name : null,
    };
  }
}

function toItem(row: Row, recent: RecentSteps, nowMs: number): FleetItem {
  const { ttft, tpot, ...view } = recent.view(row.id, row.slo, row.lookback_ms, nowMs);
  const { bucketWarnings: _tooLong, ...instance } = toInstance(row, { ttft, tpot }, nowMs);
  return { instance, slo: row.slo, ...view };
}
