/**
 * The search policy: the split with the greatest expected share of requests within both bounds, by a queueing
 * model of the two workers whose numbers are learnt online (model/plant-params.ts), at the load that comes in now
 * (model/demand.ts). A split is left only for a gain that is worth its price, and an uncertain prediction is
 * scored by what is to be expected over all that is still believed possible: a far and unknown split must promise
 * more than a near and measured one.
 */
import type { Candidate, HoldReason, SearchParams, SearchPart, Snapshot } from "../decision.js";
import { sameSplit, tidy } from "../allocation.js";
import type { Split } from "../nouns.js";
import { hasClasses } from "../signal/classes.js";
import type { PolicyOutcome } from "./outcome.js";
import { candidateSplits, neighbours, openSplit } from "./search-candidates.js";
import { MOST_REGRET } from "./search-memory.js";
import type { SearchMemory } from "./search-memory.js";
import type { SearchModel } from "./search-model.js";
import { searchQuota } from "./search-quota.js";
import { ALIKE_SHARE, gainInOrder, inOrder, keepsAll, promisedShares, sixDigits } from "./search-classes.js";
import { meanOf } from "./search-prospect.js";
import type { Prospect, Sketch } from "./search-prospect.js";
import { distance, sentence } from "./search-words.js";

/**
 * Staying costs what a better split is believed to gain, second by second; a change is made once that has come to as
 * much as a change costs: all requests of this many seconds (a ski rental). A gain of 30 points is taken at the first
 * sight, one of 1 point under a new load after a quarter of a minute, and what chance shows for one window is forgotten in the next.
 */
const CHANGE_COST_S = 0.1;
/** Each move raises that cost by as much again, less as it ages: a first guess may be mended once it was measured. */
const PRICE_TAU_MS = 150_000;
/** Gains under the least worth a change count as a loss; that least grows this many times while a load stays steady. */
const STEADY_PRICE = 6;
const STEADY_S = 300;
/** One window tells no more than this much regret, however long it was. */
const LONGEST_SIGHT_S = 60;

/** Splits that a decision's row shows. */
const SHOWN = 8;

export interface SearchOutcome {
  readonly outcome: PolicyOutcome;
  readonly memory: SearchMemory;
}

export function searchPolicy(
  snapshot: Snapshot,
  params: SearchParams,
  model: SearchModel,
  nowMs: number,
): SearchOutcome {
  const seenNow = model.prospectOf(snapshot.current.split);
  const retreat = retreatOf(snapshot, model);
  if (retreat !== null) return { outcome: retreat, memory: model.memory };
  const least = leastGain(params, model);
  const { ranked, now, gain } = found(snapshot, model, seenNow, least);
  const best = ranked[0] ?? now;
  const better = !sameSplit(best.split, now.split) && isIdentified(now);
  const worthIt = better && gain >= least;
  const regret = regretAfter(snapshot, model, (better ? gain : 0) - least);
  const moves =
    worthIt && (isLeftOut(params, "patience") || regret >= changeCost(snapshot, params, model, best, nowMs));
  const forSplit: PolicyOutcome = {
    reason: moves ? "BETTER_SPLIT" : worthIt ? "WATCHING" : holdReason(gain, now, best),
    wanted: { split: moves ? best.split : now.split, kvQuotaPct: snapshot.current.kvQuotaPct },
    candidates: shown(ranked, now, moves ? best : now, { snapshot, model }),
    why: sentence(now, best, { gain, least, watching: worthIt && !moves, slo: snapshot.slo }),
  };
  return {
    outcome: params.moveKvQuota ? withQuota(forSplit, moves, snapshot, model, now) : forSplit,
    memory: { ...model.memory, regret: moves ? 0 : regret },
  };
}

/** `net`: what a better split is believed to gain beyond the least that is worth a change. */
function regretAfter(snapshot: Snapshot, model: SearchModel, net: number): number {
  const sightS = Math.min(LONGEST_SIGHT_S, (snapshot.latest?.durationMs ?? 0) / 1000);
  return Math.min(MOST_REGRET, Math.max(0, model.memory.regret + net * sightS));
}

function isLeftOut(params: SearchParams, part: SearchPart): boolean {
  return params.without?.includes(part) ?? false;
}

/** So long a load must have been steady before a split is chosen for it by latencies alone. */
const BLIND_STEADY_S = 60;
/** And so many times more it must gain. */
const BLIND_PRICE = 5;

/**
 * An engine that tells nothing of its workers' iterations shows a new kind of load only in the latencies of what has
 * finished, too late to choose a split for it: the caps are opened until the load has been steady for a minute.
 */
