import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { KvPool } from "../pool.js";

/** A path for a segment in a folder of its own, gone when the test is. */
export function poolPath(): string {
  const folder = mkdtempSync(join(tmpdir(), "fulcrum-kv-pool-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "pool");
}

export function newPool(blocks: number, prefillQuotaBlocks = blocks, path = poolPath()): KvPool {
  const pool = KvPool.create(path, { blocks, prefillQuotaBlocks, tokensPerBlock: 16, bytesPerBlock: 65_536 });
  onTestFinished(() => pool.close());
  return pool;
}
