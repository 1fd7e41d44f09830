import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { releaseFileLock, tryFileLock } from "./file-lock.js";
import { KvPool } from "./pool.js";
import { mapSegment } from "./segment.js";
import { newPool, poolPath } from "./testing/pool-file.js";

const shape = { blocks: 100, tokensPerBlock: 16, bytesPerBlock: 0 };

/** Changes one word of a good segment's file and gives the error of opening it. */
function openChanged(change: (words: Uint32Array, path: string) => void) {
  const path = poolPath();
  newPool(100, 100, path);
  const bytes = readFileSync(path);
  const words = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  writeFileSync(path, words);
  change(words, path);
  return () => KvPool.open(path);
}

const set = (index: number, value: number) => (words: Uint32Array, path: string) => {
  words[index] = value;
  writeFileSync(path, words);
};

test.each([
  [
    "cut short",
    (_: Uint32Array, path: string) => truncateSync(path, 2_080),
    "wrong_size",
    "2080 bytes, its header says 2100",
  ],
  [
    "longer",
    (_: Uint32Array, path: string) => truncateSync(path, 4_096),
    "wrong_size",
    "4096 bytes, its header says 2100",
  ],
  [
    "not whole words",
    (_: Uint32Array, path: string) => truncateSync(path, 2_099),
    "wrong_size",
    "2099 bytes, its header says 2100",
  ],
  [
    "smaller than a header",
    (_: Uint32Array, path: string) => truncateSync(path, 24),
    "wrong_size",
    "24 bytes; the smallest pool has 2052",
  ],
  [
    "larger than 32-bit views can be",
    (_: Uint32Array, path: string) => truncateSync(path, 5 * 2 ** 30),
    "wrong_size",
    "5368709120 bytes; the largest pool, of 16777216 blocks, has 8390656",
  ],
  [
    "one byte longer than the largest",
    (_: Uint32Array, path: string) => truncateSync(path, 8_390_657),
    "wrong_size",
    "8390657 bytes; the largest pool",
  ],
  ["empty", (_: Uint32Array, path: string) => truncateSync(path, 0), "wrong_size", "the file is empty"],
  ["another magic", set(0, 1), "bad_magic", "magic is 0x1, must be 0x50564b46"],
  ["a later version", set(1, 2), "bad_version", "layout version is 2; this reads version 1"],
  ["another block count", set(3, 99), "corrupt", "header checksum is 0x"],
  ["another checksum", set(10, 5), "corrupt", "header checksum is 0x5, its fields give 0x"],
])("a segment that is %s is refused, with the field and what it must be", (_, change, code, text) => {
  expect(openChanged(change)).toThrow(
    expect.objectContaining({ name: "SegmentError", code, message: expect.stringContaining(text) as string }),
  );
});

/** How often this process has the file open or mapped; /proc is Linux's. */
function holds(path: string): { open: number; mapped: number } {
  const lines = readFileSync("/proc/self/maps", "utf8").split("\n");
  const open = readdirSync("/proc/self/fd").filter((fd) => targetOf(`/proc/self/fd/${fd}`) === path);
  return { open: open.length, mapped: lines.filter((line) => line.endsWith(` ${path}`)).length };
}

/** The descriptor of the listing itself is gone by now. */
function targetOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}

const onLinux = test.skipIf(process.platform !== "linux");

onLinux("a refused segment is neither left open nor mapped", () => {
  const path = poolPath();
  newPool(100, 100, path).close();
  for (const bytes of [5 * 2 ** 30, 2 ** 31, 2_080, 0]) {
    truncateSync(path, bytes);
    expect(() => KvPool.open(path)).toThrow(expect.objectContaining({ code: "wrong_size" }));
  }
  expect(() => mapSegment(path)).toThrow(expect.objectContaining({ code: "wrong_size" }));
  truncateSync(path, 2 ** 31);
  expect(() => mapSegment(path)).toThrow("2147483648 bytes; at most 1073741824 are mapped");
  expect(holds(path)).toEqual({ open: 0, mapped: 0 });
});

