/**
 * How the instances of a canary do beside the rest: the difference of their attainment over the same blocks of time, less
 * the same difference when all were treated alike, with an interval. Pure.
 *
 * Blocks that follow each other are alike (a queue wanders for minutes), so the error of their mean is not that of as many
 * independent ones. It is taken from the slowest few cosines of the series (equal-weighted cosine estimator: Lazarus,
 * Lewis, Stock and Watson 2018, "HAR Inference"), which with B of them makes the mean Student-distributed with B degrees of
 * freedom, and is no less than what a series with the first autocorrelation measured would have.
 */
import { tidy } from "../allocation.js";
import { LEAST_CLUMPING } from "./attainment.js";

export type CanaryVerdict = "better" | "worse" | "no_difference" | "cannot_tell";

/** What one part served in a block: requests, and the share of them within both bounds. */
export interface Part {
  readonly requests: number;
  readonly attainmentShare: number;
}

/** One block of time in which the rest served requests; null: the canary served none. */
export interface Seen {
  readonly canary: Part | null;
  readonly rest: Part;
}

/** One in which both did. */
export interface Block extends Seen {
  readonly canary: Part;
}

/** What came of the canary beside what it served. */
export interface Treatment {
  /** Changes that the policy has made on its instances since it began. */
  readonly moves: number;
  /** Blocks that are left out: all of its instances were held. */
  readonly heldBlocks: number;
}

export interface CanaryFinding {
  readonly verdict: CanaryVerdict;
  readonly blocks: number;
  /** Those in which the canary served nothing, though it would have by what the rest served. */
  readonly silentBlocks: number;
  /** The difference before, and over how many blocks; null: too little is known of it to take it off. */
  readonly before: { readonly diff: number; readonly blocks: number } | null;
  readonly diffShare: number | null;
  readonly lowShare: number | null;
  readonly highShare: number | null;
  /** Plain sentences with the numbers. */
  readonly message: string;
}

/** Fewer blocks than this tell nothing, nor do more that are worth fewer independent ones than LEAST_INDEPENDENT. */
export const LEAST_BLOCKS = 30;
const LEAST_INDEPENDENT = 10;
export const CONFIDENCE = 0.95;
/** An interval that lies within so much of zero says that there is no difference worth a word. */
const SAME_WITHIN_SHARE = 0.02;
const MOST_COSINES = 12;
/** By chance a part that is sent so many requests a block on average has none in 0.7 % of them (Poisson). */
const LEAST_EXPECTED = 5;
/** A canary that was silent in more of its time than this, or in the newest blocks, is not known by what it served. */
const MOST_SILENT_SHARE = 0.05;
const NEWEST_BLOCKS = 5;

/** Student's t, two-sided 95 %, by degrees of freedom: 4 (the least that are used) to 24 (two times twelve). */
const T_95 = [
  2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093,
  2.086, 2.08, 2.074, 2.069, 2.064,
];
const LEAST_FREEDOM = 4;

/**
 * Blocks oldest first; `before` are those in which all instances were treated alike. Of a canary that served nothing for a
 * part of its time, or on which nothing was moved, no good is said, however those blocks look in which both served.
 */
export function judgeCanary(
  before: readonly Block[],
  during: readonly Seen[],
  { moves, heldBlocks }: Treatment,
): CanaryFinding {
  const served = during.filter(isBlock);
  const { head, words, ...found } = compare(before, served);
  const silent = silentIn(before, during);
  const silentBlocks = silent.filter(Boolean).length;
  const newest = silent.slice(-NEWEST_BLOCKS);
  const stopped = newest.length === NEWEST_BLOCKS && newest.every(Boolean);
  const reservations = [
    ...(stopped || silentBlocks > MOST_SILENT_SHARE * (silentBlocks + served.length)
      ? [`The canary served nothing in ${silentBlocks} of ${silentBlocks + served.length} blocks of time`]
      : []),
    ...(moves === 0 ? ["The policy has moved none of its instances since it began"] : []),
  ];
  const good = found.verdict === "better" || found.verdict === "no_difference";
  const sentences = [
    ...(good && reservations.length > 0
      ? ["Cannot tell", ...reservations, `Over the blocks in which both parts served: ${words}`]
      : [`${head}: ${words}`, ...reservations]),
    ...(heldBlocks > 0 ? [`${heldBlocks} blocks in which all of its instances were held are left out`] : []),
  ];
  return {
    ...found,
    verdict: good && reservations.length > 0 ? "cannot_tell" : found.verdict,
    silentBlocks,
    message: sentences.map((sentence) => `${sentence}.`).join(" "),
  };
}

