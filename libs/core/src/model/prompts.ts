/** A few prompt lengths with their shares, in place of a distribution of which only moments and the longest are told. */
import { betaBelow } from "./beta.js";

export interface PromptClass {
  readonly tokens: number;
  /** Of all prompts; the classes' shares add up to 1. */
  readonly share: number;
}

/** Edges of the classes as shares of the longest prompt: finer below, where most prompts are. */
const EDGES: readonly number[] = [0, 0.05, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

/** A prompt further out than this many standard deviations stands for no share that counts, only for a mad length. */
const MOST_DEVIATIONS = 10;
/** Less of a deviation than this, as a share of the mean: all prompts are alike. */
const LEAST_SD = 0.01;
/** The two extremes alone have the greatest variance that a mean allows; a beta distribution needs a little less. */
const MOST_OF_VARIANCE = 0.98;

/**
 * Prompts, ascending. Real prompts have a limit, and many of them sit there or near nothing: a beta distribution
 * between 0 and the longest, by its two moments, puts 5.5 % of ShareGPT's above 1,500 tokens where 5.1 % are; a
 * lognormal one 2.4 %. Without a longest one (0) it is lognormal, cut at four means.
 */
export function promptClasses(mean: number, meanSq: number, longest: number): readonly PromptClass[] {
  if (!(longest > 0)) return lognormal(mean, meanSq);
  const sd = Math.sqrt(Math.max(0, meanSq - mean ** 2));
  const most = Math.max(mean, Math.min(longest, mean + MOST_DEVIATIONS * sd));
  const centre = Math.min(0.999, mean / most);
  const variance = Math.min(MOST_OF_VARIANCE * centre * (1 - centre), (sd / most) ** 2);
  if (sd < LEAST_SD * mean || centre >= 0.999) return [{ tokens: mean, share: 1 }];
  const size = (centre * (1 - centre)) / variance - 1;
  const a = centre * size;
  const b = (1 - centre) * size;
  const found: PromptClass[] = [];
  let before = { mass: 0, moment: 0 };
  for (const edge of EDGES.slice(1)) {
    const below = betaBelow(edge, a, b);
    const share = below.mass - before.mass;
    if (share > 1e-6) found.push({ tokens: ((below.moment - before.moment) / share) * most, share });
    before = below;
  }
  return found;
}

/** Normal deviates that stand for a distribution, the tail finer, and their shares. */
const DEVIATES: readonly (readonly [deviate: number, share: number])[] = [
  [-1.15, 0.25],
  [-0.32, 0.25],
  [0.25, 0.2],
  [0.76, 0.15],
  [1.28, 0.08],
  [1.75, 0.04],
  [2.17, 0.02],
  [2.75, 0.01],
];

function lognormal(mean: number, meanSq: number): readonly PromptClass[] {
  const variance = Math.log(Math.max(1, meanSq / mean ** 2));
  const median = Math.log(mean) - variance / 2;
  return DEVIATES.map(([deviate, share]) => ({
    tokens: Math.min(4 * mean, Math.exp(median + Math.sqrt(variance) * deviate)),
    share,
  }));
}
