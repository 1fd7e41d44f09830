/** How much more load an instance could carry at the best split, by what the search policy has learnt of it. */
import type { PolicyState, SearchPrior } from "../decision.js";
import { demandOf } from "../model/demand.js";
import type { Demand } from "../model/demand.js";
import { GENERIC_PRIOR, priorBelief } from "../model/plant-params.js";
import type { Limits, SloTarget, Split } from "../nouns.js";
import { candidateSplits, openSplit } from "./search-candidates.js";
import { readMemory } from "./search-memory.js";
import { askedOf } from "./search-model.js";
import { USUAL_BATCH_TOKENS, USUAL_SEQUENCES, prospectAt, sketchAt } from "./search-prospect.js";
import type { Ground, Prospect } from "./search-prospect.js";

export interface HeadroomInput {
  /** What the policy carries for the instance. */
  readonly state: PolicyState | null;
  readonly prior: SearchPrior | null;
  readonly slo: SloTarget;
  readonly limits: Limits;
  /** As the newest window tells them; null: it does not. */
  readonly kvTotalTokens: number | null;
  readonly maxSequences: number | null;
  readonly maxBatchTokens: number | null;
}

export interface Headroom {
  /** The largest multiple of the present load that some split carries within every promise; null: not known. */
  readonly factor: number | null;
  /** The load that it is a multiple of; null: none was ever seen. */
  readonly arrivalPerS: number | null;
  /** The split that carries it. */
  readonly split: Split | null;
  readonly why: string;
}

/** Nothing is said of more than this; an instance at an eighth of what it carries is as good as idle. */
export const MOST_HEADROOM = 8;
/** Where not even this part of the load is carried, load is not what breaks the promise. */
const LEAST_HEADROOM = 0.05;
/** The factor is found to 3 %: eight halvings of ln(8 / 0.05). */
const HALVINGS = 8;
/** Splits whose promise is computed in full, of those that look best. */
const WEIGHED = 2;
/** A prefill busier than this has a queue of tens of requests: it is not planned for. */
const MOST_UTILISATION = 0.95;
/** A minute of windows at one split, as for a move by latencies alone. */
const LEAST_LEARNT_S = 60;
/** As for a move: a phase known no better than by a factor of 1.6 is not known. */
const KNOWN_SD = 0.5;

/** Pure; never throws. Some 800 sketches of a split: 3.5 ms, 8 ms with four classes. */
export function headroomOf(input: HeadroomInput): Headroom {
  const unknown = (why: string, arrivalPerS: number | null = null): Headroom => ({
    factor: null,
    arrivalPerS,
    split: null,
    why,
  });
  const memory = readMemory(input.state, priorBelief(input.prior));
  const demand = demandOf(memory.demand);
  if (demand === null) return unknown("no load was seen yet");
  const { ratePerS } = demand;
  if (!(ratePerS > 0)) return unknown("nothing comes", 0);
  if (memory.learntS < LEAST_LEARNT_S) {
    return unknown(
      `learnt from ${Math.round(memory.learntS)} s of windows, ${LEAST_LEARNT_S} are needed`,
      ratePerS,
    );
  }
  const splits = [...candidateSplits(input.limits), openSplit(input.limits)];
  const bestAt = (factor: number) =>
    keeping(splits, groundOf(input, memory, scaled(demand, factor)), input.slo);
  let low = LEAST_HEADROOM;
  let high = MOST_HEADROOM;
  const atMost = bestAt(high);
  if (atMost !== null) return known(high, ratePerS, atMost);
  let best = bestAt(low);
  if (best === null) {
    return unknown(
      "no split keeps the promise even at a twentieth of this load: more instances would not",
      ratePerS,
    );
  }
  for (let i = 0; i < HALVINGS; i++) {
    const middle = Math.sqrt(low * high);
    const found = bestAt(middle);
    if (found === null) high = middle;
    else {
      low = middle;
      best = found;
    }
  }
  return known(low, ratePerS, best);
}

function known(
  factor: number,
  arrivalPerS: number,
  { split, prefillDoubt, decodeDoubt }: Prospect,
): Headroom {
  if (prefillDoubt >= KNOWN_SD || decodeDoubt >= KNOWN_SD) {
    return {
      factor: null,
      arrivalPerS,
      split: null,
      why: "the model does not know a phase's speed well enough yet",
    };
  }
  const { prefillSmPct, decodeSmPct } = split;
  return { factor, arrivalPerS, split, why: `carried at ${prefillSmPct}/${decodeSmPct}, by the model` };
}

function scaled(demand: Demand, factor: number): Demand {
  return { ...demand, ratePerS: demand.ratePerS * factor };
}

/** A split that keeps every promise at this load once it has settled; null: none. */
function keeping(splits: readonly Split[], ground: Ground, slo: SloTarget): Prospect | null {
  const sketches = splits.map((split) => sketchAt(split, ground));
  const least = (kept: readonly number[]) => (kept.length > 0 ? Math.min(...kept) : 0);
  sketches.sort((a, b) => least(b.kept) - least(a.kept) || b.score - a.score);
  const prospects = sketches.slice(0, WEIGHED).map(({ split }) => prospectAt(split, ground));
  return (
    prospects.find((each) => each.state.utilisation < MOST_UTILISATION && keepsPromises(each, ground, slo)) ??
    null
  );
}

function keepsPromises(prospect: Prospect, ground: Ground, slo: SloTarget): boolean {
  const { promises } = ground;
  if (promises.length === 0) return prospect.share >= slo.attainmentShare;
  return promises.every(({ attainmentShare }, i) => (prospect.ofClasses[i]?.share ?? 0) >= attainmentShare);
}

/** As searchModel's, but nothing waits and the batch is what the load makes of it. */
function groundOf(input: HeadroomInput, memory: Ground["memory"], demand: Demand): Ground {
  const limit = input.maxSequences ?? USUAL_SEQUENCES;
  const { kvTotalTokens } = input;
  const inMemory = kvTotalTokens === null ? limit : (0.95 * kvTotalTokens) / demand.contextPerSequence;
  return {
    memory,
    demand,
    view: {
      theta: memory.belief.mean,
      prior: input.prior ?? GENERIC_PRIOR,
      maxBatchTokens: input.maxBatchTokens ?? USUAL_BATCH_TOKENS,
      sequencesNow: null,
      maxSequences: Math.max(1, Math.min(limit, inMemory)),
    },
    backlogMsOf: () => 0,
    ...askedOf(input.slo, memory.demand),
    without: [],
  };
}
