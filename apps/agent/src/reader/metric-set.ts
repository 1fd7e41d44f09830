/** Sums over the open label sets of an exposition: SGLang's set of labels grows from release to release. */
import { MAX_BUCKETS } from "@fulcrum/contracts/windows.js";
import type { Histogram } from "@fulcrum/core/nouns.js";
import { ReadError } from "./engine-reader.js";
import type { Exposition, Sample } from "./exposition.js";

/** Ranks of one tensor- or pipeline-parallel group count the same requests: only rank 0 is taken. */
function isFirstRank(sample: Sample): boolean {
  return (sample.labels["tp_rank"] ?? "0") === "0" && (sample.labels["pp_rank"] ?? "0") === "0";
}

/** The sum of a counter or gauge; null when the engine does not expose it. @throws ReadError `malformed` */
export function sumOf(
  exposition: Exposition,
  name: string,
  only: (labels: Sample["labels"]) => boolean = () => true,
  most: number = Number.MAX_SAFE_INTEGER,
): number | null {
  const samples = exposition.get(name)?.filter((sample) => isFirstRank(sample) && only(sample.labels));
  if (!samples || samples.length === 0) return null;
  let sum = 0;
  for (const { value } of samples) sum += checked(name, value, most);
  return sum;
}

function checked(name: string, value: number, most: number = Number.MAX_SAFE_INTEGER): number {
  if (Number.isFinite(value) && value >= 0 && value <= most) return value;
  const bound = most === Number.MAX_SAFE_INTEGER ? "2^53" : String(most);
  throw new ReadError("malformed", `${name} must be 0..${bound}, got ${value}`);
}

export function inMs(seconds: number | null): number | null {
  return seconds === null ? null : seconds * 1_000;
}

/**
 * A histogram in seconds, as counts per bucket in milliseconds; null when the engine does not expose it.
 * @throws ReadError `malformed`: bounds that differ between label sets, counts that fall, no +Inf bucket,
 * more than MAX_BUCKETS bounds
 */
export function histogramOf(exposition: Exposition, name: string): Histogram | null {
  const buckets = exposition.get(`${name}_bucket`)?.filter(isFirstRank);
  if (!buckets || buckets.length === 0) return null;
  const { cumulative, labelSets } = cumulativeByBound(name, buckets);
  const bounds = [...cumulative.keys()].sort((a, b) => a - b);
  if (bounds.at(-1) !== Infinity) throw new ReadError("malformed", `${name} has no +Inf bucket`);
  if (buckets.length !== labelSets * bounds.length) {
    throw new ReadError("malformed", `${name} has different buckets in its label sets`);
  }
  const counts: number[] = [];
  let below = 0;
  for (const bound of bounds) {
    const upTo = cumulative.get(bound) ?? 0;
    if (upTo < below) throw new ReadError("malformed", `${name} counts fall at le="${bound}"`);
    counts.push(upTo - below);
    below = upTo;
  }
  const finite = bounds.slice(0, -1).map(secondsToMs);
  if (finite[0] === 0) {
    // A bound of 0 cannot be told from the next one in a latency: both mean "at once".
    finite.shift();
    counts.splice(0, 2, (counts[0] ?? 0) + (counts[1] ?? 0));
  }
  if (finite.length < 1 || finite.length > MAX_BUCKETS) {
    throw new ReadError("malformed", `${name} must have 1..${MAX_BUCKETS} bounds, got ${finite.length}`);
  }
  const sumS = sumOf(exposition, `${name}_sum`);
  if (sumS === null) throw new ReadError("missing_metric", `${name}_sum is not exposed`);
  return { boundsMs: finite, counts, sumMs: sumS * 1_000 };
}

function cumulativeByBound(
  name: string,
  buckets: readonly Sample[],
): { cumulative: Map<number, number>; labelSets: number } {
  const cumulative = new Map<number, number>();
  let infinities = 0;
  for (const { labels, value } of buckets) {
    const le = labels["le"] ?? "";
    const bound = /^\+?inf$/i.test(le) ? Infinity : le.trim() === "" ? Number.NaN : Number(le);
    if (!(bound >= 0)) throw new ReadError("malformed", `${name} has a bucket with le="${le}"`);
    if (!Number.isInteger(checked(`${name}_bucket`, value))) {
      throw new ReadError("malformed", `${name}_bucket must be whole, got ${value}`);
    }
    if (bound === Infinity) infinities += 1;
    cumulative.set(bound, (cumulative.get(bound) ?? 0) + value);
  }
  return { cumulative, labelSets: infinities };
}

/** To the nanosecond, so that 0.035 s is 35 ms and not 35.00000000000001. */
function secondsToMs(seconds: number): number {
  return Math.round(seconds * 1e9) / 1e6;
}
