import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { adoptFields } from "./adoption.js";
import { PoolError } from "./errors.js";
import { JOURNAL, MAP_WORD, ROLE, roleWord, SLOT, slotWord } from "./layout.js";
import type { PoolOwner } from "./owner.js";
import { KvPool } from "./pool.js";
import { mapSegment } from "./segment.js";
import { countFree } from "./stress/run.js";
import { newPool, poolPath } from "./testing/pool-file.js";

function take(owner: PoolOwner, n: number): Uint32Array {
  const out = new Uint32Array(n);
  expect(owner.allocate(n, out)).toBe("ok");
  return out;
}

/** What the pool must do, without a pool: who holds what. */
interface Model {
  readonly held: Map<PoolOwner, Set<number>>;
  quota: number;
}

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("allocate" as const),
      who: fc.nat(2),
      n: fc.integer({ min: 1, max: 20 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("free" as const),
      who: fc.nat(2),
      n: fc.nat(30),
      seed: fc.nat(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("adopt" as const),
      who: fc.nat(2),
      from: fc.nat(2),
      n: fc.nat(12),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("quota" as const), blocks: fc.nat(40) }) },
);

test("allocation, free, adoption and quota follow the rules over any sequence", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 60 }),
      fc.array(step, { maxLength: 80 }),
      async (blocks, steps) => {
        const pool = newPool(blocks);
        const owners = [
          await pool.attach({ role: "prefill", turn: 0 }),
          await pool.attach({ role: "prefill", turn: 0 }),
          await pool.attach({ role: "decode", turn: 0 }),
        ];
        const model: Model = { held: new Map(owners.map((owner) => [owner, new Set()])), quota: blocks };
        let revision = 0;
        for (const action of steps) {
          if (action.kind === "quota") {
            const quota = Math.min(action.blocks, blocks);
            revision += 1;
            expect(await pool.setQuota("prefill", quota, revision)).toBe(
              prefillHeld(model) > quota ? "deferred" : "applied",
            );
            model.quota = quota;
          } else await act(model, owners, action, blocks);
          checkBooks(pool, model);
        }
        pool.close();
      },
    ),
    { numRuns: 60 },
  );
});

interface Action {
  readonly kind: "allocate" | "free" | "adopt";
  readonly who: number;
  readonly n: number;
  readonly from?: number;
  readonly seed?: number;
}

async function act(
  model: Model,
  owners: readonly PoolOwner[],
  action: Action,
  blocks: number,
): Promise<void> {
  const owner = owners[action.who]!;
  if (action.kind === "allocate") allocate(model, owner, action.n, blocks);
  else if (action.kind === "free") free(model, owner, action.n, action.seed ?? 0);
  else await adopt(model, owner, owners[action.from ?? 0]!, action.n);
}

function allocate(model: Model, owner: PoolOwner, n: number, blocks: number): void {
  const total = [...model.held.values()].reduce((sum, set) => sum + set.size, 0);
  const out = new Uint32Array(n).fill(0xffff_ffff);
  const result = owner.allocate(n, out);
  const overQuota = owner.role === "prefill" && prefillHeld(model) + n > model.quota;
  if (!overQuota && total + n <= blocks) expect(result).toBe("ok");
  else expect(result).toBe(overQuota && model.quota < blocks ? "over_quota" : "no_room");
  if (result !== "ok") return;
  for (const block of out) {
    expect(block).toBeLessThan(blocks);
    for (const set of model.held.values()) expect(set.has(block)).toBe(false);
    model.held.get(owner)!.add(block);
  }
}

/** In an order of its own: neighbours need not come together. */
function free(model: Model, owner: PoolOwner, n: number, seed: number): void {
  const mine = model.held.get(owner)!;
  const list = [...mine].sort((a, b) => ((a * 7 + seed) % 13) - ((b * 7 + seed) % 13)).slice(0, n);
  owner.free(Uint32Array.from(list));
  for (const block of list) mine.delete(block);
}

