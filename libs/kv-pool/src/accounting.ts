import { MOVES, ROLE, SLOT, slotWord } from "./layout.js";

/** Each unstable reading needs one more adoption in between (microseconds each); more than this never happen. */
const MAX_READINGS = 64;

/** Blocks charged to a slot: never fewer than it holds. Reads `moved` first, so that a race errs upwards. */
export function slotUse(words: Int32Array, slot: number): number {
  const at = slotWord(slot);
  const moved = Atomics.load(words, at + SLOT.moved);
  return (Atomics.load(words, at + SLOT.charged) - moved) | 0;
}

/**
 * Blocks charged to all owners of a role, without a lock. Never fewer than they hold at some instant of the call; more
 * by what is being asked for (and may yet be refused), given back or handed over at that instant.
 */
export function roleUse(words: Int32Array, roleAt: number): number {
  let most = 0;
  for (let reading = 0; reading < MAX_READINGS; reading += 1) {
    const moves = Atomics.load(words, MOVES);
    let sum = 0;
    for (let left = Atomics.load(words, roleAt + ROLE.owners); left !== 0; left &= left - 1)
      sum += slotUse(words, lowestSlot(left));
    if (Atomics.load(words, MOVES) === moves) return sum;
    most = Math.max(most, sum);
  }
  return most;
}

/** The lowest slot of a set of slots that is not empty. */
export function lowestSlot(slots: number): number {
  return 31 - Math.clz32(slots & -slots);
}
