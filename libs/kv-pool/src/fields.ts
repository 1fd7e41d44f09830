/**
 * A map word is eight fields of four bits, block b in field b % 8, each the slot + 1 of the block's owner or 0. A mask
 * of fields has the lowest bit of every chosen field set; times a slot + 1 it is those fields filled (no carry: 15 at most).
 */
const LOW_BITS = 0x1111_1111;

/** The fields of the word that are 0. */
export function freeFields(word: number): number {
  const pairs = word | (word >>> 1);
  return ~(pairs | (pairs >>> 2)) & LOW_BITS;
}

/** The fields of the word that hold `id`. */
export function fieldsOf(word: number, id: number): number {
  return freeFields(word ^ Math.imul(LOW_BITS, id));
}

/** How many fields the mask chooses. */
export function countFields(mask: number): number {
  // At most one bit per four: the multiplication adds all eight into the top four bits, and 8 fits there.
  return Math.imul(mask, LOW_BITS) >>> 28;
}

/** The mask's lowest `count` fields. */
export function lowestFields(mask: number, count: number): number {
  let left = mask;
  for (let i = 0; i < count && left !== 0; i += 1) left &= left - 1;
  return mask ^ left;
}