function retreatOf(snapshot: Snapshot, model: SearchModel): PolicyOutcome | null {
  const { steadyS } = model.memory.demand;
  if (model.memory.told || steadyS >= BLIND_STEADY_S) return null;
  const open = openSplit(snapshot.limits);
  const { split, kvQuotaPct } = snapshot.current;
  const why = `The engine does not tell what its workers do, and this load is ${tidy(Math.round(steadyS))} s old`;
  const moves = !sameSplit(open, split) && model.memory.learntS > BLIND_STEADY_S;
  return {
    reason: moves ? "LOAD_CHANGED" : "CANNOT_TELL",
    wanted: { split: moves ? open : split, kvQuotaPct },
    candidates: [],
    why,
  };
}

/** A phase whose time at the present split is known no better than by a factor of 1.6 is not known: nothing is moved. */
const IDENTIFIED_SD = 0.5;

function isIdentified(now: Prospect): boolean {
  return now.prefillDoubt < IDENTIFIED_SD && now.decodeDoubt < IDENTIFIED_SD;
}

function withQuota(
  outcome: PolicyOutcome,
  moves: boolean,
  snapshot: Snapshot,
  model: SearchModel,
  now: Prospect,
): PolicyOutcome {
  const quota = searchQuota(snapshot, model, now);
  const before = snapshot.current.kvQuotaPct;
  if (quota === null || quota.quotaPct === before) return outcome;
  const ofQuota = quota.quotaPct < before ? "KV_PRESSURE" : "KV_RELIEF";
  return {
    ...outcome,
    reason: moves ? outcome.reason : ofQuota,
    wanted: { ...outcome.wanted, kvQuotaPct: quota.quotaPct },
    why: `${outcome.why}; ${quota.why}`,
  };
}

/** What is gained in the mean, less a part of how far that mean may be off. */
const RISK = 0.15;

function gainOf(best: Prospect, now: Prospect): number {
  const gains = best.scores.map((score, i) => score - (now.scores[i] ?? 0));
  const mean = meanOf(gains);
  return mean - RISK * Math.sqrt(meanOf(gains.map((gain) => (gain - mean) ** 2)));
}

/** Of the coarse net, and of the neighbours of its best, so many are weighed in full. */
const COARSE = 3;
const FINE = 1;

/** Where no split promises more than this, as under a TPOT bound that none keeps, first tokens in time count by themselves. */
const HOPELESS_SHARE = 0.03;
const FIRST_TOKENS = 0.05;

function forFirstTokens(
  ranked: readonly Prospect[],
  now: Prospect,
  byPromise: (a: Sketch, b: Sketch) => number,
): { readonly ranked: readonly Prospect[]; readonly now: Prospect } {
  if ([...ranked, now].some(({ share }) => share > HOPELESS_SHARE)) return { ranked, now };
  const credited = (prospect: Prospect): Prospect => {
    const credit = FIRST_TOKENS * prospect.inTime;
    return {
      ...prospect,
      score: prospect.score + credit,
      scores: prospect.scores.map((score) => score + credit),
    };
  };
  return { ranked: ranked.map(credited).sort(byPromise), now: credited(now) };
}

interface Found {
  /** What was weighed in full, best first. */
  readonly ranked: readonly Prospect[];
  readonly now: Prospect;
  /** Of the best over the present split. */
  readonly gain: number;
}

function found(snapshot: Snapshot, model: SearchModel, seenNow: Prospect, least: number): Found {
  return hasClasses(snapshot.slo)
    ? amongClasses(snapshot, model, seenNow, least)
    : amongAll(snapshot, model, seenNow);
}

/** Without classes: the greater share of requests within both bounds. */
function amongAll(snapshot: Snapshot, model: SearchModel, seenNow: Prospect): Found {
  const byPromise = byPromiseFrom(snapshot.current.split);
  const weighed = weigh(snapshot, model, (list) => [...list].sort(byPromise));
  const { ranked, now } = forFirstTokens(weighed, seenNow, byPromise);
  return { ranked, now, gain: gainOf(ranked[0] ?? now, now) };
}

/**
 * With classes: the order of the promises. A gain in an early one that is not worth a change must not hide a greater gain
 * in a later one: then those that differ by less than what is worth a change count as alike.
 */
