/**
 * Error budgets and how fast they are spent, after chapter 5 of the SRE workbook ("Alerting on SLOs", multiwindow,
 * multi-burn-rate alerts): a rate of 1 spends the budget in exactly its days.
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Requests are counted in buckets of this length; each is named by its beginning, a multiple of it. */
export const BUCKET_MS = 5 * MINUTE_MS;

export type BurnName = "burn_1h" | "burn_6h" | "burn_3d";
export type Severity = "page" | "ticket";

/** Fires when the budget burns so fast over the long window that `spentShare` of it goes, and still does over the short one. */
export interface BurnPair {
  readonly name: BurnName;
  readonly severity: Severity;
  readonly longMs: number;
  readonly shortMs: number;
  /** Of the whole budget, spent within the long window. */
  readonly spentShare: number;
}

/** The workbook's pairs; over 30 days their thresholds are its 14.4, 6 and 1. */
export const BURN_PAIRS: readonly BurnPair[] = [
  { name: "burn_1h", severity: "page", longMs: HOUR_MS, shortMs: 5 * MINUTE_MS, spentShare: 0.02 },
  { name: "burn_6h", severity: "page", longMs: 6 * HOUR_MS, shortMs: 30 * MINUTE_MS, spentShare: 0.05 },
  { name: "burn_3d", severity: "ticket", longMs: 3 * DAY_MS, shortMs: 6 * HOUR_MS, spentShare: 0.1 },
];

/** With fewer requests in the short window nothing is said: one late request of five would be a fifth. */
export const LEAST_REQUESTS = 30;
/** A promise of 100 % leaves nothing to spend; it is counted as 99.9999 %, so that rates stay numbers. */
const LEAST_ALLOWANCE = 1e-6;
/** A threshold never lies further from 1 to the greatest rate there can be than this: there 4 of 5 could still be missed. */
const HIGHEST_REACH_SHARE = 0.8;

export interface Count {
  /** That finished. */
  readonly requests: number;
  /** Of those, within both bounds; a sum of shares and so no whole number. */
  readonly within: number;
}

export interface Threshold {
  readonly rate: number;
  /** What the pair asks for, where the promise cannot be missed by so much; null: it is that. */
  readonly loweredFrom: number | null;
}

export interface Burn extends BurnPair {
  /** null: without requests. */
  readonly longRate: number | null;
  readonly shortRate: number | null;
  readonly shortRequests: number;
  readonly threshold: number;
  readonly loweredFrom: number | null;
  readonly firing: boolean;
  readonly message: string;
}

/** The share of requests that may miss. */
function allowance(target: number): number {
  return Math.max(LEAST_ALLOWANCE, 1 - target);
}

/** How many times faster than allowed; null without requests. */
export function burnRate({ requests, within }: Count, target: number): number | null {
  if (!(requests > 0)) return null;
  return Math.max(0, requests - within) / requests / allowance(target);
}

/** Share of the budget of these requests that is spent: above 1 the promise is broken; 0 without requests. */
export function spentShare(count: Count, target: number): number {
  return burnRate(count, target) ?? 0;
}

/** The pairs that say something of a budget of so many days: those whose long window is shorter. */
export function pairsFor(days: number): readonly BurnPair[] {
  return BURN_PAIRS.filter(({ longMs }) => longMs < days * DAY_MS);
}

/**
 * The rate that spends the pair's share within its long window, and at least 1, since a slower one keeps the promise.
 * All missed is a rate of 1 / (1 - target): a threshold beyond 0.8 of the way from 1 to there is brought down to that.
 */
export function thresholdOf(pair: BurnPair, days: number, target: number): Threshold {
  const asked = Math.max(1, (pair.spentShare * days * DAY_MS) / pair.longMs);
  const highest = 1 + HIGHEST_REACH_SHARE * (1 / allowance(target) - 1);
  return asked > highest ? { rate: highest, loweredFrom: asked } : { rate: asked, loweredFrom: null };
}

/** What a pair says of what its two windows counted. */
export function burnOf(pair: BurnPair, long: Count, short: Count, days: number, target: number): Burn {
  const { rate: threshold, loweredFrom } = thresholdOf(pair, days, target);
  const longRate = burnRate(long, target);
  const shortRate = burnRate(short, target);
  const enough = short.requests >= LEAST_REQUESTS;
  const over = (rate: number | null) => rate !== null && rate >= threshold;
  const firing = enough && over(longRate) && over(shortRate);
  const shortRequests = short.requests;
  const found = { ...pair, longRate, shortRate, shortRequests, threshold, loweredFrom, firing };
  return { ...found, message: burnWords(found, enough, target) };
}

function burnWords(burn: Omit<Burn, "message">, enough: boolean, target: number): string {
  const { longMs, shortMs, longRate, shortRate, threshold, loweredFrom, firing, shortRequests } = burn;
  const [long, short] = [spanWords(longMs), spanWords(shortMs)];
  const lowered =
    loweredFrom === null
      ? ""
      : ` The threshold would be ${times(loweredFrom)}; a promise of ${percent(target)} can burn at most ${times(1 / allowance(target))}.`;
  if (!enough)
    return `${Math.round(shortRequests)} requests in the last ${short} are too few to tell; ${LEAST_REQUESTS} are needed.${lowered}`;
  const rates = `${times(longRate ?? 0)} over ${long} and ${times(shortRate ?? 0)} over ${short}`;
  const verdict = firing ? "both at or above" : "not both at or above";
  return `The budget burns ${rates}, ${verdict} ${times(threshold)}.${lowered}`;
}

function times(rate: number): string {
  return `${rate >= 100 ? Math.round(rate) : Number(rate.toPrecision(3))}x`;
}

function percent(share: number): string {
  return `${Number((share * 100).toPrecision(6))} %`;
}

/** `5 min`, `6 h`, `3 d`. */
export function spanWords(ms: number): string {
  if (ms % DAY_MS === 0) return `${ms / DAY_MS} d`;
  return ms % HOUR_MS === 0 ? `${ms / HOUR_MS} h` : `${ms / MINUTE_MS} min`;
}
