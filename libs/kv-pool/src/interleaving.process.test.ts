import { spawnSync } from "node:child_process";
import { afterEach, expect, test, vi } from "vitest";
import { adoptFields } from "./adoption.js";
import { MAP_WORD, ROLE, roleWord, SLOT, slotWord } from "./layout.js";
import { holderOf } from "./map.js";
import type { PoolOwner } from "./owner.js";
import type { KvPool } from "./pool.js";
import { mapSegment } from "./segment.js";
import { newPool, poolPath } from "./testing/pool-file.js";

/**
 * A call is cut before each of its accesses to shared memory, and others do there what they like: every place at which a
 * process can be put aside, one after the other, with nothing left to luck.
 */
const OPERATIONS = ["load", "store", "compareExchange"] as const;
const QUOTA = 50;

afterEach(() => {
  vi.restoreAllMocks();
});

/** @returns whether the call had so many accesses. */
function cutBefore<T>(access: number, disturb: () => void, call: () => T): { fired: boolean; result: T } {
  let seen = 0;
  let inside = false;
  for (const name of OPERATIONS) {
    const real = Atomics[name] as (...args: unknown[]) => unknown;
    vi.spyOn(Atomics, name).mockImplementation(((...args: unknown[]) => {
      if (!inside && ++seen === access) {
        inside = true;
        disturb();
        inside = false;
      }
      return real(...args);
    }) as never);
  }
  const result = call();
  vi.restoreAllMocks();
  return { fired: seen >= access, result };
}

interface World {
  readonly pool: KvPool;
  readonly words: Int32Array;
  /** Holds nothing; 40 blocks of it were adopted by decode in its time. */
  readonly spent: PoolOwner;
  /** Holds 25. */
  readonly asker: PoolOwner;
  /** Holds 20. */
  readonly other: PoolOwner;
  readonly otherHolds: Uint32Array;
  readonly decode: PoolOwner;
}

async function newWorld(): Promise<World> {
  const path = poolPath();
  const pool = newPool(200, QUOTA, path);
  const spent = await pool.attach({ role: "prefill", turn: 0 });
  const asker = await pool.attach({ role: "prefill", turn: 0 });
  const other = await pool.attach({ role: "prefill", turn: 0 });
  const decode = await pool.attach({ role: "decode", turn: 0 });
  const passed = take(spent, 40);
  expect(await decode.adopt(spent, passed)).toBe("ok");
  decode.free(passed);
  take(asker, 25);
  const segment = mapSegment(path);
  segment.close();
  const words = new Int32Array(segment.buffer);
  return { pool, words, spent, asker, other, otherHolds: take(other, 20), decode };
}

function take(owner: PoolOwner, n: number): Uint32Array {
  const out = new Uint32Array(n);
  expect(owner.allocate(n, out)).toBe("ok");
  return out;
}

/** By the map, which no counter can talk round. */
function heldByPrefill({ pool, words }: World): number {
  const slots = new Set(
    pool
      .owners()
      .filter((owner) => owner.role === "prefill")
      .map((owner) => owner.slot),
  );
  let held = 0;
  for (let block = 0; block < (words.length - MAP_WORD) * 8; block += 1)
    if (slots.has(holderOf(words, block) - 1)) held += 1;
  return held;
}

/** attach and adopt do all their work before their promise is returned, where nobody else holds the file lock. */
function now<T>(promise: Promise<T>, then: (value: T) => void = () => undefined): void {
  late.push(promise.then(then));
}
let late: Promise<void>[] = [];

const others: Record<string, (world: World) => void> = {
  "one that gave much away leaves, and prefill joins in its slot": ({ pool, spent }) => {
    spent.detach();
    now(pool.attach({ role: "prefill", turn: 0 }));
  },
  "one that gave much away leaves, and decode joins in its slot": ({ pool, spent }) => {
    spent.detach();
    now(pool.attach({ role: "decode", turn: 0 }));
  },
  "the other hands all to decode, leaves, and prefill joins in its slot": ({
    pool,
    other,
    otherHolds,
    decode,
  }) => {
    now(decode.adopt(other, otherHolds));
    other.detach();
    now(pool.attach({ role: "prefill", turn: 0 }));
  },
  "the other gives all to the spent one and leaves": ({ spent, other, otherHolds }) => {
    now(spent.adopt(other, otherHolds));
    other.detach();
  },
  "a dead one is taken back, and prefill joins in its slot": ({ pool, words, other }) => {
    words[slotWord(other.slot) + SLOT.pid] = ended;
    now(pool.reclaimDead());
    now(pool.attach({ role: "prefill", turn: 0 }));
  },
  "the other gives all to the spent one and takes 5 more": ({ spent, other, otherHolds }) => {
    now(spent.adopt(other, otherHolds));
    other.allocate(5, new Uint32Array(5));
  },
};
const ended = spawnSync(process.execPath, ["--version"]).pid;

test.each(Object.entries(others))("the quota holds wherever an allocation is cut: %s", async (_, disturb) => {
  // 40 is over the quota whatever happens while `other` holds 20; 5 fits.
  for (const n of [40, 5])
    for (let access = 1, fired = true; fired; access += 1) {
      const world = await newWorld();
      late = [];
      const cut = cutBefore(
        access,
        () => disturb(world),
        () => world.asker.allocate(n, new Uint32Array(n)),
      );
      await Promise.all(late);
      ({ fired } = cut);
      expect(["ok", "over_quota"]).toContain(cut.result);
      const held = heldByPrefill(world);
      expect(held, `cut before access ${access}`).toBeLessThanOrEqual(QUOTA);
      expect(world.pool.usage().prefill.usedBlocks).toBe(held);
      world.pool.close();
      if (!fired) expect(access).toBeGreaterThan(10);
    }
});

