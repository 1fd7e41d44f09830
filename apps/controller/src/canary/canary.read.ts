import type { Canary } from "@fulcrum/contracts/canary.js";
import { type Block, CONFIDENCE, judgeCanary, LEAST_BLOCKS } from "@fulcrum/core/outcome/canary.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, MoreThan } from "typeorm";
import { findPool } from "../pools/pool.service.js";
import type { PoolRow } from "../pools/pool.rows.js";
import { CanaryBlockRow } from "./canary-block.row.js";
import { BLOCK_MS, KEEP_BLOCKS_MS } from "./canary.service.js";
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
    const { before, during } = await this.blocks(pool.id, since);
    const finding = judgeCanary(before, during);
    const names = (members: Parts["rest"]) => members.map(({ name }) => name).sort();
    return {
      ...finding,
      pool: pool.name,
      mode: pool.mode,
      since: since?.toISOString() ?? null,
      instances: names(parts.canary),
      rest: names(parts.rest),
      blockMs: BLOCK_MS,
      minBlocks: LEAST_BLOCKS,
      confidence: CONFIDENCE,
      message:
        since === null ? `Pool ${pool.name} is in mode ${pool.mode}.` : messageOf(parts, finding.message),
    };
  }

  /** Those in which both parts served something, oldest first. */
  private async blocks(poolId: string, since: Date | null): Promise<{ before: Block[]; during: Block[] }> {
    if (since === null) return { before: [], during: [] };
    const rows = await this.source.manager.find(CanaryBlockRow, {
      where: { poolId, since, at: MoreThan(new Date(Date.now() - KEEP_BLOCKS_MS)) },
      order: { at: "ASC" },
    });
    const usable = rows.flatMap((row) => {
      const block = blockOf(row);
      return block ? [{ at: row.at, block }] : [];
    });
    const of = (during: boolean) =>
      usable.filter(({ at }) => at >= since === during).map(({ block }) => block);
    return { before: of(false), during: of(true) };
  }
}

function blockOf({ canaryRequests, canaryShare, restRequests, restShare }: CanaryBlockRow): Block | null {
  if (canaryShare === null || restShare === null) return null;
  return {
    canary: { requests: canaryRequests, attainmentShare: canaryShare },
    rest: { requests: restRequests, attainmentShare: restShare },
  };
}

function messageOf({ canary, rest }: Parts, message: string): string {
  if (canary.length > 0) return message;
  const count = rest.length === 1 ? "one instance" : "no instance";
  return `The pool has ${count}: there is nothing to compare, and nothing is moved.`;
}
