/** Series as columns for the charts, and what a chart says in a sentence. Pure. */
import type { Series, SeriesPoint } from "@fulcrum/contracts/live.js";

export interface Columns {
  readonly atMs: readonly number[];
  readonly of: (key: keyof SeriesPoint) => (number | null)[];
}

/** A gap of more than two steps gets a point without values, so that no line is drawn across it. */
export function columnsOf({ points, stepMs }: Series): Columns {
  const filled: SeriesPoint[] = [];
  for (const point of points) {
    const before = filled.at(-1);
    if (before && point.atMs - before.atMs > 2.5 * stepMs) filled.push(emptyAt(before.atMs + stepMs));
    filled.push(point);
  }
  return { atMs: filled.map(({ atMs }) => atMs), of: (key) => filled.map((point) => point[key]) };
}

function emptyAt(atMs: number): SeriesPoint {
  return {
    atMs,
    ttftMs: null,
    tpotMs: null,
    ttftP50Ms: null,
    tpotP50Ms: null,
    attainmentShare: null,
    arrivalPerS: null,
    promptTokensPerS: null,
    prefillWaiting: null,
    decodeRunning: null,
    kvUsedShare: null,
    kvQuotaPct: null,
    prefillSmPct: null,
    decodeSmPct: null,
    generation: null,
  };
}

/** What was asked at each of the times: the last change before it. */
export function askedAt(
  asked: Series["asked"],
  atMs: readonly number[],
  pick: (allocation: Series["asked"][number]["allocation"]) => number,
): (number | null)[] {
  const ascending = [...asked].sort((a, b) => a.fromMs - b.fromMs);
  return atMs.map((at) => {
    const found = ascending.findLast(({ fromMs }) => fromMs <= at);
    return found ? pick(found.allocation) : null;
  });
}

/**
 * A prediction holds from its decision on until the next one: put beside what was measured at the same times, no longer
 * than `holdMs`.
 */
export function predictedAt(
  predicted: Series["predicted"],
  atMs: readonly number[],
  key: "ttftMs" | "tpotMs",
  holdMs: number,
): (number | null)[] {
  const ascending = [...predicted].sort((a, b) => a.atMs - b.atMs);
  return atMs.map((at) => {
    const found = ascending.findLast((one) => one.atMs <= at);
    return found && at - found.atMs <= holdMs ? found[key] : null;
  });
}

/** Share of the measured points that lie above the bound; null where nothing was measured. */
export function shareAbove(values: readonly (number | null)[], bound: number): number | null {
  const seen = values.filter((value) => value !== null);
  return seen.length === 0 ? null : seen.filter((value) => value > bound).length / seen.length;
}

export function lastOf(values: readonly (number | null)[]): number | null {
  return values.findLast((value) => value !== null) ?? null;
}
