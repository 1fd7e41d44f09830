import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as breathe } from "node:timers/promises";
import { KvPool } from "@fulcrum/kv-pool/pool.js";

const ROUNDS = 40;
const REQUEST_BLOCKS = 50;

/**
 * Takes, inherits and frees blocks of a pool of its own, so that this code is compiled before the turn comes: cold,
 * inheriting took 3 to 13 ms of every switch (two busy cores).
 */
export async function warmUp(shape: KvPool["shape"]): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "engine-sim-"));
  try {
    const pool = KvPool.create(join(folder, "pool"), shape);
    const giver = await pool.attach({ role: "decode", turn: 0 });
    const taker = await pool.attach({ role: "decode", turn: 0 });
    const blocks = new Uint32Array(Math.min(REQUEST_BLOCKS, shape.blocks));
    for (let round = 0; round < ROUNDS; round += 1) {
      const turn = 2 * round + 1;
      pool.takeTurn("decode", turn);
      giver.arm(turn);
      while (giver.held < shape.blocks / 4 && giver.allocate(blocks.length, blocks) === "ok");
      pool.takeTurn("decode", turn + 1);
      taker.arm(turn + 1);
      const inherited = await taker.adoptAll(giver.slot);
      if (inherited instanceof Uint32Array) taker.free(inherited);
      // Between rounds: a worker answers its agent while it warms up.
      await breathe();
    }
    pool.close();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