function isBlock(seen: Seen): seen is Block {
  return seen.canary !== null;
}

/** Which blocks the canary was silent in, by its usual requests beside those of the rest. */
function silentIn(before: readonly Block[], during: readonly Seen[]): boolean[] {
  const both = [...before, ...during.filter(isBlock)];
  const rest = sumOf(both.map((block) => block.rest.requests));
  // One that has never served beside the rest: that it did not is all that is known.
  const usual = rest > 0 ? sumOf(both.map(({ canary }) => canary.requests)) / rest : Infinity;
  return during.map((seen) => seen.canary === null && seen.rest.requests * usual >= LEAST_EXPECTED);
}

type Compared = Omit<CanaryFinding, "silentBlocks" | "message"> & {
  readonly head: string;
  /** Without a full stop. */
  readonly words: string;
};

function compare(before: readonly Block[], during: readonly Block[]): Compared {
  const blocks = during.length;
  const nothing = { blocks, before: null, diffShare: null, lowShare: null, highShare: null };
  if (blocks < LEAST_BLOCKS) {
    const words = `${blocks} of the ${LEAST_BLOCKS} blocks of time that are needed, in which both parts served requests`;
    return { ...nothing, verdict: "cannot_tell", head: NOT_YET, words };
  }
  const now = meanOf(during);
  // However little its blocks tell: its error is taken along, and a lasting difference would else be taken for an effect.
  const known = before.length < LEAST_BLOCKS ? null : meanOf(before);
  const diffShare = now.mean - (known?.mean ?? 0);
  const measured = {
    blocks,
    before: known && { diff: known.mean, blocks: before.length },
    diffShare,
  };
  const seen = `${attainmentWords(during)} within both bounds over ${blocks} blocks`;
  if (now.independent < LEAST_INDEPENDENT) {
    const worth = `blocks that follow each other are so alike that they are worth ${Math.floor(now.independent)}, and ${LEAST_INDEPENDENT} are needed`;
    return { ...nothing, ...measured, verdict: "cannot_tell", head: NOT_YET, words: `${seen}; ${worth}` };
  }
  const { error, freedom } = both(now, known);
  const half = studentOf(freedom) * error;
  const [lowShare, highShare] = [diffShare - half, diffShare + half];
  const verdict = verdictOf(lowShare, highShare);
  const interval = `${signed(diffShare)} points (95 %: ${signed(lowShare)} to ${signed(highShare)})`;
  const words = `${interval}; ${seen}${beforeWords(known)}`;
  return { ...measured, verdict, lowShare, highShare, head: HEADS[verdict], words };
}

function verdictOf(low: number, high: number): CanaryVerdict {
  if (low > 0) return "better";
  if (high < 0) return "worse";
  return low >= -SAME_WITHIN_SHARE && high <= SAME_WITHIN_SHARE ? "no_difference" : "cannot_tell";
}

const NOT_YET = "Cannot tell yet";
const HEADS: Readonly<Record<CanaryVerdict, string>> = {
  better: "The canary does better",
  worse: "The canary does worse",
  no_difference: "No difference worth a word",
  cannot_tell: "Cannot tell: the difference may be chance",
};

interface Mean {
  readonly mean: number;
  readonly error: number;
  readonly freedom: number;
  /** As many independent blocks would tell as much. */
  readonly independent: number;
}

