import type { Allocation, SloTarget } from "@fulcrum/core/nouns.js";
import { createInstance } from "@fulcrum/simulator/instance.js";
import type { Instance } from "@fulcrum/simulator/instance.js";
import type { SimEvent, SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { Outcomes } from "./outcome.js";
import type { RequestOutcome } from "./outcome.js";
import { WindowMeter, meterBounds } from "./window-meter.js";
import type { MeteredWindow } from "./window-meter.js";

/** What a controller is shown at the end of an interval. */
export interface Sighting {
  readonly window: MeteredWindow;
  readonly slo: SloTarget;
  readonly running: Allocation;
  readonly switchPending: boolean;
  readonly lastSwitchMs: number | null;
}

/** Answers with the allocation that should run from now on, or null to leave things alone. */
export type Controller = (sighting: Sighting, instance: Instance) => Allocation | null;

export interface LaneOptions {
  readonly profile: Profile;
  /** In order of arrival. */
  readonly requests: readonly SimRequest[];
  /** Where it has classes the windows tell them by the requests' kinds. */
  readonly slo: SloTarget;
  readonly initial: Allocation;
  readonly controller: Controller | null;
  readonly controlIntervalMs: number;
  /** From the decision to the moment that new workers are ready (delayed switching). */
  readonly prepareMs: number;
  /** Requests that have not finished so long after the last arrival never do. */
  readonly drainMs: number;
}

export interface Switch {
  readonly askedAtMs: number;
  readonly atMs: number;
  readonly from: Allocation;
  readonly to: Allocation;
}

export interface LaneResult {
  readonly outcomes: readonly RequestOutcome[];
  readonly switches: readonly Switch[];
  readonly preemptions: number;
}

/** Serves the requests on one simulated instance under one controller. Deterministic. */
export function runLane(options: LaneOptions): LaneResult {
  return new Lane(options).run();
}

/** Null where no request has one. */
function kindsOf(requests: readonly SimRequest[]): ReadonlyMap<number, string> | null {
  const kinds = new Map<number, string>();
  for (const { id, kind } of requests) if (kind !== undefined) kinds.set(id, kind);
  return kinds.size > 0 ? kinds : null;
}

class Lane {
  readonly #instance: Instance;
  readonly #meter: WindowMeter;
  readonly #outcomes = new Outcomes();
  readonly #switches: Switch[] = [];
  #generation = 1;
  #running: Allocation;
  #pending: { readonly to: Allocation; readonly askedAtMs: number; readonly readyAtMs: number } | null = null;
  #events: SimEvent[] = [];

  constructor(private readonly options: LaneOptions) {
    const { profile, initial, slo, requests } = options;
    this.#running = initial;
    this.#instance = createInstance({ profile, initial: { ...initial, generation: 1 } });
    const promises = [slo, ...(slo.classes ?? [])];
    const boundsMs = meterBounds(promises.flatMap(({ ttft, tpot }) => [ttft.boundMs, tpot.boundMs]));
    const limits = { maxSequences: profile.maxBatch, maxBatchTokens: profile.maxBatchedTokens };
    this.#meter = new WindowMeter(this.#instance, boundsMs, limits, slo.classes ? kindsOf(requests) : null);
  }

  run(): LaneResult {
    const { requests, controller, controlIntervalMs, drainMs } = this.options;
    for (const request of requests) this.#instance.submit(request);
    const lastMs = requests.at(-1)?.arrivalMs ?? 0;
    const endMs = lastMs + drainMs;
    if (controller === null) {
      this.#advance(endMs);
    } else {
      for (let atMs = controlIntervalMs; atMs <= endMs && !this.#instance.idle; atMs += controlIntervalMs) {
        this.#advance(atMs);
        this.#control(controller, atMs);
      }
    }
    return {
      outcomes: requests.map((request) => this.#outcomes.of(request, this.options.slo)),
      switches: this.#switches,
      preemptions: this.#outcomes.preemptions,
    };
  }

  /** Lets time pass, committing a prepared change when it is ready. */
  #advance(tMs: number): void {
    const pending = this.#pending;
    if (pending !== null && pending.readyAtMs <= tMs) {
      this.#collect(pending.readyAtMs);
      this.#generation += 1;
      this.#instance.prepare({ ...pending.to, generation: this.#generation }, 0);
      this.#instance.commit(this.#generation);
      this.#switches.push({
        askedAtMs: pending.askedAtMs,
        atMs: pending.readyAtMs,
        from: this.#running,
        to: pending.to,
      });
      this.#running = pending.to;
      this.#pending = null;
    }
    this.#collect(tMs);
  }

  #collect(tMs: number): void {
    const events = this.#instance.advanceTo(tMs);
    this.#outcomes.add(events);
    if (this.options.controller !== null) this.#events = this.#events.concat(events);
  }

  #control(controller: Controller, nowMs: number): void {
    const window = this.#meter.close(this.#events);
    this.#events = [];
    const sighting: Sighting = {
      window,
      slo: this.options.slo,
      running: this.#running,
      switchPending: this.#pending !== null || this.#instance.state().phase === "switching",
      lastSwitchMs: this.#switches.at(-1)?.atMs ?? null,
    };
    const wanted = controller(sighting, this.#instance);
    if (wanted === null || this.#pending !== null) return;
    this.#pending = { to: wanted, askedAtMs: nowMs, readyAtMs: nowMs + this.options.prepareMs };
  }
}
