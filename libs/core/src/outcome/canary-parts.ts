/** Which instances of a pool in mode `canary` are moved. Each has a number in [0, 1) that comes of its id alone. Pure. */

/** An instance's number, where its pool was cut when the canary began, and the least and greatest number in the pool. */
export interface CanaryPlace {
  readonly hash: number;
  /** null: the pool is in another mode. */
  readonly below: number | null;
  readonly least: number;
  readonly most: number;
}

/**
 * Where to cut so that `share` of these instances lie below, at least one of two or more and never all. The cut stays when
 * instances come and go: nobody changes sides because of somebody else.
 */
export function cutAt(hashes: readonly number[], share: number): number {
  const sorted = [...hashes].sort((a, b) => a - b);
  if (sorted.length < 2) return share;
  const count = Math.min(sorted.length - 1, Math.max(1, Math.round(share * sorted.length)));
  return (sorted[count - 1]! + sorted[count]!) / 2;
}

/** Whether the instance is moved. Where all others of a part have gone, the nearest to the cut's own end stands in. */
export function inCanary({ hash, below, least, most }: CanaryPlace): boolean {
  if (below === null || least === most || hash === most) return false;
  return hash < below || hash === least;
}
