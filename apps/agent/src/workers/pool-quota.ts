import { statSync } from "node:fs";
import { KvPool } from "@fulcrum/kv-pool/pool.js";
import type { QuotaPort } from "./quota-port.js";

/** The quota in the block pools (libs/kv-pool) of the local ranks; each is opened when it is there. */
export class PoolQuota implements QuotaPort {
  private readonly open = new Map<string, { readonly pool: KvPool; readonly inode: number }>();

  /** @param paths one pool per rank. */
  constructor(private readonly paths: readonly string[]) {}

  async setQuota(pct: number, revision: number): Promise<"applied" | "deferred" | "stale"> {
    const results = await Promise.all(
      this.paths.map((path) => {
        const pool = this.pool(path);
        const blocks = Math.round((pct / 100) * pool.shape.blocks);
        return pool.setQuota("prefill", blocks, revision);
      }),
    );
    if (results.includes("stale")) return "stale";
    return results.includes("deferred") ? "deferred" : "applied";
  }

  /** The smallest of the ranks'. */
  quotaPct(): Promise<number | null> {
    try {
      const pcts = this.paths.map((path) => {
        const { blocks, prefill } = this.pool(path).usage();
        return Math.round((10_000 * prefill.quotaBlocks) / blocks) / 100;
      });
      return Promise.resolve(Math.min(...pcts));
    } catch {
      return Promise.resolve(null);
    }
  }

  close(): void {
    for (const { pool } of this.open.values()) pool.close();
    this.open.clear();
  }

  /** A resident that began anew makes another file under the same name. */
  private pool(path: string): KvPool {
    const inode = statSync(path).ino;
    const known = this.open.get(path);
    if (known?.inode === inode) return known.pool;
    known?.pool.close();
    this.open.delete(path);
    const pool = KvPool.open(path);
    this.open.set(path, { pool, inode });
    return pool;
  }
}
