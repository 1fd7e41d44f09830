/**
 * Whether an engine makes progress: requests run and no token has come for a while is a deadlock (actuation.md §8.2;
 * SGLang #37904, #31117). A rule over what was scraped; what was not scraped says nothing.
 */

export interface ProgressSample {
  /** Of the clock that only grows. */
  readonly atMs: number;
  /** Requests that the engine runs; null where it does not tell. */
  readonly running: number | null;
  /** Output tokens since the engine started. */
  readonly outputTokens: number | null;
}

export type ProgressVerdict =
  /** A token has come within the limit, or it is too early to say. */
  | { readonly kind: "progress" }
  | { readonly kind: "idle" }
  /** Nothing recent to judge by: a sensor that is silent is no deadlock. */
  | { readonly kind: "unknown" }
  | { readonly kind: "no_progress"; readonly sinceMs: number; readonly stalledMs: number };

/**
 * `history` in order of time; samples of before a switch are left out by who asks about the switch. Only time between
 * samples counts: an engine that nobody could read is not stalled by that.
 */
export function progressVerdict(
  history: readonly ProgressSample[],
  nowMs: number,
  limitMs: number,
): ProgressVerdict {
  const last = history.at(-1);
  if (!last || nowMs - last.atMs > limitMs) return { kind: "unknown" };
  if (last.running === null || last.outputTokens === null) return { kind: "unknown" };
  if (last.running === 0) return { kind: "idle" };
  const before = history.findLastIndex((sample) => !isStalledWith(sample, last));
  const first = history[before + 1] ?? last;
  const stalledMs = last.atMs - first.atMs;
  return stalledMs >= limitMs
    ? { kind: "no_progress", sinceMs: first.atMs, stalledMs }
    : { kind: "progress" };
}

function isStalledWith(sample: ProgressSample, last: ProgressSample): boolean {
  return sample.running !== null && sample.running > 0 && sample.outputTokens === last.outputTokens;
}
