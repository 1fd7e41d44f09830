/** When a message is tried again. Pure. */

/** The first wait; each one is twice as long as the one before. */
const FIRST_WAIT_MS = 5_000;
/** At most: a target that was away hears of it within half an hour of being back. */
const LONGEST_WAIT_MS = 1_800_000;
/** With these waits, 26 hours from the first try to the last. */
export const MAX_TRIES = 61;

/** How long to wait after so many tries; null: it is given up. */
export function waitAfter(tries: number, maxTries: number = MAX_TRIES): number | null {
  return tries >= maxTries ? null : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (tries - 1));
}
