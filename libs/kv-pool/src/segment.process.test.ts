import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { KvPool } from "./pool.js";
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

test("a missing file, a folder that is not there, and a file that is there already", () => {
  const path = poolPath();
  expect(() => KvPool.open(path)).toThrow(expect.objectContaining({ code: "not_found" }));
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
