import { countFields, fieldsOf } from "./fields.js";
import { MAP_WORD } from "./layout.js";

/** What a block's field holds: 0 free, else the slot + 1 of its owner. */
export function holderOf(words: Int32Array, block: number): number {
  return (words[MAP_WORD + (block >>> 3)]! >>> ((block & 7) << 2)) & 15;
}

/**
 * Puts `to` into those of the chosen fields of a map word that hold `from`, in one compare-and-set.
 * @returns the mask of the fields that changed.
 */
export function replaceFields(
  words: Int32Array,
  at: number,
  chosen: number,
  from: number,
  to: number,
): number {
  let seen = words[at]!;
  for (;;) {
    const fields = fieldsOf(seen, from) & chosen;
    if (fields === 0) return 0;
    const next = (seen & ~Math.imul(fields, 15)) | Math.imul(fields, to);
    const before = Atomics.compareExchange(words, at, seen, next);
    if (before === seen) return fields;
    seen = before;
  }
}

/** Frees every block of an owner that takes no more. @returns how many. */
export function freeAllOf(words: Int32Array, id: number): number {
  let freed = 0;
  for (let at = MAP_WORD; at < words.length; at += 1)
    freed += countFields(replaceFields(words, at, 0x1111_1111, id, 0));
  return freed;
}