async function adopt(model: Model, owner: PoolOwner, giver: PoolOwner, n: number): Promise<void> {
  if (giver === owner) return;
  const list = [...model.held.get(giver)!].slice(0, n);
  const overQuota =
    owner.role === "prefill" && giver.role === "decode" && prefillHeld(model) + list.length > model.quota;
  expect(await owner.adopt(giver.slot, Uint32Array.from(list))).toBe(overQuota ? "over_quota" : "ok");
  if (overQuota) return;
  for (const block of list) {
    model.held.get(giver)!.delete(block);
    model.held.get(owner)!.add(block);
  }
}

function prefillHeld(model: Model): number {
  return [...model.held].reduce((sum, [owner, set]) => sum + (owner.role === "prefill" ? set.size : 0), 0);
}

function checkBooks(pool: KvPool, model: Model): void {
  const usage = pool.usage();
  expect(usage.prefill.usedBlocks).toBe(prefillHeld(model));
  for (const [owner, set] of model.held) expect(owner.held).toBe(set.size);
}

test("a bad list names the first wrong block and changes nothing", async () => {
  const pool = newPool(100);
  const mine = await pool.attach({ role: "decode", turn: 0 });
  const other = await pool.attach({ role: "prefill", turn: 0 });
  const held = take(mine, 10);
  const foreign = take(other, 1)[0]!;
  const freed = take(mine, 1)[0]!;
  mine.free(Uint32Array.of(freed));
  const bad: [string, number[], string][] = [
    ["block_out_of_range", [held[0]!, 100], "block 100 is not below 100"],
    ["block_out_of_range", [held[0]!, 0xffff_ffff], "block 4294967295 is not below 100"],
    ["repeated_block", [held[0]!, held[9]!, held[0]!], `block ${held[0]} is in the list twice`],
    ["repeated_block", [held[0]!, held[0]!], `block ${held[0]} is in the list twice`],
    ["double_free", [held[0]!, freed], `block ${freed} is free already`],
    ["foreign_block", [held[0]!, foreign], `block ${foreign} is held by slot 1, not by slot 0`],
  ];
  for (const [code, list, message] of bad) {
    expect(() => mine.free(Uint32Array.from(list))).toThrow(expect.objectContaining({ code, message }));
    expect(mine.held).toBe(10);
  }
  // The mistakes left nothing behind: the same blocks can be freed now.
  mine.free(held);
  expect(pool.usage().decode.usedBlocks).toBe(0);
  for (const n of [0, -1, 1.5, 5, Number.NaN])
    expect(() => mine.allocate(n, new Uint32Array(4))).toThrow(
      expect.objectContaining({ code: "bad_count" }),
    );
  await expect(mine.adopt(other.slot, held)).rejects.toMatchObject({ code: "double_free" });
  await expect(mine.adopt(13, held)).rejects.toMatchObject({ code: "no_such_owner" });
  await expect(mine.adopt(mine.slot, held)).rejects.toMatchObject({ code: "no_such_owner" });
});

test("only the owner whose turn it is takes blocks; freeing needs no turn", async () => {
  const pool = newPool(64);
  const old = await pool.attach({ role: "decode", turn: 0 });
  const held = take(old, 8);
  const next = await pool.attach({ role: "decode", turn: 1 });
  expect(next.allocate(1, new Uint32Array(1))).toBe("stale_turn");
  await expect(next.adoptAll(old.slot)).resolves.toBe("stale_turn");
  expect(pool.passTurn("decode", 0, 1)).toBe(true);
  expect(pool.passTurn("decode", 0, 1)).toBe(false);
  expect(old.allocate(1, new Uint32Array(1))).toBe("stale_turn");
  take(next, 8);
  old.free(held.subarray(0, 4));
  expect(Array.from((await next.adoptAll(old.slot)) as Uint32Array)).toEqual(
    Array.from(held.subarray(4)).sort((a, b) => a - b),
  );
  expect([old.held, next.held]).toEqual([0, 12]);
  // The way back: a higher turn for the old one.
  old.arm(2);
  expect(pool.takeTurn("decode", 2)).toBe(true);
  expect(pool.takeTurn("decode", 1)).toBe(false);
  take(old, 1);
  expect(next.allocate(1, new Uint32Array(1))).toBe("stale_turn");
  expect(() => pool.passTurn("decode", 2, 2)).toThrow("2 is not above 2");
});

