/** The search policy's view of one instance: learns from the latest windows and says what a split promises. */
import type { LatestSignal, SearchParams, Snapshot } from "../decision.js";
import { demandOf } from "../model/demand.js";
import { promptsOf } from "../model/class-prompts.js";
import type { Demand, DemandMemory } from "../model/demand.js";
import type { Gaussian } from "../model/kalman.js";
import { operatingState } from "../model/operating-point.js";
import { GENERIC_PRIOR } from "../model/plant-params.js";
import type { SloTarget, Split } from "../nouns.js";
import { hasClasses, promisesOf } from "../signal/classes.js";
import { latenciesAt } from "./search-latency.js";
import type { Latencies } from "./search-latency.js";
import { learnFrom } from "./search-learning.js";
import type { SearchMemory } from "./search-memory.js";
import { backlogs, prospectAt, sketchAt, viewOf } from "./search-prospect.js";
import type { Ground, Prospect, Sketch } from "./search-prospect.js";

export interface SearchModel {
  readonly memory: SearchMemory;
  readonly demand: Demand;
  /** Offered prefill work on a whole GPU, as a share of it: the paper's lambda (eq. 3). */
  readonly loadShare: number;
  readonly prospectOf: (split: Split) => Prospect;
  /** A fifth of the work of prospectOf: good enough to tell which splits deserve the rest. */
  readonly sketchOf: (split: Split) => Sketch;
  readonly latenciesOf: (prospect: Prospect) => Latencies;
}

/** Learns from the latest windows; no model while nothing has ever arrived. */
export function searchModel(
  given: Snapshot,
  remembered: SearchMemory,
  widest: Gaussian,
  params: Pick<SearchParams, "prior" | "without">,
): { readonly memory: SearchMemory; readonly model: SearchModel | null } {
  const prior = params.prior ?? GENERIC_PRIOR;
  const without = params.without ?? [];
  const snapshot = without.includes("work") ? withoutWork(given) : given;
  const { latest } = snapshot;
  const fresh = latest && latest.toAtMs !== null && latest.toAtMs > (remembered.learntToMs ?? -1);
  const memory = fresh ? learnFrom(snapshot, latest, remembered, { prior, widest, without }) : remembered;
  const demand = demandOf(memory.demand);
  if (demand === null) return { memory, model: null };
  const ground: Ground = {
    memory,
    demand,
    view: { ...viewOf(snapshot, memory, demand, prior), followed: !without.includes("path") },
    backlogMsOf: without.includes("backlog") ? () => 0 : backlogs(snapshot, demand),
    ...askedOf(snapshot.slo, memory.demand),
    without,
  };
  const prospects = new Map<string, Prospect>();
  const prospectOf = (split: Split) => {
    const key = `${split.prefillSmPct}/${split.decodeSmPct}`;
    const found = prospects.get(key) ?? prospectAt(split, ground);
    prospects.set(key, found);
    return found;
  };
  const sketchOf = (split: Split) => sketchAt(split, ground);
  const latenciesOf = (prospect: Prospect) => latenciesAt(prospect, ground, snapshot.slo);
  const whole = { prefillSmPct: 100, decodeSmPct: 1 };
  const loadShare = operatingState(whole, demand, ground.view, { prefill: 1, decode: 1 }).utilisation;
  return { memory, model: { memory, demand, loadShare, prospectOf, sketchOf, latenciesOf } };
}

/** What is promised and to which prompts. */
export function askedOf(slo: SloTarget, seen: DemandMemory): Pick<Ground, "slo" | "promises"> {
  const own = { ...slo, name: null, prompts: null };
  if (!hasClasses(slo)) return { slo: own, promises: [] };
  const named = (slo.classes ?? []).map(({ name }) => name);
  const promises = promisesOf(slo).map((promise) => ({
    ...promise,
    prompts: promptsOf(seen, promise.name, named),
  }));
  return { slo: own, promises };
}

/** As an engine that tells latencies, counts and queues, but not what its workers did. */
function withoutWork(snapshot: Snapshot): Snapshot {
  const { latest } = snapshot;
  if (latest === null || latest === undefined) return snapshot;
  const blind: LatestSignal = { ...latest, work: null, busy: { prefillShare: null, decodeShare: null } };
  return { ...snapshot, latest: blind };
}
