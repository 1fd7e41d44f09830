import type { SloTarget, Split } from "@fulcrum/core/nouns.js";
import { createInstance, type Instance } from "@fulcrum/simulator/instance.js";
import type { SimEvent, SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { submitAll } from "@fulcrum/simulator/serving.js";
import { Outcomes } from "./outcome.js";
import type { LaneResult, Switch } from "./run-lane.js";

export interface OracleOptions {
  readonly profile: Profile;
  /** In order of arrival. */
  readonly requests: readonly SimRequest[];
  readonly slo: SloTarget;
  /** Tried in every window, besides the one that runs. */
  readonly candidates: readonly Split[];
  readonly windowMs: number;
  /** How long beyond the window the future is played. */
  readonly lookAheadMs: number;
  readonly drainMs: number;
}

/** Requests that arrive after the window count this much: the split will have changed again by then. */
const LATER_WEIGHT = 0.5;

/** A challenger must win this many requests: of equals the split that runs stays. */
const MARGIN = 0.01;

/**
 * What decides between splits that serve as many: room below the bounds, because a batch or a queue that grows is
 * lost beyond the horizon only; and progress, because where nobody can be saved any more the queue must go.
 */
const ROOM_WEIGHT = 0.02;
const PROGRESS_WEIGHT = 0.005;
const MOST_PROGRESS = 2_000;

/** A request that needs more of a bound than this is near it; few of these and none lost: no need to look further. */
const NEAR_SHARE = 0.6;
const FEW_SHARE = 0.02;

/**
 * A clairvoyant controller: at the start of every window it plays the arrivals that really come on copies of the
 * instance, under each candidate, and takes the one that serves most requests within both bounds. Changes cost
 * nothing and take no time. Greedy: it is a bound for controllers that decide once a window, not the best of all
 * sequences of splits.
 */
export function runOracle(options: OracleOptions): LaneResult {
  const { profile, requests, slo, candidates, windowMs, drainMs } = options;
  const first = candidates[0];
  if (first === undefined) throw new RangeError("an oracle needs candidates");
  let split = first;
  const instance = createInstance({ profile, initial: { split, kvQuotaPct: 100, generation: 1 } });
  submitAll(instance, requests);
  const outcomes = new Outcomes();
  const progress = new Progress(requests);
  const switches: Switch[] = [];
  const lastMs = requests.at(-1)?.arrivalMs ?? 0;
  for (let atMs = 0; atMs <= lastMs + drainMs && !instance.idle; atMs += windowMs) {
    if (atMs <= lastMs) {
      const better = choose(instance, split, progress, options);
      if (better !== split) {
        put(instance, better);
        const allocation = (of: Split) => ({ split: of, kvQuotaPct: 100 });
        switches.push({ askedAtMs: atMs, atMs, from: allocation(split), to: allocation(better) });
        split = better;
      }
    }
    const events = instance.advanceTo(atMs + windowMs);
    outcomes.add(events);
    progress.add(events);
  }
  return {
    outcomes: requests.map((request) => outcomes.of(request, slo)),
    switches: switches.filter((change) => change.atMs > 0),
    preemptions: outcomes.preemptions,
  };
}

function choose(instance: Instance, running: Split, progress: Progress, options: OracleOptions): Split {
  let best = running;
  let bestScore = -Infinity;
  for (const split of [running, ...options.candidates.filter((candidate) => candidate !== running)]) {
    const played = play(instance, split, progress, options, bestScore);
    if (played.score > bestScore + MARGIN) {
      best = split;
      bestScore = played.score;
    }
    if (played.easy) break;
  }
  return best;
}

interface Played {
  /** Requests expected within both bounds, by weight; -Infinity when it cannot come to `toBeat`. */
  readonly score: number;
  /** Nobody missed a bound and hardly anybody came near: no other split need be played. */
  readonly easy: boolean;
}

/** Plays a split on a copy. */
function play(
  instance: Instance,
  split: Split,
  progress: Progress,
  options: OracleOptions,
  toBeat: number,
): Played {
  const { slo, windowMs, lookAheadMs } = options;
  const copy = instance.fork();
  put(copy, split);
  const windowEndMs = copy.state().nowMs + windowMs;
  const endMs = windowEndMs + lookAheadMs;
  const tally = new Tally(progress.undecided(endMs, slo), slo, windowEndMs);
  for (let atMs = windowEndMs; ; atMs = Math.min(endMs, atMs + windowMs)) {
    tally.add(copy.advanceTo(atMs));
    if (tally.most <= toBeat) return { score: -Infinity, easy: false };
    if (atMs >= endMs) return { score: tally.score(endMs), easy: tally.easy };
  }
}

function put(instance: Instance, split: Split): void {
  const generation = instance.state().generation + 1;
  instance.prepare({ split, kvQuotaPct: 100, generation }, 0);
  instance.commit(generation);
}

/** A request that may still come to be within both bounds, and its time to first token if it is over. */
interface Undecided {
  readonly request: SimRequest;
  readonly ttftMs: number | null;
}

/** Which requests are still to be decided. */
class Progress {
  readonly #ttftMs = new Map<number, number>();
  readonly #finished = new Set<number>();
  /** All before this one have finished. */
  #from = 0;

  constructor(private readonly requests: readonly SimRequest[]) {}

  add(events: readonly SimEvent[]): void {
    for (const event of events) {
      if (event.type === "first_token") this.#ttftMs.set(event.id, event.ttftMs);
      else if (event.type === "finished" || event.type === "refused") this.#finished.add(event.id);
    }
    for (let next = this.requests[this.#from]; next !== undefined; next = this.requests[this.#from]) {
      if (!this.#finished.has(next.id)) break;
      this.#from += 1;
    }
  }

  /** Of the requests that arrive before `endMs`. */
  undecided(endMs: number, slo: SloTarget): readonly Undecided[] {
    const found: Undecided[] = [];
    for (let i = this.#from; i < this.requests.length; i += 1) {
      const request = this.requests[i];
      if (request === undefined || request.arrivalMs >= endMs) break;
      const ttftMs = this.#ttftMs.get(request.id) ?? null;
      const late = ttftMs !== null && ttftMs > slo.ttft.boundMs;
      if (!late && !this.#finished.has(request.id)) found.push({ request, ttftMs });
    }
    return found;
  }
}

/** Counts what a play does to the requests that were undecided when it began. */
class Tally {
  /** The score if nobody else misses a bound. */
  #most: number;
  #lost = 0;
  #near = 0;
  #served = 0;
  #room = 0;
  #progress = 0;
  #paceOk = 0;
  #paced = 0;
  readonly #open = new Map<number, Undecided & { readonly weight: number }>();

  constructor(
    undecided: readonly Undecided[],
    private readonly slo: SloTarget,
    windowEndMs: number,
  ) {
    let total = 0;
    for (const each of undecided) {
      const weight = each.request.arrivalMs < windowEndMs ? 1 : LATER_WEIGHT;
      this.#open.set(each.request.id, { ...each, weight });
      total += weight;
    }
    this.#most = total * (1 + ROOM_WEIGHT);
  }

  /** No more than this can come of it; progress left out, so that it is never what gives a play up. */
  get most(): number {
    return this.#lost === 0 ? Infinity : this.#most + PROGRESS_WEIGHT * MOST_PROGRESS;
  }

  get easy(): boolean {
    return this.#lost === 0 && this.#near <= FEW_SHARE * this.#paced;
  }

  add(events: readonly SimEvent[]): void {
    for (const event of events) {
      if (event.type === "finished") this.#finish(event.id, event.ttftMs, event.tpotMs);
      else if (event.type === "refused") this.#lose(event.id);
      else if (event.type === "first_token") this.#start(event.id, event.ttftMs);
    }
  }

  /** Those that still run count by the share of finished ones that kept TPOT, those that wait by a half. */
  score(nowMs: number): number {
    const keepsPace = this.#paced === 0 ? 1 : this.#paceOk / this.#paced;
    let score = this.#served + ROOM_WEIGHT * this.#room + PROGRESS_WEIGHT * this.#progress;
    for (const { request, ttftMs, weight } of this.#open.values()) {
      if (ttftMs !== null) score += weight * keepsPace;
      else if (nowMs - request.arrivalMs <= this.slo.ttft.boundMs) score += weight * 0.5;
    }
    return score;
  }

  #start(id: number, ttftMs: number): void {
    this.#progress += 1;
    const open = this.#open.get(id);
    if (ttftMs > this.slo.ttft.boundMs) this.#lose(id);
    else if (open !== undefined) this.#open.set(id, { ...open, ttftMs });
  }

  #finish(id: number, ttftMs: number, tpotMs: number | null): void {
    this.#progress += 1;
    const open = this.#open.get(id);
    if (open === undefined) return;
    const { ttft, tpot } = this.slo;
    const needed = Math.max(ttftMs / ttft.boundMs, (tpotMs ?? 0) / tpot.boundMs);
    this.#paced += 1;
    if (needed > 1) return this.#lose(id);
    if (needed > NEAR_SHARE) this.#near += 1;
    this.#paceOk += 1;
    this.#served += open.weight;
    this.#room += open.weight * (1 - needed);
    this.#open.delete(id);
  }

  #lose(id: number): void {
    const weight = this.#open.get(id)?.weight ?? 0;
    this.#lost += weight;
    this.#most -= weight * (1 + ROOM_WEIGHT);
    this.#open.delete(id);
  }
}
