import { crc32 } from "node:zlib";
import { SegmentError } from "./errors.js";

/**
 * The segment, word by word (docs/kv-pool.md). A word is 32 bits in the machine's byte order; every index here is an
 * index into an Int32Array over the whole file. The C header and the Python reader carry the same numbers.
 */
export const MAGIC = 0x50564b46; // "FKVP" in a little-endian file
export const LAYOUT_VERSION = 1;
export const MAX_BLOCKS = 1 << 24;
/** Slots of owners, 0..13. A map field holds slot + 1; 0 is free and 15 no block at all (the last word's padding). */
export const OWNER_SLOTS = 14;
export const BLOCKS_PER_WORD = 8;
export const NO_BLOCK = 15;
/** Turns and revisions: what fits a signed word. */
export const MAX_COUNTER = 0x7fff_ffff;

const HEADER = {
  magic: 0,
  version: 1,
  totalBytes: 2,
  blocks: 3,
  tokensPerBlock: 4,
  bytesPerBlock: 5,
  ownerSlots: 6,
  slotsAt: 7,
  mapAt: 8,
  mapWords: 9,
  checksum: 10,
} as const;
const CHECKED_BYTES = HEADER.checksum * 4;
/** What readShape needs of the file. */
export const HEADER_WORDS = HEADER.checksum + 1;

/** The journal of the adoption under way; valid only while JOURNAL.valid is 1 (adoption.ts). */
export const JOURNAL = { valid: 17, to: 18, from: 19, mapWord: 20, fields: 21, movedBefore: 22 } as const;

export type Role = "prefill" | "decode";
export const ROLES: readonly Role[] = ["prefill", "decode"];
/** One role's words, relative to `roleWord(role)`. `owners`: bit i is set while slot i is attached in this role. */
export const ROLE = { quota: 0, revision: 1, turn: 2, owners: 3 } as const;
/** One slot's words, relative to `slotWord(slot)`. */
export const SLOT = {
  pid: 0,
  startLow: 1,
  startHigh: 2,
  pidNamespace: 3,
  turn: 4,
  /**
   * Blocks taken less blocks freed by the owner, modulo 2^32, on top of what `moved` was when it joined. Only the owner
   * writes it, and whoever joins, under the file lock and before its bit is set.
   */
  charged: 5,
  /** Blocks that were adopted from the slot, modulo 2^32. Only grows, from owner to owner; under the file lock only. */
  moved: 6,
  /** How many owners have joined here, modulo 2^32; raised before anything else of a new one is written. */
  joins: 7,
} as const;

const SLOT_WORDS = 32; // 128 bytes: neighbours share no cache line, nor the pair of lines that is fetched together
const SLOTS_AT = 64;
const MAP_AT = SLOTS_AT + OWNER_SLOTS * SLOT_WORDS;
const MIN_BYTES = (MAP_AT + 1) * 4;
const MAX_BYTES = (MAP_AT + MAX_BLOCKS / BLOCKS_PER_WORD) * 4;

export function roleWord(role: Role): number {
  return role === "prefill" ? 32 : 48;
}

export function slotWord(slot: number): number {
  return SLOTS_AT + slot * SLOT_WORDS;
}

export const MAP_WORD = MAP_AT;

/** What a segment is made for; never changes. */
export interface PoolShape {
  /** 1..2^24. */
  readonly blocks: number;
  /** Tokens whose KV one block holds, 1..2^31-1. For readers; the pool itself does not use it. */
  readonly tokensPerBlock: number;
  /** Bytes of KV storage of one block, 0..2^32-1, 0 where it was not said. For readers. */
  readonly bytesPerBlock: number;
}

