import type { TracedRequest } from "@fulcrum/simulator/arrivals.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { prefillLoadShare, timeSharedRatePerS } from "./capacity.js";
import { sampleOf, type LengthSet, type LengthSource } from "./lengths.js";
import { cutOf, requestsOf } from "./load.js";
import type { Kind, Scenario } from "./scenarios.js";

/** What an evaluation runs on: a profile, length sets of kinds, and recorded traces where there are any. */
export interface WorldParts {
  readonly profile: Profile;
  readonly lengths: Readonly<Partial<Record<Kind, LengthSet>>>;
  readonly traces: Readonly<Partial<Record<Kind, readonly TracedRequest[]>>>;
}

/** Builds loads, and remembers each kind's capacity. */
export class World {
  readonly profile: Profile;
  readonly #parts: WorldParts;
  readonly #sources: Readonly<Record<string, LengthSource>>;
  readonly #maxPerS = new Map<Kind, number>();

  constructor(parts: WorldParts) {
    this.#parts = parts;
    this.profile = parts.profile;
    const sets = Object.entries(parts.lengths);
    this.#sources = Object.fromEntries(sets.map(([kind, set]) => [kind, set.source]));
  }

  /** Whether everything that a scenario sends is at hand. */
  has(scenario: Scenario): boolean {
    return scenario.kinds.every((kind) => this.#sources[kind] !== undefined);
  }

  /** r_max of a kind on the unchanged profile. Throws RangeError when there is no such length set. */
  maxPerS(kind: Kind): number {
    const known = this.#maxPerS.get(kind);
    if (known !== undefined) return known;
    const found = timeSharedRatePerS(this.profile, sampleOf(this.#sourceOf(kind)));
    this.#maxPerS.set(kind, found);
    return found;
  }

  /** lambda of a kind at a fraction of its r_max; see prefillLoadShare. */
  prefillLoadShare(kind: Kind, fraction: number): number {
    return prefillLoadShare(this.profile, sampleOf(this.#sourceOf(kind)), fraction * this.maxPerS(kind));
  }

  #sourceOf(kind: Kind): LengthSource {
    const source = this.#sources[kind];
    if (source === undefined) throw new RangeError(`there is no length set ${kind}`);
    return source;
  }

  /** Requests per second of all kinds together, averaged over the scenario; bursts left out. */
  meanPerS(scenario: Scenario, fraction: number): number {
    const phases = scenario.load(fraction, (kind) => this.maxPerS(kind));
    const requests = phases.flatMap(({ durationMs, streams }) =>
      streams.map(({ fromPerS, toPerS }) => (durationMs * (fromPerS + toPerS)) / 2),
    );
    return requests.reduce((sum, each) => sum + each, 0) / scenario.durationMs;
  }

  /** The same fraction, seed and scenario give the same requests. */
  requests(scenario: Scenario, fraction: number, seed: number, stretch = 1): readonly SimRequest[] {
    const trace = scenario.replays === undefined ? undefined : this.#parts.traces[scenario.replays];
    const { durationMs } = scenario;
    if (trace === undefined) {
      const phases = scenario.load(fraction, (kind) => this.maxPerS(kind));
      const longer = phases.map((each) => ({ ...each, durationMs: each.durationMs * stretch }));
      return requestsOf(longer, this.#sources, seed);
    }
    const ratePerS = this.meanPerS(scenario, fraction);
    // Cuts of one trace in place of draws: the golden section spreads any number of them evenly.
    const from = (seed * 0.618_033_988_75) % 1;
    return cutOf(trace, { from, durationMs: durationMs * stretch, ratePerS });
  }

  /** How a scenario's requests come about, for a report. */
  about(scenario: Scenario): string {
    const replayed = scenario.replays !== undefined && this.#parts.traces[scenario.replays] !== undefined;
    const sets = scenario.kinds.map((kind) => this.#parts.lengths[kind]?.about ?? kind);
    return replayed ? `${sets.join("; ")}; replayed, time-stretched to the rate` : sets.join("; ");
  }
}