/** The mean difference; a block counts as far as requests of both parts tell of it. */
function meanOf(blocks: readonly Block[]): Mean {
  const n = blocks.length;
  const weights = blocks.map(
    ({ canary, rest }) => (canary.requests * rest.requests) / (canary.requests + rest.requests),
  );
  const total = sumOf(weights);
  const differences = blocks.map(({ canary, rest }) => canary.attainmentShare - rest.attainmentShare);
  const mean = sumOf(differences.map((difference, t) => difference * weights[t]!)) / total;
  const around = differences.map((difference, t) => ((difference - mean) * weights[t]! * n) / total);
  const variance = sumOf(around.map((value) => value ** 2)) / (n - 1);
  const likeness = likenessOf(around);
  const stretch = (1 + likeness) / (1 - likeness);
  const freedom = Math.min(MOST_COSINES, Math.max(LEAST_FREEDOM, Math.round(0.9 * Math.cbrt(n))));
  const error = Math.sqrt(
    Math.max(slowVariance(around, freedom), variance * stretch, leastVariance(blocks) * n) / n,
  );
  return { mean, error, freedom, independent: n / stretch };
}

/** Long-run variance of a series around 0, from its slowest cosines. */
function slowVariance(around: readonly number[], cosines: number): number {
  const n = around.length;
  let sum = 0;
  for (let j = 1; j <= cosines; j++) {
    const along = sumOf(around.map((value, t) => value * Math.cos((Math.PI * j * (t + 0.5)) / n)));
    sum += (2 / n) * along ** 2;
  }
  return sum / cosines;
}

/** First autocorrelation, 0 to 0.99; a short series shows it too low by (1 + 4r)/n (Marriott and Pope 1954). */
function likenessOf(around: readonly number[]): number {
  const n = around.length;
  const variance = sumOf(around.map((value) => value ** 2));
  if (variance === 0) return 0;
  const lagged = sumOf(around.slice(1).map((value, t) => value * around[t]!)) / variance;
  return Math.min(0.99, Math.max(0, lagged + (1 + 4 * lagged) / n));
}

/** Of the mean: as if requests were late in the usual clumps. What was all within in every block is not known for ever. */
function leastVariance(blocks: readonly Block[]): number {
  const of = (part: (block: Block) => Part) => {
    const requests = sumOf(blocks.map((block) => part(block).requests)) / LEAST_CLUMPING;
    const share = (totalShare(blocks, part) * requests + 2) / (requests + 4);
    return (share * (1 - share)) / (requests + 4);
  };
  return of(({ canary }) => canary) + of(({ rest }) => rest);
}

/** The error of the difference of the two means (Welch and Satterthwaite). */
function both(now: Mean, before: Mean | null): Pick<Mean, "error" | "freedom"> {
  if (before === null) return now;
  const [a, b] = [now.error ** 2, before.error ** 2];
  return {
    error: Math.sqrt(a + b),
    freedom: (a + b) ** 2 / (a ** 2 / now.freedom + b ** 2 / before.freedom),
  };
}

function studentOf(freedom: number): number {
  const index = Math.min(T_95.length - 1, Math.max(0, Math.floor(freedom + 1e-9) - LEAST_FREEDOM));
  return T_95[index]!;
}

function totalShare(blocks: readonly Block[], part: (block: Block) => Part): number {
  const requests = sumOf(blocks.map((block) => part(block).requests));
  return sumOf(blocks.map((block) => part(block).requests * part(block).attainmentShare)) / requests;
}

function attainmentWords(blocks: readonly Block[]): string {
  const share = (part: (block: Block) => Part) => `${points(totalShare(blocks, part))} %`;
  return `${share(({ canary }) => canary)} of its requests and ${share(({ rest }) => rest)} of the rest's were`;
}

function beforeWords(before: Mean | null): string {
  if (before === null)
    return "; how the two differed before is not known, so a lasting difference between instances counts in";
  return `; before, when all were treated alike, they differed by ${signed(before.mean)} points, which is taken off`;
}

function signed(share: number): string {
  return `${share > 0 ? "+" : ""}${points(share)}`;
}

function points(share: number): string {
  return tidy(Math.round(share * 1000) / 10);
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