test.each(Object.entries(others))(
  "usage is never below what is held, wherever it is cut: %s",
  async (_, disturb) => {
    for (let access = 1, fired = true; fired; access += 1) {
      const world = await newWorld();
      late = [];
      const before = heldByPrefill(world);
      const cut = cutBefore(
        access,
        () => disturb(world),
        () => world.pool.usage().prefill.usedBlocks,
      );
      await Promise.all(late);
      ({ fired } = cut);
      const least = Math.min(before, heldByPrefill(world));
      expect(cut.result, `cut before access ${access}`).toBeGreaterThanOrEqual(least);
      expect(cut.result).toBeLessThanOrEqual(before + 45);
      world.pool.close();
    }
  },
);

test.each([
  ["to one that joins just then", false],
  ["to one that joins just then, and from it to another in the giver's slot", true],
])("no block falls out of the sum on its way %s", async (_, onwards) => {
  for (let access = 1, fired = true; fired; access += 1) {
    const world = await newWorld();
    const { pool, asker, other, otherHolds } = world;
    late = [];
    const cut = cutBefore(
      access,
      () => {
        now(pool.attach({ role: "prefill", turn: 0 }));
        adoptByHand(world, other.slot, 4, otherHolds);
        other.detach();
        if (!onwards) return;
        now(pool.attach({ role: "prefill", turn: 0 }));
        adoptByHand(world, 4, other.slot, otherHolds);
        Atomics.and(world.words, roleWord("prefill") + ROLE.owners, ~(1 << 4));
      },
      () => asker.allocate(6, new Uint32Array(6)),
    );
    await Promise.all(late);
    ({ fired } = cut);
    // 45 are held all the time, by whomever: 6 more never fit.
    expect(cut.result, `cut before access ${access}`).toBe("over_quota");
    expect([heldByPrefill(world), pool.usage().prefill.usedBlocks]).toEqual([45, 45]);
    pool.close();
  }
});

/** As `adopt` does: an owner that joins at a cut has its slot at once, its object only with a promise. */
function adoptByHand({ words }: World, from: number, to: number, blocks: Uint32Array): void {
  Atomics.add(words, slotWord(to) + SLOT.charged, blocks.length);
  for (const block of blocks) adoptFields({ words, from, to }, block >> 3, 1 << ((block & 7) * 4));
}

test("an owner is named whole, or the one after it whole", async () => {
  for (let access = 1, fired = true; fired; access += 1) {
    const { pool, words, spent } = await newWorld();
    late = [];
    const at = slotWord(spent.slot);
    words[at + SLOT.pid] = ended;
    words[at + SLOT.startLow] = 77;
    words[at + SLOT.turn] = 5;
    const cut = cutBefore(
      access,
      () => {
        spent.detach();
        now(pool.attach({ role: "decode", turn: 0 }));
      },
      () => pool.owners()[0]!,
    );
    await Promise.all(late);
    ({ fired } = cut);
    const { role, turn, process: of, state, blocks } = cut.result;
    const old = of.pid === ended;
    expect({ role, turn, pid: of.pid, state, blocks }, `cut before access ${access}`).toEqual(
      old
        ? { role: "prefill", turn: 5, pid: ended, state: "gone", blocks: 0 }
        : { role: "decode", turn: 0, pid: process.pid, state: "alive", blocks: 0 },
    );
    if (of.start !== 0) expect(of.start === 77).toBe(old);
    pool.close();
  }
});

test("a giver that is armed anew while all it holds is adopted keeps what it takes", async () => {
  for (let access = 1, fired = true; fired; access += 1) {
    const world = await newWorld();
    const { pool, asker, decode } = world;
    take(decode, 3);
    pool.takeTurn("decode", 1);
    late = [];
    const cut = cutBefore(
      access,
      () => {
        decode.arm(1);
        decode.allocate(60, new Uint32Array(60));
      },
      () => asker.adoptAll(decode),
    );
    const result = await cut.result.catch((error: unknown) => (error as { code: string }).code);
    ({ fired } = cut);
    if (result instanceof Uint32Array) expect(result.length).toBe(3);
    else expect(["owner_active", "over_quota"], `cut before access ${access}`).toContain(result);
    const held = heldByPrefill(world);
    expect(held).toBeLessThanOrEqual(QUOTA);
    expect(pool.usage().prefill.usedBlocks).toBe(held);
    pool.close();
  }
});

test("what an owner gave back is not adopted from the next one in its slot", async () => {
  const { pool, decode, other, otherHolds } = await newWorld();
  other.detach();
  const next = await pool.attach({ role: "prefill", turn: 0 });
  expect([next.slot, next.joins]).toEqual([other.slot, other.joins + 1]);
  // The same hint, so the same blocks.
  expect(take(next, 20)).toEqual(otherHolds);
  const error = {
    code: "no_such_owner",
    message: `slot ${other.slot} has another owner since: join 2, not 1`,
  };
  await expect(decode.adopt(other, otherHolds)).rejects.toMatchObject(error);
  await expect(decode.adoptAll(other)).rejects.toMatchObject(error);
  expect(next.held).toBe(20);
  expect(await decode.adopt(next, otherHolds)).toBe("ok");
});
