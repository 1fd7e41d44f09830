/** From what single instances could carry to how many a pool needs: what a replica autoscaler is told. */
import type { Headroom } from "./policy/search-headroom.js";

/** So much of what the model says an instance carries is planned with: the rest is its error and the load's next minutes. */
export const PLANNED_SHARE = 0.85;
/** A need that has fallen is believed after it has been lower for so long; as long as an HPA's window, twice. */
export const FALLS_AFTER_MS = 600_000;
/** Needs that are kept: one each quarter of a minute over those ten minutes, and room for a slow sweep. */
export const MAX_NEEDS = 60;

export interface PoolLoad {
  /** Instances of the pool, and of how many of them the headroom was asked. */
  readonly instances: number;
  readonly asked: readonly Headroom[];
}

export interface PoolNeed {
  /** Instances that would carry the present load; `instances` where nothing is known. */
  readonly needed: number;
  /** What the instances carry together over what comes; null: not known. */
  readonly headroom: number | null;
  readonly known: number;
}

/**
 * Loads add up, whoever serves them; an instance whose headroom is not known is taken to carry what the others do in the
 * mean, and what was not asked is taken to be as what was.
 */
export function needOf({ instances, asked }: PoolLoad): PoolNeed {
  const telling = asked.flatMap(({ factor, arrivalPerS }) =>
    factor !== null && arrivalPerS !== null ? [{ factor, arrivalPerS }] : [],
  );
  if (telling.length === 0) return { needed: instances, headroom: null, known: 0 };
  const loadPerS = asked.reduce((sum, { arrivalPerS }) => sum + (arrivalPerS ?? 0), 0);
  const carriedPerS =
    telling.reduce((sum, { factor, arrivalPerS }) => sum + factor * arrivalPerS, 0) / telling.length;
  const headroom = (carriedPerS * asked.length) / loadPerS;
  const needed = Math.max(1, Math.ceil(instances / (headroom * PLANNED_SHARE)));
  return { needed, headroom, known: telling.length };
}

/** A need at an instant. */
export interface Need {
  readonly atMs: number;
  readonly needed: number;
}

/**
 * What is told: a rise once it was seen twice in a row, a fall once nothing greater was told for FALLS_AFTER_MS. `recent`
 * oldest first, the newest included.
 */
export function steadyNeed(recent: readonly Need[]): number {
  const newest = recent.at(-1);
  if (newest === undefined) return 0;
  const believed = recent.map(({ atMs, needed }, i) => {
    const before = recent[i - 1];
    return { atMs, needed: before === undefined ? needed : Math.min(needed, before.needed) };
  });
  const young = believed.filter(({ atMs }) => newest.atMs - atMs <= FALLS_AFTER_MS);
  return Math.max(...young.map(({ needed }) => needed));
}

/** The needs that are kept after a new one. */
export function noteNeed(recent: readonly Need[], newest: Need): readonly Need[] {
  // One older than the time looked back over is kept: the oldest young one is held against it.
  return [...recent, newest].slice(-MAX_NEEDS);
}
