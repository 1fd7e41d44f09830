import * as fc from "fast-check";
import { createInstance, type Instance } from "../instance.js";
import type { SimEvent, SimRequest } from "../job.js";
import type { Profile } from "../profile.js";
import type { Serving } from "../serving.js";

export const flat = { small: { size: 1, a: 0.5, b: 0.5 }, large: { size: 100, a: 0.5, b: 0.5 } };

/** Round numbers, so that a test can compute what to expect by hand. */
export function makeProfile(change: Partial<Profile> = {}): Profile {
  return {
    name: "test",
    sources: "made up",
    smCount: 100,
    smPerTpc: 1,
    prefill: { kernelMs: [5, 0.05, 0], engineMs: 5, smShare: flat },
    decode: { kernelMs: [8, 0.05, 1e-4], engineMs: 2, smShare: flat },
    contention: { decodeByPrefill: 0.2, prefillByDecode: 0.1, overlapToPrefill: 0.5 },
    kvTotalTokens: 100_000,
    kvBlockTokens: 16,
    maxBatch: 32,
    maxBatchedTokens: 1024,
    ...change,
  };
}

export function start(profile: Profile, prefillSmPct = 100, decodeSmPct = 100, kvQuotaPct = 100): Instance {
  return createInstance({
    profile,
    initial: { split: { prefillSmPct, decodeSmPct }, kvQuotaPct, generation: 0 },
  });
}

/** Runs until nothing is left to do, looking every 5 ms; bounded at an hour of engine time. */
export function drain(serving: Serving, fromMs = 0, look: () => void = () => {}): SimEvent[] {
  const events: SimEvent[] = [];
  for (let ms = fromMs; !serving.idle && ms < 3_600_000; ms += 5) {
    events.push(...serving.advanceTo(ms));
    look();
  }
  return events;
}

/** Ids of the requests that finished, ascending. */
export function finishedIds(events: readonly SimEvent[]): number[] {
  return events
    .filter((event) => event.type === "finished")
    .map((event) => event.id)
    .toSorted((a, b) => a - b);
}

/** Up to 40 requests in the order of arrival. */
export const requests = fc
  .array(
    fc.record({
      gapMs: fc.integer({ min: 0, max: 60 }),
      promptTokens: fc.integer({ min: 1, max: 900 }),
      outputTokens: fc.integer({ min: 1, max: 60 }),
    }),
    { minLength: 1, maxLength: 40 },
  )
  .map((items) => {
    let arrivalMs = 0;
    return items.map(({ gapMs, promptTokens, outputTokens }, id): SimRequest => {
      arrivalMs += gapMs;
      return { id, arrivalMs, promptTokens, outputTokens };
    });
  });
export const pct = fc.integer({ min: 5, max: 100 });

/** Tokens that were given out, first ones included. */
export function tokensIn(events: readonly SimEvent[]): number {
  let tokens = 0;
  for (const event of events) {
    if (event.type === "first_token") tokens += 1;
    if (event.type === "tokens") for (const group of event.groups) tokens += group.count;
  }
  return tokens;
}
