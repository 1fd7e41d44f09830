import type { SloTarget } from "@fulcrum/core/nouns.js";
import type { SimEvent, SimRequest } from "@fulcrum/simulator/job.js";

/** One request and what became of it; null: it never got so far. */
export interface RequestOutcome {
  readonly arrivalMs: number;
  readonly ttftMs: number | null;
  /** Null also for an answer of one token. */
  readonly tpotMs: number | null;
  readonly finishedAtMs: number | null;
  readonly ok: boolean;
}

/** Follows requests through events. A request that does not finish, or is refused, is not within its bounds. */
export class Outcomes {
  readonly #ttftMs = new Map<number, number>();
  readonly #done = new Map<
    number,
    { readonly atMs: number; readonly ttftMs: number; readonly tpotMs: number | null }
  >();
  preemptions = 0;

  add(events: readonly SimEvent[]): void {
    for (const event of events) {
      if (event.type === "first_token") this.#ttftMs.set(event.id, event.ttftMs);
      else if (event.type === "preempted") this.preemptions += 1;
      else if (event.type === "finished") {
        this.#done.set(event.id, { atMs: event.atMs, ttftMs: event.ttftMs, tpotMs: event.tpotMs });
      }
    }
  }

  of(request: SimRequest, slo: SloTarget): RequestOutcome {
    const done = this.#done.get(request.id);
    const ttftMs = done?.ttftMs ?? this.#ttftMs.get(request.id) ?? null;
    const tpotMs = done?.tpotMs ?? null;
    const ok =
      done !== undefined &&
      done.ttftMs <= slo.ttft.boundMs &&
      (tpotMs === null || tpotMs <= slo.tpot.boundMs);
    return { arrivalMs: request.arrivalMs, ttftMs, tpotMs, finishedAtMs: done?.atMs ?? null, ok };
  }
}

export interface Attainment {
  readonly requests: number;
  /** Shares of all requests; one that never came so far is outside of its bound. */
  readonly bothOk: number;
  readonly ttftOk: number;
  readonly tpotOk: number;
}

/** Null when there are no requests. */
export function attainmentOf(outcomes: readonly RequestOutcome[], slo: SloTarget): Attainment | null {
  const requests = outcomes.length;
  if (requests === 0) return null;
  const share = (test: (outcome: RequestOutcome) => boolean) => outcomes.filter(test).length / requests;
  return {
    requests,
    bothOk: share((o) => o.ok),
    ttftOk: share((o) => o.ttftMs !== null && o.ttftMs <= slo.ttft.boundMs),
    tpotOk: share((o) => o.finishedAtMs !== null && (o.tpotMs === null || o.tpotMs <= slo.tpot.boundMs)),
  };
}

/** The q-quantile (0..1) by rank, of the values that are known; null without any. */
export function quantile(values: readonly (number | null)[], q: number): number | null {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  return known[Math.min(known.length - 1, Math.floor(q * known.length))] ?? null;
}