/** The whole file of a pool in which every block is free. @throws SegmentError bad_argument, naming the field. */
export function initialImage(shape: PoolShape, prefillQuotaBlocks: number): Int32Array {
  inRange("blocks", shape.blocks, 1, MAX_BLOCKS);
  inRange("tokensPerBlock", shape.tokensPerBlock, 1, MAX_COUNTER);
  inRange("bytesPerBlock", shape.bytesPerBlock, 0, 0xffff_ffff);
  inRange("prefillQuota", prefillQuotaBlocks, 0, shape.blocks);
  const mapWords = Math.ceil(shape.blocks / BLOCKS_PER_WORD);
  const words = new Int32Array(MAP_AT + mapWords);
  words[HEADER.magic] = MAGIC;
  words[HEADER.version] = LAYOUT_VERSION;
  words[HEADER.totalBytes] = words.byteLength;
  words[HEADER.blocks] = shape.blocks;
  words[HEADER.tokensPerBlock] = shape.tokensPerBlock;
  words[HEADER.bytesPerBlock] = shape.bytesPerBlock;
  words[HEADER.ownerSlots] = OWNER_SLOTS;
  words[HEADER.slotsAt] = SLOTS_AT * 4;
  words[HEADER.mapAt] = MAP_AT * 4;
  words[HEADER.mapWords] = mapWords;
  words[HEADER.checksum] = headerChecksum(words);
  words[roleWord("prefill") + ROLE.quota] = prefillQuotaBlocks;
  words[roleWord("decode") + ROLE.quota] = shape.blocks;
  for (let block = shape.blocks; block < mapWords * BLOCKS_PER_WORD; block += 1)
    words[MAP_AT + (block >> 3)]! |= NO_BLOCK << ((block & 7) * 4);
  return words;
}

/**
 * Checks everything that never changes.
 * @param words the file's first HEADER_WORDS; more do no harm.
 * @param bytes the file's size, which need not be a whole number of words.
 * @throws SegmentError wrong_size, bad_magic, bad_version, corrupt, naming the field and what it should be.
 */
export function readShape(path: string, words: Int32Array, bytes: number): PoolShape {
  const refuse = (code: "wrong_size" | "bad_magic" | "bad_version" | "corrupt", text: string): never => {
    throw new SegmentError(code, `${path}: ${text}`);
  };
  if (bytes < MIN_BYTES) refuse("wrong_size", `${bytes} bytes; the smallest pool has ${MIN_BYTES}`);
  if (bytes > MAX_BYTES)
    refuse("wrong_size", `${bytes} bytes; the largest pool, of ${MAX_BLOCKS} blocks, has ${MAX_BYTES}`);
  const magic = words[HEADER.magic]! >>> 0;
  if (magic !== MAGIC)
    refuse("bad_magic", `magic is 0x${magic.toString(16)}, must be 0x${MAGIC.toString(16)}`);
  const version = words[HEADER.version]!;
  if (version !== LAYOUT_VERSION)
    refuse("bad_version", `layout version is ${version}; this reads version ${LAYOUT_VERSION}`);
  const checksum = words[HEADER.checksum]! >>> 0;
  const computed = headerChecksum(words);
  if (checksum !== computed >>> 0)
    refuse(
      "corrupt",
      `header checksum is 0x${checksum.toString(16)}, its fields give 0x${(computed >>> 0).toString(16)}`,
    );
  const total = words[HEADER.totalBytes]! >>> 0;
  if (total !== bytes) refuse("wrong_size", `the file has ${bytes} bytes, its header says ${total}`);
  const blocks = words[HEADER.blocks]!;
  // A checksum that fits says that the header is as it was written, not that its writer was right.
  const fits =
    blocks >= 1 &&
    blocks <= MAX_BLOCKS &&
    words[HEADER.mapWords] === Math.ceil(blocks / BLOCKS_PER_WORD) &&
    words[HEADER.ownerSlots] === OWNER_SLOTS &&
    words[HEADER.slotsAt] === SLOTS_AT * 4 &&
    words[HEADER.mapAt] === MAP_AT * 4 &&
    bytes === (MAP_AT + Math.ceil(blocks / BLOCKS_PER_WORD)) * 4;
  if (!fits) refuse("corrupt", `block count ${blocks} (1..${MAX_BLOCKS}) and the offsets do not agree`);
  return {
    blocks,
    tokensPerBlock: words[HEADER.tokensPerBlock]!,
    bytesPerBlock: words[HEADER.bytesPerBlock]! >>> 0,
  };
}

function headerChecksum(words: Int32Array): number {
  return crc32(new Uint8Array(words.buffer, words.byteOffset, CHECKED_BYTES)) | 0;
}

function inRange(field: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high)
    throw new SegmentError("bad_argument", `${field} must be a whole number ${low}..${high}, got ${value}`);
}
