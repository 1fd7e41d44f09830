/** Series as columns for the charts, and what a chart says in a sentence. Pure. */
import type { Series, SeriesPoint } from "@fulcrum/contracts/live.js";
import { clockText } from "../ui/format.js";

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

/** The bound in force at each of the times; before the first change that is known, that one. */
export function boundsAt(slos: Series["slos"], atMs: readonly number[], phase: "ttft" | "tpot"): number[] {
  return atMs.map((at) => (slos.findLast(({ fromMs }) => fromMs <= at) ?? slos[0]!).slo[phase].boundMs);
}

/** Share of the measured points that lie above the bound of their time; null where nothing was measured. */
export function shareAbove(values: readonly (number | null)[], bounds: readonly number[]): number | null {
  const seen = values.flatMap((value, index) => (value === null ? [] : [value > bounds[index]!]));
  return seen.length === 0 ? null : seen.filter(Boolean).length / seen.length;
}

export function lastOf(values: readonly (number | null)[]): number | null {
  return values.findLast((value) => value !== null) ?? null;
}

type Mark = Series["marks"][number];

/** The part of a time that lies in the range, as shares 0..1 of it; null: none of it does. An end that nobody has said lies beyond. */
export function placeOf(
  { atMs, endMs }: Pick<Mark, "atMs" | "endMs">,
  fromMs: number,
  toMs: number,
): { readonly from: number; readonly to: number } | null {
  const share = (ms: number) => Math.min(1, Math.max(0, (ms - fromMs) / (toMs - fromMs)));
  const untilMs = endMs ?? Infinity;
  return atMs > toMs || untilMs < fromMs ? null : { from: share(atMs), to: share(untilMs) };
}

/** `10:02:05 to 10:12:00 hold: …`; a hold that goes on says so. */
export function markWords({ atMs, endMs, kind, label }: Mark, toMs: number): string {
  if (kind !== "hold") return `${clockText(atMs)} ${kind}: ${label}`;
  const isOver = endMs !== null && endMs <= toMs;
  return `${isOver ? `${clockText(atMs)} to ${clockText(endMs)}` : `since ${clockText(atMs)}`} hold: ${label}`;
}