test("an owner that may be allocating is not taken over whole", async () => {
  const pool = newPool(64);
  const prefill = await pool.attach({ role: "prefill", turn: 0 });
  const decode = await pool.attach({ role: "decode", turn: 0 });
  take(prefill, 3);
  await expect(decode.adoptAll(prefill.slot)).rejects.toMatchObject({ code: "owner_active" });
});

test("a quota is applied, deferred or stale, and never revokes", async () => {
  const pool = newPool(100);
  const prefill = await pool.attach({ role: "prefill", turn: 0 });
  const held = take(prefill, 60);
  expect(await pool.setQuota("prefill", 50, 7)).toBe("deferred");
  expect(await pool.setQuota("prefill", 90, 6)).toBe("stale");
  expect(await pool.setQuota("prefill", 90, 7)).toBe("stale");
  expect(await pool.setQuota("prefill", 50, 7)).toBe("deferred");
  expect(prefill.held).toBe(60);
  expect(prefill.allocate(1, new Uint32Array(1))).toBe("over_quota");
  prefill.free(held.subarray(0, 11));
  expect(await pool.setQuota("prefill", 50, 7)).toBe("applied");
  take(prefill, 1);
  expect(prefill.allocate(1, new Uint32Array(1))).toBe("over_quota");
  expect(pool.usage().prefill).toEqual({ usedBlocks: 50, quotaBlocks: 50, quotaRevision: 7, turn: 0 });
  await expect(pool.setQuota("prefill", 101, 8)).rejects.toThrow("quota must be 0..100 blocks, got 101");
  await expect(pool.setQuota("prefill", 1, 0)).rejects.toThrow("revision must be 1..");
});

test("leaving frees what was held and the slot; a full table names who is in it", async () => {
  const pool = newPool(64);
  const owners: PoolOwner[] = [];
  for (let i = 0; i < 14; i += 1) owners.push(await pool.attach({ role: "decode", turn: 0 }));
  await expect(pool.attach({ role: "decode", turn: 0 })).rejects.toMatchObject({ code: "no_slot" });
  const gone = owners[5]!;
  const held = take(gone, 9);
  expect([gone.detach(), gone.detach()]).toEqual([9, 0]);
  expect(() => gone.free(held)).toThrow(PoolError);
  expect(() => gone.allocate(1, new Uint32Array(1))).toThrow("has left slot 5");
  expect((await pool.attach({ role: "prefill", turn: 0 })).slot).toBe(5);
  expect(pool.usage().decode.usedBlocks).toBe(0);
});

/** Every instant at which an adoption can be killed, set up by hand: 4 blocks of one map word, of which one was freed. */
test.each([
  ["before the blocks moved", false, 0],
  ["after they moved, before the giver's account", true, 0],
  ["after the giver's account", true, 3],
])("an adoption killed %s is put right by whoever comes next", async (_, blocksMoved, accounted) => {
  const path = poolPath();
  const pool = newPool(64, 64, path);
  const giver = await pool.attach({ role: "prefill", turn: 0 });
  const taker = await pool.attach({ role: "decode", turn: 0 });
  const held = take(giver, 4);
  const words = wordsOf(path);
  const mapWord = held[0]! >> 3;
  const fields = [...held].reduce((mask, block) => mask | (1 << ((block & 7) * 4)), 0);
  words[slotWord(taker.slot) + SLOT.charged] = 4;
  words[JOURNAL.from] = giver.slot;
  words[JOURNAL.to] = taker.slot;
  words[JOURNAL.mapWord] = mapWord;
  words[JOURNAL.fields] = fields;
  words[JOURNAL.movedBefore] = 0;
  words[JOURNAL.valid] = 1;
  giver.free(held.subarray(3));
  if (blocksMoved)
    for (const block of held.subarray(0, 3)) {
      words[MAP_WORD + mapWord]! &= ~(15 << ((block & 7) * 4));
      words[MAP_WORD + mapWord]! |= (taker.slot + 1) << ((block & 7) * 4);
    }
  words[slotWord(giver.slot) + SLOT.moved] = accounted;
  // The taker becomes a process that has ended.
  words[slotWord(taker.slot) + SLOT.pid] = endedPid();
  expect(await pool.reclaimDead()).toMatchObject([{ slot: taker.slot, blocks: blocksMoved ? 3 : 0 }]);
  expect(giver.held).toBe(blocksMoved ? 0 : 3);
  expect(words[JOURNAL.valid]).toBe(0);
  giver.detach();
  expect(take(await pool.attach({ role: "decode", turn: 0 }), 64).length).toBe(64);
});