onLinux("close gives the file back, and every later call is an error and no fault", async () => {
  const path = poolPath();
  const pool = newPool(100, 100, path);
  const owner = await pool.attach({ role: "prefill", turn: 0 });
  const other = await pool.attach({ role: "decode", turn: 0 });
  const blocks = new Uint32Array(4);
  expect(owner.allocate(4, blocks)).toBe("ok");
  other.detach();
  expect(holds(path)).toEqual({ open: 1, mapped: 1 });
  pool.close();
  pool.close();
  expect(holds(path)).toEqual({ open: 0, mapped: 0 });
  const closed = expect.objectContaining({ name: "PoolError", code: "closed" }) as Error;
  const calls: (() => unknown)[] = [
    () => pool.usage(),
    () => pool.owners(),
    () => pool.turn("prefill"),
    () => pool.passTurn("prefill", 0, 1),
    () => pool.takeTurn("prefill", 1),
    () => owner.held,
    () => owner.arm(1),
    () => owner.allocate(1, blocks),
    () => owner.free(blocks),
    () => owner.detach(),
  ];
  for (const call of calls) expect(call).toThrow(closed);
  await expect(pool.attach({ role: "prefill", turn: 0 })).rejects.toThrow(closed);
  await expect(pool.setQuota("prefill", 1, 1)).rejects.toThrow(closed);
  await expect(pool.reclaimDead()).rejects.toThrow(closed);
  await expect(owner.adopt(1, blocks)).rejects.toThrow(closed);
  await expect(owner.adoptAll(1)).rejects.toThrow(closed);
  expect([other.held, other.detach(), pool.shape.blocks]).toEqual([0, 0, 100]);
  // What the owner held is in the file as it was.
  const again = newPoolAt(path);
  expect(again.usage().prefill.usedBlocks).toBe(4);
});

function newPoolAt(path: string): KvPool {
  const pool = KvPool.open(path);
  onTestFinished(() => pool.close());
  return pool;
}

onLinux(
  "closed while a call waits for the file lock: the call fails, and then the file is given back",
  async () => {
    const path = poolPath();
    const pool = newPool(100, 100, path);
    const fd = openSync(path, "r+");
    onTestFinished(() => closeSync(fd));
    expect(tryFileLock(fd)).toBe(true);
    const waiting = pool.setQuota("prefill", 7, 1);
    pool.close();
    releaseFileLock(fd);
    await expect(waiting).rejects.toMatchObject({ code: "closed" });
    expect(holds(path)).toEqual({ open: 1, mapped: 0 });
    expect(newPoolAt(path).usage().prefill.quotaBlocks).toBe(100);
    expect(tryFileLock(fd)).toBe(true);
  },
);

test("a buffer that someone kept is zeros after unmap, and no fault", () => {
  const path = poolPath();
  newPool(100, 100, path);
  const segment = mapSegment(path);
  const words = new Int32Array(segment.buffer);
  expect(words[0]).not.toBe(0);
  segment.unmap();
  segment.unmap();
  words[1] = 77;
  expect([words[0], words[1]]).toEqual([0, 77]);
  expect(KvPool.open(path).shape.blocks).toBe(100);
});

test("a missing file, a folder that is not there, and a file that is there already", () => {
  const path = poolPath();
  expect(() => KvPool.open(path)).toThrow(expect.objectContaining({ code: "not_found" }));
  expect(() => KvPool.open(dirname(path))).toThrow(expect.objectContaining({ code: "io" }));
  expect(() => KvPool.create(`${path}/x/y`, shape)).toThrow(expect.objectContaining({ code: "io" }));
  writeFileSync(path, "not ours");
  expect(() => KvPool.create(path, shape)).toThrow(expect.objectContaining({ code: "exists" }));
  expect(readFileSync(path, "utf8")).toBe("not ours");
});

test.each([
  [{ ...shape, blocks: 0 }, "blocks must be a whole number 1..16777216, got 0"],
  [{ ...shape, blocks: 1.5 }, "blocks must be a whole number 1..16777216, got 1.5"],
  [{ ...shape, tokensPerBlock: 0 }, "tokensPerBlock must be a whole number 1..2147483647, got 0"],
  [{ ...shape, bytesPerBlock: -1 }, "bytesPerBlock must be a whole number 0..4294967295, got -1"],
  [{ ...shape, prefillQuotaBlocks: 101 }, "prefillQuota must be a whole number 0..100, got 101"],
])("a shape that cannot be is refused: %j", (options, message) => {
  expect(() => KvPool.create(poolPath(), options)).toThrow(
    expect.objectContaining({ code: "bad_argument", message }),
  );
});
