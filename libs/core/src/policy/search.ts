/**
 * The search policy: the split with the greatest expected share of requests within both bounds, by a queueing
 * model of the two workers whose numbers are learnt online (model/plant-params.ts), at the load that comes in now
 * (model/demand.ts). A split is left only for a gain that is worth its price, and an uncertain prediction is
 * scored by what is to be expected over all that is still believed possible: a far and unknown split must promise
 * more than a near and measured one.
 */
import type { Candidate, HoldReason, SearchParams, Snapshot } from "../decision.js";
import { sameSplit, tidy } from "../allocation.js";
import type { Split } from "../nouns.js";
import type { PolicyOutcome } from "./outcome.js";
import { candidateSplits, neighbours } from "./search-candidates.js";
import type { SearchMemory } from "./search-memory.js";
import { meanOf } from "./search-model.js";
import type { Prospect, SearchModel } from "./search-model.js";

/** Moves of the last ten minutes raise the price of the next: one a ten minutes is what a steady load may cost. */
const PRICE_WINDOW_MS = 600_000;

/** Evaluations in a row that must agree, unless the gain is so large that waiting costs more. */
const AGREEING = 2;
const URGENT_GAIN = 0.08;

/** Nothing is moved before so much was seen of the plant: the first answers to finish are the short ones. */
const LEAST_LEARNT_S = 20;
/** Unless the gain is such that no likely error undoes it. */
const BLATANT_GAIN = 0.3;

/** Prospects beyond the best that a decision's row shows. */
const SHOWN = 8;

export interface SearchOutcome {
  readonly outcome: PolicyOutcome;
  readonly memory: SearchMemory;
  readonly now: Prospect;
  readonly prospectOf: (split: Split) => Prospect;
}

export function searchPolicy(
  snapshot: Snapshot,
  params: SearchParams,
  model: SearchModel,
  nowMs: number,
): SearchOutcome {
  const now = model.prospectOf(snapshot.current.split);
  const ranked = weigh(snapshot, model);
  const best = ranked[0] ?? now;
  const gain = gainOf(best, now);
  const price = priceOf(snapshot, params, model, nowMs);
  const worthIt = gain >= price && !sameSplit(best.split, now.split);
  const found = worthIt ? model.memory.found + 1 : 0;
  const known = model.memory.learntS >= LEAST_LEARNT_S || gain >= BLATANT_GAIN;
  const agreed = worthIt && known && (found >= AGREEING || gain >= URGENT_GAIN + price);
  const chosen = agreed ? best : now;
  const candidates = shown(ranked, now, chosen, snapshot);
  const memory = { ...model.memory, found: agreed ? 0 : found };
  const reason = agreed ? "BETTER_SPLIT" : holdReason(gain, now, best);
  const outcome: PolicyOutcome = {
    reason,
    wanted: { split: chosen.split, kvQuotaPct: snapshot.current.kvQuotaPct },
    candidates,
    why: sentence(now, best, gain, price),
  };
  return { outcome, memory, now, prospectOf: model.prospectOf };
}

/** What is gained in the mean, less a part of how far that mean may be off. */
const RISK = 0.25;

function gainOf(best: Prospect, now: Prospect): number {
  const gains = best.shares.map((share, i) => share - (now.shares[i] ?? 0));
  const mean = meanOf(gains);
  return mean - RISK * Math.sqrt(meanOf(gains.map((gain) => (gain - mean) ** 2)));
}

/** All that is weighed, best first. */
function weigh(snapshot: Snapshot, model: SearchModel): Prospect[] {
  const { limits } = snapshot;
  const coarse = candidateSplits(limits).map(model.prospectOf).sort(byShare);
  const first = coarse[0];
  const fine = first === undefined ? [] : neighbours(first.split, limits).map(model.prospectOf);
  return [...coarse, ...fine].sort(byShare);
}

/** Of equal promises the one that leaves more room: shorter times of both phases. */
function byShare(a: Prospect, b: Prospect): number {
  if (Math.abs(a.share - b.share) > 1e-4) return b.share - a.share;
  return a.state.utilisation - b.state.utilisation || a.state.stepMs - b.state.stepMs;
}

function priceOf(snapshot: Snapshot, params: SearchParams, model: SearchModel, nowMs: number): number {
  const steadySinceMs = nowMs - 1000 * model.memory.demand.steadyS;
  const since = Math.max(nowMs - PRICE_WINDOW_MS, steadySinceMs);
  const recent = snapshot.recentMoves.filter((move) => move.atMs >= since).length;
  return params.minGainShare * (1 + recent);
}

function holdReason(gain: number, now: Prospect, best: Prospect): HoldReason {
  if (gain <= 0) return "BEST_KNOWN";
  const unsure = Math.max(best.prefillDoubt, best.decodeDoubt) > 0.3;
  return unsure && now.share < 0.9 ? "CANNOT_TELL" : "NOT_WORTH_IT";
}

function sentence(now: Prospect, best: Prospect, gain: number, price: number): string {
  const here = `${percent(now.share)} of requests are expected within both bounds as it is`;
  if (gain <= 0 || sameSplit(now.split, best.split)) return `${here}, and no split promises more`;
  const { prefillSmPct, decodeSmPct } = best.split;
  const there = `${tidy(prefillSmPct)}/${tidy(decodeSmPct)} promises ${percent(best.share)}`;
  return `${here}; ${there}, and a change must gain ${percent(price)}`;
}

function percent(share: number): string {
  return `${tidy(Math.round(share * 1000) / 10)} %`;
}

function shown(
  ranked: readonly Prospect[],
  now: Prospect,
  chosen: Prospect,
  snapshot: Snapshot,
): Candidate[] {
  const best = ranked.slice(0, SHOWN);
  const all = best.some((p) => sameSplit(p.split, now.split)) ? best : [...best, now];
  return all.map((p) => ({
    allocation: { split: p.split, kvQuotaPct: snapshot.current.kvQuotaPct },
    ttftMs: p.state.utilisation >= 1 ? null : p.state.prefill.constMs + p.state.waitMs,
    tpotMs: p.state.stepMs,
    verdict: sameSplit(p.split, chosen.split) ? "chosen" : p.state.utilisation >= 1 ? "unstable" : "misses",
  }));
}
