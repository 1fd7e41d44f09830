import { rmSync } from "node:fs";
import { expect, test } from "vitest";
import { MAP_WORD } from "./layout.js";
import { holderOf } from "./map.js";
import { mapSegment } from "./segment.js";
import { countFree, startWorker, stressKills, stressPairs } from "./stress/run.js";
import { SideArea } from "./stress/side-area.js";
import { newPool, poolPath } from "./testing/pool-file.js";

// The long form, 2 x 10 million pairs and 1,000 kills: npm run bench -- kv-pool --long
const CLEAN = { doubleAllocations: 0, lostBlocks: 0, chargedBlocks: 0 };

test.each([
  ["prefill beside decode", ["prefill", "decode"] as const],
  ["two of prefill under one quota", ["prefill", "prefill"] as const],
])("%s: 200,000 random pairs each, no block twice, none lost, no quota passed", async (_, roles) => {
  const result = await stressPairs({
    path: poolPath(),
    roles,
    pairs: 200_000,
    blocks: 1_000,
    prefillQuotaBlocks: 500,
    maxBlocks: 64,
  });
  expect(result).toMatchObject({ ...CLEAN, quotaPassed: 0 });
  for (const worker of result.workers) expect(worker).toMatchObject({ heldAtEnd: 0 });
  // Without refusals the limits were never tried.
  expect(result.workers[0]!.refused.over_quota).toBeGreaterThan(0);
});

test("two of prefill whose owners are replaced every 40 steps: the quota is not passed either", async () => {
  const result = await stressPairs({
    path: poolPath(),
    roles: ["prefill", "prefill", "decode"],
    pairs: 60_000,
    blocks: 1_000,
    prefillQuotaBlocks: 300,
    maxBlocks: 64,
    respawnEvery: 40,
  });
  expect(result).toMatchObject({ ...CLEAN, quotaPassed: 0 });
  expect(result.workers[0]!.refused.over_quota).toBeGreaterThan(0);
});

test("50 workers killed in the middle: every block is found again", async () => {
  const result = await stressKills({
    path: poolPath(),
    kills: 50,
    blocks: 1_000,
    prefillQuotaBlocks: 500,
    maxBlocks: 64,
    random: Math.random,
  });
  expect(result).toMatchObject({ ...CLEAN, kills: 50 });
  expect(result.foundBlocks).toBeGreaterThan(0);
});

test("20 workers killed while they adopt: the giver's books stay right", async () => {
  const path = poolPath();
  const pool = newPool(400, 400, path);
  const side = SideArea.create(`${path}.side`, 400);
  const giver = await pool.attach({ role: "prefill", turn: 0 });
  const order = {
    pool: path,
    side: `${path}.side`,
    mode: "adopt",
    role: "decode",
    pairs: 0,
    maxBlocks: 64,
  } as const;
  let adopted = 0;
  for (let token = 1; token <= 20; token += 1) {
    const taker = startWorker({
      ...order,
      token,
      seed: token,
      quotaBlocks: null,
      respawnEvery: 0,
      reclaimEvery: 0,
    });
    await taker.ready;
    const endAtMs = performance.now() + 10 * Math.random();
    // At least one offer is taken before the kill; the last may be half way through.
    for (let offers = 0; offers < 2 || performance.now() < endAtMs; offers += 1) {
      const blocks = new Uint32Array(300);
      expect(giver.allocate(300, blocks)).toBe("ok");
      side.offer(blocks);
      adopted += 300;
      if (offers > 0 && performance.now() >= endAtMs) break;
      await offerTaken(side);
    }
    await taker.kill();
    await pool.reclaimDead();
    side.clearOffer();
    // What the dead one had not adopted is still the giver's; the map and the books must agree on it.
    expect(giver.held).toBe(400 - countFree(path));
    giver.free(blocksOf(path, giver.slot));
    expect(giver.held).toBe(0);
  }
  expect(adopted).toBeGreaterThan(20 * 300);
  side.close();
  rmSync(`${path}.side`);
});

async function offerTaken(side: SideArea): Promise<void> {
  const endAtMs = performance.now() + 20_000;
  while (side.offered !== undefined) {
    if (performance.now() > endAtMs) throw new Error("an offer was not taken within 20 s");
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

/** From the map itself. */
function blocksOf(path: string, slot: number): Uint32Array {
  const segment = mapSegment(path);
  segment.close();
  const words = new Int32Array(segment.buffer);
  const blocks = Array.from({ length: (words.length - MAP_WORD) * 8 }, (_, block) => block);
  return Uint32Array.from(blocks.filter((block) => holderOf(words, block) === slot + 1));
}
