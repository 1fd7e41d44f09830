/** Sums over windows that end now, out of buckets that begin at multiples of BUCKET_MS. */
import { BUCKET_MS, BURN_PAIRS, type Count } from "./burn.js";

/** Every window of the pairs, shortest first. */
const WINDOWS_MS = [...new Set(BURN_PAIRS.flatMap(({ longMs, shortMs }) => [longMs, shortMs]))].sort(
  (a, b) => a - b,
);

/**
 * Where buckets are parted by their age (now less their beginning): up to the length of a window a bucket lies within it;
 * the one that began before the window did and ends in it is between that and a bucket more.
 */
export const AGE_EDGES_MS: readonly number[] = WINDOWS_MS.flatMap((ms) => [ms, ms + BUCKET_MS]);

/**
 * The count of a window that ends at `nowMs`. `byAge[k]` is the sum over buckets of an age from AGE_EDGES_MS[k - 1] to below
 * AGE_EDGES_MS[k]; absent where there is none. Of the bucket that the window begins in that part counts which lies in it, as if its
 * requests had come evenly.
 */
export function countWithin(byAge: readonly (Count | undefined)[], windowMs: number, nowMs: number): Count {
  const at = AGE_EDGES_MS.indexOf(windowMs);
  if (at < 0) throw new RangeError(`no pair has a window of ${windowMs} ms`);
  const part = 1 - (nowMs % BUCKET_MS) / BUCKET_MS;
  let sum: Count = { requests: 0, within: 0 };
  for (let k = 0; k <= at + 1; k += 1) {
    const share = k === at + 1 ? part : 1;
    const { requests, within } = byAge[k] ?? { requests: 0, within: 0 };
    sum = { requests: sum.requests + share * requests, within: sum.within + share * within };
  }
  return sum;
}
