/**
 * Who goes first where an SLO has classes: the order. Splits are held against each other promise by promise, by how far
 * it is kept (min(1, share over what was promised), in the mean over the belief): those that fall behind the best in an
 * early promise are out, whatever they do for later ones. A sum with falling weights was not taken: a weight small enough
 * to keep the order makes the last class's whole promise less than the least gain that is worth a change.
 */
import { sameSplit } from "../allocation.js";
import type { Candidate, ClassShare } from "../decision.js";
import type { SloTarget, Split } from "../nouns.js";
import { promisesOf } from "../signal/classes.js";
import { meanOf } from "./search-prospect.js";
import type { Prospect, Sketch } from "./search-prospect.js";
import { distance } from "./search-words.js";

/** Promises that differ by less than this are alike: the nearer split is then the better known one. */
export const ALIKE_SHARE = 0.005;

/** Best first. Of those that are alike in every promise, the greater share of requests, and then the nearer one. */
export function inOrder<T extends Sketch>(list: readonly T[], current: Split, alike: number): T[] {
  const left = [...list];
  const ranked: T[] = [];
  while (left.length > 0) {
    const first = firstOf(left, current, alike);
    ranked.push(first);
    left.splice(left.indexOf(first), 1);
  }
  return ranked;
}

function firstOf<T extends Sketch>(list: readonly T[], current: Split, alike: number): T {
  let left = list;
  const promises = list[0]?.kept.length ?? 0;
  for (let k = 0; k < promises && left.length > 1; k++)
    left = within(left, alike, (each) => each.kept[k] ?? 0);
  left = within(left, ALIKE_SHARE, (each) => each.score);
  return left.reduce((near, each) =>
    distance(each.split, current) < distance(near.split, current) ? each : near,
  );
}

function within<T>(list: readonly T[], alike: number, of: (each: T) => number): readonly T[] {
  const best = Math.max(...list.map(of));
  return list.filter((each) => of(each) >= best - alike);
}

/**
 * What a split gains over another: in the first promise in which that is worth a change, if it loses in none before it;
 * else the most that it gains in any, or what it loses. Of a gain the mean over the belief, less `risk` of its deviation.
 */
export function gainInOrder(best: Prospect, now: Prospect, least: number, risk: number): number {
  if (sameSplit(best.split, now.split)) return 0;
  let most = 0;
  for (const [k, { kept }] of best.ofClasses.entries()) {
    const gains = kept.map((each, i) => each - (now.ofClasses[k]?.kept[i] ?? 0));
    const mean = meanOf(gains);
    if (mean < -ALIKE_SHARE) return most > 0 ? most : mean;
    const gain = mean - risk * Math.sqrt(meanOf(gains.map((each) => (each - mean) ** 2)));
    if (gain >= least) return gain;
    most = Math.max(most, gain);
  }
  return most;
}

export function keepsAll(prospect: Prospect, slo: SloTarget): boolean {
  if (prospect.ofClasses.length === 0) return prospect.share >= slo.attainmentShare;
  return promisesOf(slo).every(
    ({ attainmentShare }, i) => (prospect.ofClasses[i]?.share ?? 0) >= attainmentShare,
  );
}

/** For the decision's row; nothing where the SLO has no classes. */
export function promisedShares(prospect: Prospect, slo: SloTarget): Pick<Candidate, "classes"> {
  if (prospect.ofClasses.length === 0) return {};
  const classes = promisesOf(slo).map(({ name }, i): ClassShare => ({
    name,
    share: sixDigits(prospect.ofClasses[i]?.share ?? 0),
  }));
  return { classes };
}

/** More than was measured; a share that is none counts as 0. */
export function sixDigits(share: number): number {
  return Number.isFinite(share) ? Number(share.toPrecision(6)) : 0;
}