test("what a dead worker held can be adopted instead of freed; its slot is free then", async () => {
  const path = poolPath();
  const pool = newPool(64, 64, path);
  const dead = await pool.attach({ role: "decode", turn: 0 });
  const held = take(dead, 20);
  const successor = await pool.attach({ role: "decode", turn: 1 });
  const words = wordsOf(path);
  words[slotWord(dead.slot) + SLOT.pid] = endedPid();
  expect(pool.owners()[0]).toMatchObject({ slot: 0, state: "gone", blocks: 20 });
  pool.takeTurn("decode", 1);
  expect(await successor.adoptAll(dead.slot)).toHaveLength(held.length);
  expect(pool.owners().map((owner) => owner.slot)).toEqual([successor.slot]);
  expect(await pool.reclaimDead()).toEqual([]);
  expect(successor.held).toBe(20);
});

test("a worker held up inside an allocation until its successor took over all keeps its books right", async () => {
  const path = poolPath();
  const pool = newPool(64, 64, path);
  const old = await pool.attach({ role: "decode", turn: 0 });
  const next = await pool.attach({ role: "decode", turn: 1 });
  const words = wordsOf(path);
  const turnWord = roleWord("decode") + ROLE.turn;
  const out = new Uint32Array(12);
  const realLoad = Atomics.load;
  let adopted = 0;
  // The old worker stops between its last block and its second look at the turn; all else happens there.
  const load = vi.spyOn(Atomics, "load").mockImplementation(((array: Int32Array, index: number) => {
    if (index === turnWord && adopted === 0) {
      adopted = 5;
      words[slotWord(next.slot) + SLOT.charged] = 5;
      expect(Atomics.compareExchange(words, turnWord, 0, 1)).toBe(0);
      for (const block of out.subarray(0, 5))
        adoptFields({ words, from: old.slot, to: next.slot }, block >> 3, 1 << ((block & 7) * 4));
    }
    return realLoad(array, index);
  }) as typeof Atomics.load);
  const result = old.allocate(12, out);
  load.mockRestore();
  expect([result, adopted]).toEqual(["stale_turn", 5]);
  expect([old.held, next.held, pool.usage().decode.usedBlocks, countFree(path)]).toEqual([0, 5, 5, 59]);
});

test("a pid that another process has now, and one of another namespace", async () => {
  const path = poolPath();
  const pool = newPool(64, 64, path);
  const first = await pool.attach({ role: "decode", turn: 0 });
  take(first, 5);
  const words = wordsOf(path);
  const at = slotWord(first.slot);
  if (words[at + SLOT.startLow] === 0) return; // No /proc here: a start time is not known.
  words[at + SLOT.pidNamespace]! ^= 1;
  words[at + SLOT.startLow]! -= 1;
  expect(pool.owners()[0]!.state).toBe("unknown");
  expect(await pool.reclaimDead()).toEqual([]);
  words[at + SLOT.pidNamespace]! ^= 1;
  expect(await pool.reclaimDead()).toMatchObject([{ slot: 0, blocks: 5 }]);
});

/** The segment as any process may write it: to set up by hand what a killed one leaves. */
function wordsOf(path: string): Int32Array {
  const segment = mapSegment(path);
  segment.close();
  return new Int32Array(segment.buffer);
}

function endedPid(): number {
  return spawnSync(process.execPath, ["--version"]).pid;
}
