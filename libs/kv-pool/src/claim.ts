import { lowestSlot } from "./accounting.js";
import { countFields, freeFields, lowestFields } from "./fields.js";
import { MAP_WORD } from "./layout.js";
import { replaceFields } from "./map.js";

const ALL = 0x1111_1111;

/**
 * Takes free blocks of one map word, at most `want`, and writes their numbers to out[got..).
 * @returns `got` and what was taken.
 */
export function claimWord(
  words: Int32Array,
  word: number,
  id: number,
  want: number,
  out: Uint32Array,
  got: number,
): number {
  const at = MAP_WORD + word;
  // Plain loads serve: the compare-and-set finds out whether they were old.
  let seen = words[at]!;
  for (let free = freeFields(seen); free !== 0; free = freeFields(seen)) {
    const take = want >= 8 ? free : lowestFields(free, want);
    const before = Atomics.compareExchange(words, at, seen, seen | Math.imul(take, id));
    if (before === seen) return writeBlocks(out, got, word, take);
    seen = before;
  }
  return got;
}

/** Frees those of blocks[0..n) that `id` still holds. @returns how many. */
export function giveUp(words: Int32Array, blocks: Uint32Array, n: number, id: number): number {
  let freed = 0;
  for (let i = 0; i < n; i += 1) {
    const block = blocks[i]! | 0;
    const field = 1 << ((block & 7) << 2);
    freed += countFields(replaceFields(words, MAP_WORD + (block >> 3), field, id, 0));
  }
  return freed;
}

/** Appends the numbers of the chosen blocks of a map word. @returns the new end. */
export function writeBlocks(out: Uint32Array, got: number, word: number, chosen: number): number {
  const first = word << 3;
  if (chosen === ALL) return writeWord(out, got, first);
  let next = got;
  for (let left = chosen; left !== 0; left &= left - 1) out[next++] = first | (lowestSlot(left) >> 2);
  return next;
}

/** The eight blocks from `first` on; written out, as the loop costs more. @returns the new end. */
export function writeWord(out: Uint32Array, got: number, first: number): number {
  out[got] = first;
  out[got + 1] = first + 1;
  out[got + 2] = first + 2;
  out[got + 3] = first + 3;
  out[got + 4] = first + 4;
  out[got + 5] = first + 5;
  out[got + 6] = first + 6;
  out[got + 7] = first + 7;
  return got + 8;
}
