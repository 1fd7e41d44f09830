import { OWNER_SLOTS, ROLE, SLOT, slotWord } from "./layout.js";

/**
 * Blocks charged to a slot: never fewer than it holds. `moved` first, which only grows, also when the slot gets another
 * owner: whatever happens before `charged` is read makes the difference larger than it was, never smaller.
 */
export function slotUse(words: Int32Array, slot: number): number {
  const at = slotWord(slot);
  const moved = Atomics.load(words, at + SLOT.moved);
  return (Atomics.load(words, at + SLOT.charged) - moved) | 0;
}

/**
 * Blocks charged to all owners of a role, without a lock and in one reading. Never fewer than they hold at some instant
 * of the call; more by what is being asked for (and may yet be refused), given back, handed over or left at that instant.
 *
 * The order makes it so. A block that had left its giver when `moved` was read was charged to its taker before that, and
 * the taker had joined: who is in the role is read after all `moved`, and what they are charged last.
 * @param movedOf scratch of OWNER_SLOTS words, where a call must not need memory.
 */
export function roleUse(
  words: Int32Array,
  roleAt: number,
  movedOf: Int32Array = new Int32Array(OWNER_SLOTS),
): number {
  for (let slot = 0; slot < OWNER_SLOTS; slot += 1)
    movedOf[slot] = Atomics.load(words, slotWord(slot) + SLOT.moved);
  let sum = 0;
  for (let left = Atomics.load(words, roleAt + ROLE.owners); left !== 0; left &= left - 1) {
    const slot = lowestSlot(left);
    sum += (Atomics.load(words, slotWord(slot) + SLOT.charged) - movedOf[slot]!) | 0;
  }
  return sum;
}

/** The lowest slot of a set of slots that is not empty. */
export function lowestSlot(slots: number): number {
  return 31 - Math.clz32(slots & -slots);
}
