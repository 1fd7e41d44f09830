import type { SloTarget } from "@fulcrum/core/nouns.js";
import type { SimEvent, SimRequest } from "@fulcrum/simulator/job.js";
import { submitAll, type Serving } from "@fulcrum/simulator/serving.js";
import { Outcomes, type RequestOutcome } from "./outcome.js";

export interface ServingRun {
  readonly serving: Serving;
  /** In order of arrival; all are announced here. */
  readonly requests: readonly SimRequest[];
  readonly slo: SloTarget;
  readonly drainMs: number;
  /** Gives up as soon as more requests than this are certain to miss a bound. Default: never. */
  readonly mostMisses?: number;
}

/** How often a run that may give up looks. */
const LOOK_MS = 10_000;

/** Serves requests on something that nobody controls; null when it was given up. */
export function runServing(run: ServingRun): {
  readonly outcomes: readonly RequestOutcome[];
  readonly preemptions: number;
} | null {
  const { serving, requests, slo, drainMs, mostMisses = Infinity } = run;
  submitAll(serving, requests);
  const outcomes = new Outcomes();
  const endMs = (requests.at(-1)?.arrivalMs ?? 0) + drainMs;
  const misses = new Misses(slo);
  for (let atMs = LOOK_MS; !serving.idle && atMs < endMs + LOOK_MS; atMs += LOOK_MS) {
    const events = serving.advanceTo(Math.min(atMs, endMs));
    outcomes.add(events);
    misses.add(events);
    if (misses.count > mostMisses) return null;
  }
  return {
    outcomes: requests.map((request) => outcomes.of(request, slo)),
    preemptions: outcomes.preemptions,
  };
}

/** Requests that have missed a bound for certain. */
class Misses {
  count = 0;

  constructor(private readonly slo: SloTarget) {}

  add(events: readonly SimEvent[]): void {
    for (const event of events) {
      if (event.type === "first_token") {
        if (event.ttftMs > this.slo.ttft.boundMs) this.count += 1;
      } else if (event.type === "finished") {
        const late = event.tpotMs !== null && event.tpotMs > this.slo.tpot.boundMs;
        if (late && event.ttftMs <= this.slo.ttft.boundMs) this.count += 1;
      } else if (event.type === "refused") {
        this.count += 1;
      }
    }
  }
}
