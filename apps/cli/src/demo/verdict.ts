import { shareWords, trimmed } from "../text/words.js";
import type { LaneFigures } from "./figures.js";
import { SEARCH } from "./lanes.js";

/** Leads smaller than these are called none: a share of requests, and a share of the goodput. */
const LEAST_LEAD_SHARE = 0.01;
const LEAST_LEAD_GOODPUT = 0.02;
/** Unfinished requests, as a share of the arrived ones, that are worth a word. */
const BACKLOG_SHARE = 0.1;

type Run = Pick<LaneFigures, "name" | "attainmentShare" | "goodputPerS" | "requests">;
type Measured = Run & { readonly attainmentShare: number; readonly goodputPerS: number };

/**
 * Who did best by attainment and by goodput, whoever it is, and how far the search policy is before or behind;
 * says so when nobody clearly won.
 */
export function verdictOf(lanes: readonly Run[]): string {
  const measured = lanes.filter(
    (lane): lane is Measured => lane.attainmentShare !== null && lane.goodputPerS !== null,
  );
  if (measured.length < lanes.length || measured.length === 0) {
    return "No verdict: not every engine finished a request.";
  }
  const byShare = measured.toSorted((a, b) => b.attainmentShare - a.attainmentShare);
  const byGoodput = measured.toSorted((a, b) => b.goodputPerS - a.goodputPerS);
  const shares = byShare.map((lane) => `${lane.name} ${shareWords(lane.attainmentShare)}`).join(", ");
  const rates = byGoodput.map((lane) => `${lane.name} ${lane.goodputPerS.toFixed(2)}/s`).join(", ");
  const bestShare = leader(byShare, (a, b) => a.attainmentShare - b.attainmentShare >= LEAST_LEAD_SHARE);
  const bestGoodput = leader(byGoodput, (a, b) => a.goodputPerS >= b.goodputPerS * (1 + LEAST_LEAD_GOODPUT));
  const figures = `Within both bounds: ${shares}. Goodput: ${rates}.`;
  return [headline(bestShare, bestGoodput), figures, ...searchLine(byShare), ...backlog(measured)].join(" ");
}

function headline(bestShare: string | null, bestGoodput: string | null): string {
  if (bestShare !== null && bestShare === bestGoodput) return `${bestShare} did best.`;
  if (bestShare !== null && bestGoodput !== null) {
    return `${bestShare} kept the largest share of requests within both bounds, ${bestGoodput} served the most of them.`;
  }
  if (bestShare !== null) return `${bestShare} kept the largest share of requests within both bounds.`;
  if (bestGoodput !== null) return `${bestGoodput} served the most requests within both bounds.`;
  return "No clear winner: the best two are too close to tell apart.";
}

/** The search policy against the best of the others; nothing where it did not run. */
function searchLine(byShare: readonly Measured[]): string[] {
  const search = byShare.find(({ name }) => name === SEARCH);
  const rival = byShare.find(({ name }) => name !== SEARCH);
  if (search === undefined || rival === undefined) return [];
  const lead = search.attainmentShare - rival.attainmentShare;
  const points = `${trimmed(Math.abs(lead) * 100, 1)} points of attainment`;
  if (lead >= LEAST_LEAD_SHARE) return [`${SEARCH} leads ${rival.name} by ${points}.`];
  if (lead <= -LEAST_LEAD_SHARE) return [`${SEARCH} did not win: it is ${points} behind ${rival.name}.`];
  return [`${SEARCH} did not win: ${rival.name} is as good, ${points} apart.`];
}

/** The name of the first when it is clearly before the second. */
function leader<T extends { name: string }>(
  sorted: readonly T[],
  clearly: (a: T, b: T) => boolean,
): string | null {
  const [first, second] = sorted;
  if (first === undefined) return null;
  return second === undefined || clearly(first, second) ? first.name : null;
}

function backlog(lanes: readonly Run[]): string[] {
  const late = lanes.filter(({ requests }) => requests.unfinished > requests.arrived * BACKLOG_SHARE);
  if (late.length === 0) return [];
  const each = late.map(({ name, requests }) => `${name} ${requests.unfinished} of ${requests.arrived}`);
  return [`Not finished at the end, and in no share above: ${each.join(", ")}.`];
}