function amongClasses(snapshot: Snapshot, model: SearchModel, now: Prospect, least: number): Found {
  const { split } = snapshot.current;
  const rank =
    (alike: number) =>
    <T extends Sketch>(list: readonly T[]): T[] =>
      inOrder(list, split, alike);
  const weighed = weigh(snapshot, model, rank(ALIKE_SHARE));
  const all = weighed.some((each) => sameSplit(each.split, now.split)) ? weighed : [...weighed, now];
  const strict = rank(ALIKE_SHARE)(all);
  const gain = gainInOrder(strict[0] ?? now, now, least, RISK);
  if (gain >= least) return { ranked: strict, now, gain };
  const loose = rank(Math.max(ALIKE_SHARE, least))(all);
  const looseGain = gainInOrder(loose[0] ?? now, now, least, RISK);
  return looseGain > gain ? { ranked: loose, now, gain: looseGain } : { ranked: strict, now, gain };
}

/** The greater promise first; of those that are alike the nearer. */
function byPromiseFrom(current: Split): (a: Sketch, b: Sketch) => number {
  return (a, b) =>
    Math.round(b.score / ALIKE_SHARE) - Math.round(a.score / ALIKE_SHARE) ||
    distance(a.split, current) - distance(b.split, current);
}

/** What was weighed in full, best first. */
function weigh(
  snapshot: Snapshot,
  model: SearchModel,
  rank: <T extends Sketch>(list: readonly T[]) => T[],
): Prospect[] {
  const { limits } = snapshot;
  const best = (splits: readonly Split[], most: number) =>
    rank(splits.map(model.sketchOf))
      .slice(0, most)
      .map(({ split }) => model.prospectOf(split));
  // The open caps are always weighed: what the sketches pass over must not be worse than doing nothing.
  const coarse = rank([...best(candidateSplits(limits), COARSE), model.prospectOf(openSplit(limits))]);
  const first = coarse[0];
  const fine = first === undefined ? [] : best(neighbours(first.split, limits), FINE);
  const others = fine.filter(({ split }) => !coarse.some((known) => sameSplit(known.split, split)));
  return rank([...coarse, ...others]);
}

/** The least that a change must promise, as a share of requests. */
function leastGain(params: SearchParams, model: SearchModel): number {
  const { told, demand } = model.memory;
  const steady = isLeftOut(params, "price")
    ? 0
    : (1 - model.demand.drifting) * Math.min(1, demand.steadyS / STEADY_S);
  return params.minGainShare * (told ? 1 : BLIND_PRICE) * (1 + STEADY_PRICE * steady);
}

/** Share-seconds of requests that staying must have missed before a change is made; a restart loses all that the best split would have kept. */
function changeCost(
  snapshot: Snapshot,
  params: SearchParams,
  model: SearchModel,
  best: Prospect,
  nowMs: number,
): number {
  const steadySinceMs = nowMs - 1000 * model.memory.demand.steadyS;
  let recent = 0;
  for (const { atMs } of snapshot.recentMoves) {
    if (atMs >= steadySinceMs) recent += Math.exp(-(nowMs - atMs) / PRICE_TAU_MS);
  }
  const stopped = ((snapshot.downtimeMs ?? 0) / 1000) * best.share;
  return Math.min(MOST_REGRET, CHANGE_COST_S * (1 + (isLeftOut(params, "price") ? 0 : recent)) + stopped);
}

function holdReason(gain: number, now: Prospect, best: Prospect): HoldReason {
  if (!isIdentified(now)) return "CANNOT_TELL";
  if (gain <= 0) return "BEST_KNOWN";
  const unsure = Math.max(best.prefillDoubt, best.decodeDoubt) > 0.3;
  return unsure && now.share < 0.9 ? "CANNOT_TELL" : "NOT_WORTH_IT";
}

/** The best that were weighed, each split once, and the present one. */
function shown(ranked: readonly Prospect[], now: Prospect, chosen: Prospect, given: Shown): Candidate[] {
  const { snapshot, model } = given;
  const once = ranked.filter((p, i) => ranked.findIndex((other) => sameSplit(other.split, p.split)) === i);
  const best = once.slice(0, SHOWN);
  const all = best.some((p) => sameSplit(p.split, now.split)) ? best : [...best, now];
  return all.map((prospect) => ({
    allocation: { split: prospect.split, kvQuotaPct: snapshot.current.kvQuotaPct },
    ...model.latenciesOf(prospect),
    verdict: sameSplit(prospect.split, chosen.split) ? "chosen" : verdictOf(prospect, snapshot),
    share: sixDigits(prospect.share),
    ...promisedShares(prospect, snapshot.slo),
  }));
}

interface Shown {
  readonly snapshot: Snapshot;
  readonly model: SearchModel;
}

function verdictOf(prospect: Prospect, snapshot: Snapshot): Candidate["verdict"] {
  if (prospect.state.utilisation >= 1) return "unstable";
  return keepsAll(prospect, snapshot.slo) ? "meets" : "misses";
}
