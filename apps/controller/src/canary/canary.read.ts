import type { Canary } from "@fulcrum/contracts/canary.js";
import {
  type Block,
  CONFIDENCE,
  judgeCanary,
  LEAST_BLOCKS,
  type Seen,
} from "@fulcrum/core/outcome/canary.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, MoreThan } from "typeorm";
import { findPool } from "../pools/pool.service.js";
import type { PoolRow } from "../pools/pool.rows.js";
import { CanaryBlockRow } from "./canary-block.row.js";
import { BLOCK_MS, KEEP_BLOCKS_MS } from "./canary.service.js";
import { heldTimesOf } from "./held-times.js";
import { type Parts, partsOf } from "./parts-of-pool.js";

/** How a canary does, for the admin API. */
@Injectable()
export class CanaryRead {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** @throws ProblemError not_found */
  async canary(name: string): Promise<Canary> {
    return this.of(await findPool(this.source.manager, name));
  }

  async of(pool: PoolRow): Promise<Canary> {
    const parts = await partsOf(this.source.manager, pool);
    const since = pool.mode === "canary" ? pool.canarySince : null;
    const { before, during, heldBlocks } = await this.blocks(pool, parts, since);
    const moves = await this.movesOf(parts, since);
    const finding = judgeCanary(before, during, { moves, heldBlocks });
    const names = (members: Parts["rest"]) => members.map(({ name }) => name).sort();
    return {
      ...finding,
      pool: pool.name,
      mode: pool.mode,
      since: since?.toISOString() ?? null,
      instances: names(parts.canary),
      rest: names(parts.rest),
      heldBlocks,
      moves,
      blockMs: BLOCK_MS,
      minBlocks: LEAST_BLOCKS,
      confidence: CONFIDENCE,
      message:
        since === null ? `Pool ${pool.name} is in mode ${pool.mode}.` : messageOf(parts, finding.message),
    };
  }

  /** Those in which the rest served something, oldest first; before the canary began also the canary's instances. */
  private async blocks(pool: PoolRow, parts: Parts, since: Date | null): Promise<Blocks> {
    if (since === null) return { before: [], during: [], heldBlocks: 0 };
    const rows = await this.source.manager.find(CanaryBlockRow, {
      where: { poolId: pool.id, since, at: MoreThan(new Date(Date.now() - KEEP_BLOCKS_MS)) },
      order: { at: "ASC" },
    });
    const isHeld = await heldTimesOf(this.source.manager, pool, parts.canary, since);
    const before = rows.filter(({ at }) => at < since).flatMap((row) => seenIn(row) ?? []);
    const during = rows
      .filter(({ at }) => at >= since)
      .flatMap((row) => {
        const seen = seenIn(row);
        // That it served nothing tells of it also while it is held.
        const held = seen?.canary != null && isHeld(row.at.getTime(), row.at.getTime() + BLOCK_MS);
        return seen ? [{ seen, held }] : [];
      });
    return {
      before: before.filter((seen): seen is Block => seen.canary !== null),
      during: during.filter(({ held }) => !held).map(({ seen }) => seen),
      heldBlocks: during.filter(({ held }) => held).length,
    };
  }

  /** What the policy asked of the canary's instances since, and they have done. */
  private async movesOf({ canary }: Parts, since: Date | null): Promise<number> {
    if (since === null) return 0;
    const [row] = await this.source.query<{ count: number }[]>(
      `SELECT count(*)::int AS count FROM reconfigurations
       WHERE instance_id = ANY($1::uuid[]) AND kind = 'decision' AND state IN ('switched', 'verified') AND created_at >= $2`,
      [canary.map(({ id }) => id), since],
    );
    return row?.count ?? 0;
  }
}

interface Blocks {
  readonly before: readonly Block[];
  readonly during: readonly Seen[];
  readonly heldBlocks: number;
}

function seenIn({ canaryRequests, canaryShare, restRequests, restShare }: CanaryBlockRow): Seen | null {
  if (restShare === null) return null;
  return {
    canary: canaryShare === null ? null : { requests: canaryRequests, attainmentShare: canaryShare },
    rest: { requests: restRequests, attainmentShare: restShare },
  };
}

function messageOf({ canary, rest }: Parts, message: string): string {
  if (canary.length > 0) return message;
  const count = rest.length === 1 ? "one instance" : "no instance";
  return `The pool has ${count}: there is nothing to compare, and nothing is moved.`;
}
