import { describe, expect, it } from "vitest";
import * as fc from "fast-check";
import { DisaggregatedPair } from "./disaggregated.js";
import type { SimEvent } from "./job.js";
import type { Profile } from "./profile.js";
import { perGpu, submitAll, type Serving } from "./serving.js";
import { drain, finishedIds, flat, makeProfile, requests, start, tokensIn } from "./testing/kit.js";
import { mixedStepMs, UnifiedEngine } from "./unified.js";

const KV_BYTES = 131_072;

function pairOf(profile: Profile): DisaggregatedPair {
  return new DisaggregatedPair({ profile, kvBytesPerToken: KV_BYTES, linkGbPerS: 25 });
}

function chunkedOf(profile: Profile, budgetTokens: number): UnifiedEngine {
  return new UnifiedEngine({ profile, scheduling: { kind: "chunked", budgetTokens } });
}

const kinds: [string, (profile: Profile) => Serving][] = [
  ["two workers on one GPU", (profile) => start(profile, 60, 80)],
  ["prefill first", (profile) => new UnifiedEngine({ profile, scheduling: { kind: "prefill-first" } })],
  // 3 tokens: few sequences leave no room for a prompt that has begun, or for a token of it.
  ["chunked, hardly any budget", (profile) => chunkedOf(profile, 3)],
  ["chunked", (profile) => chunkedOf(profile, 256)],
  ["a GPU for each phase", pairOf],
];
// 1,600 tokens hold one or two of these requests: preemption and waiting for blocks are common.
const tiny = makeProfile({ kvTotalTokens: 1600, maxBatch: 8, maxBatchedTokens: 256 });

describe.each(kinds)("serving by %s", (_, create) => {
  it.each([
    ["roomy", makeProfile()],
    ["tiny", tiny],
  ])("finishes every request once, with all its tokens (%s pool)", (_pool, profile) => {
    fc.assert(
      fc.property(requests, (load) => {
        const serving = create(profile);
        submitAll(serving, load);
        const events = drain(serving);
        expect(finishedIds(events)).toEqual(load.map((request) => request.id));
        expect(tokensIn(events)).toBe(load.reduce((sum, request) => sum + request.outputTokens, 0));
        expect(events.filter((event) => event.type === "first_token")).toHaveLength(load.length);
        expect(events.map((event) => event.atMs)).toEqual(
          events.map((event) => event.atMs).toSorted((a, b) => a - b),
        );
      }),
      { numRuns: 40 },
    );
  });

  it("tells the same story however time is cut into steps", () => {
    fc.assert(
      fc.property(requests, fc.integer({ min: 1, max: 500 }), (load, stepMs) => {
        const [inSteps, atOnce] = [create(tiny), create(tiny)];
        for (const serving of [inSteps, atOnce]) submitAll(serving, load);
        const events: SimEvent[] = [];
        for (let ms = 0; ms <= 300_000; ms += stepMs) events.push(...inSteps.advanceTo(ms));
        expect(events).toEqual(atOnce.advanceTo(300_000));
        expect(inSteps.idle).toBe(true);
      }),
      { numRuns: 10 },
    );
  });

  it("refuses what can never fit", () => {
    const serving = create(tiny);
    serving.submit({ id: 7, arrivalMs: 0, promptTokens: 1500, outputTokens: 101 });
    expect(drain(serving)).toMatchObject([{ type: "arrived" }, { type: "refused", reason: "never_fits" }]);
  });
});

/** Times since the same request's token before, in order. */
function itlsMs(events: readonly SimEvent[]): number[] {
  return events.flatMap((event) => (event.type === "tokens" ? event.groups.map((group) => group.itlMs) : []));
}

function ttftsMs(events: readonly SimEvent[]): number[] {
  return events.flatMap((event) => (event.type === "first_token" ? [event.ttftMs] : []));
}

// Prefill 5 + 0.05 * tokens + 5 of host; decode 8 + 0.05 * batch + 2 of host: no context term to add up.
const plain = makeProfile({ decode: { kernelMs: [8, 0.05, 0], engineMs: 2, smShare: flat } });
const alone = 8 + 0.05 + 2;

describe("prefill first", () => {
  const create = (profile: Profile): UnifiedEngine =>
    new UnifiedEngine({ profile, scheduling: { kind: "prefill-first" } });

  it("lets a running answer wait for the whole of a prompt that arrives", () => {
    const engine = create(plain);
    engine.submit({ id: 0, arrivalMs: 0, promptTokens: 200, outputTokens: 4 });
    // Arrives in the first decode iteration, which lasts from 20 to 30.05.
    engine.submit({ id: 1, arrivalMs: 25, promptTokens: 1000, outputTokens: 1 });
    const events = drain(engine);
    const expected = [alone, 60 + alone, alone];
    for (const [i, itlMs] of itlsMs(events).entries()) expect(itlMs).toBeCloseTo(expected[i] ?? 0, 9);
    expect(ttftsMs(events)[1]).toBeCloseTo(20 + alone - 25 + 60, 9);
    expect(engine.state().busyMs).toBeCloseTo(20 + 3 * alone + 60, 9);
  });

  it("runs a prompt beyond the token budget whole, and never shares its batch", () => {
    const engine = create(plain);
    engine.submit({ id: 0, arrivalMs: 0, promptTokens: 3000, outputTokens: 1 });
    engine.submit({ id: 1, arrivalMs: 0, promptTokens: 100, outputTokens: 1 });
    expect(ttftsMs(drain(engine))).toEqual([160, 160 + 15]);
  });

  it("admits no more sequences than a batch holds", () => {
    const engine = create(makeProfile({ maxBatch: 2 }));
    for (let id = 0; id < 3; id += 1) {
      engine.submit({ id, arrivalMs: 0, promptTokens: 100, outputTokens: 20 });
    }
    engine.advanceTo(100);
    expect(engine.state()).toMatchObject({ decodeRunning: 2, decodeWaiting: 0, prefillWaiting: 1 });
    expect(finishedIds(drain(engine, 100))).toEqual([0, 1, 2]);
  });
});

describe("chunked prefill", () => {
  it("gives each running answer a token per iteration beside a prompt's chunks", () => {
    const engine = chunkedOf(plain, 512);
    engine.submit({ id: 0, arrivalMs: 0, promptTokens: 200, outputTokens: 5 });
    engine.submit({ id: 1, arrivalMs: 25, promptTokens: 1000, outputTokens: 1 });
    const events = drain(engine);
    // 511 tokens beside one sequence, then the other 489: kernels add up, the greater host time counts once.
    const mixed = (tokens: number): number => 5 + 0.05 * tokens + 8.05 + 5;
    const expected = [alone, mixed(511), mixed(489), alone];
    for (const [i, itlMs] of itlsMs(events).entries()) expect(itlMs).toBeCloseTo(expected[i] ?? 0, 9);
    expect(ttftsMs(events)[1]).toBeCloseTo(20 + alone - 25 + mixed(511) + mixed(489), 9);
  });

  it("chunks to 1,024 tokens unless told otherwise, and charges attention to the whole prompt", () => {
    const profile = makeProfile({ prefill: { kernelMs: [5, 0.05, 1e-5], engineMs: 5, smShare: flat } });
    const engine = new UnifiedEngine({ profile, scheduling: { kind: "chunked" } });
    engine.submit({ id: 0, arrivalMs: 0, promptTokens: 3000, outputTokens: 1 });
    expect(ttftsMs(drain(engine))[0]).toBeCloseTo(3 * 10 + 0.05 * 3000 + 1e-5 * 3000 ** 2, 9);
    expect(engine.state().iterations).toBe(3);
  });

  it("may count the reading of weights once in an iteration of both", () => {
    const prompts = { tokens: 500, sumSq: 500 ** 2 };
    const sequences = { sequences: 4, contextTokens: 0 };
    expect(mixedStepMs(plain, prompts, sequences, false)).toBeCloseTo(30 + 8.2 + 5, 9);
    expect(mixedStepMs(plain, prompts, sequences, true)).toBeCloseTo(25 + 8.2 + 5, 9);
    expect(mixedStepMs(plain, prompts, null, true)).toBeCloseTo(35, 9);
    expect(mixedStepMs(plain, null, sequences, true)).toBeCloseTo(10.2, 9);
  });

  it("leaves a prompt waiting while running answers take the whole budget", () => {
    const engine = chunkedOf(plain, 1);
    engine.submit({ id: 0, arrivalMs: 0, promptTokens: 1, outputTokens: 4 });
    engine.submit({ id: 1, arrivalMs: 12, promptTokens: 1, outputTokens: 1 });
    const events = drain(engine);
    for (const itlMs of itlsMs(events)) expect(itlMs).toBeCloseTo(alone, 9);
    expect(ttftsMs(events)[1]).toBeCloseTo(10.05 + 3 * alone - 12 + 10.05, 9);
  });

  it("refuses a budget below one token", () => {
    expect(() => chunkedOf(plain, 0)).toThrow("budgetTokens must be at least 1, got 0");
  });
});

describe("a GPU for each phase", () => {
  const transferMs = (tokens: number): number => (tokens * KV_BYTES) / 25e6;

  it("sends the prompt's KV between the first and the second token", () => {
    const pair = pairOf(plain);
    pair.submit({ id: 0, arrivalMs: 0, promptTokens: 200, outputTokens: 3 });
    const events = drain(pair);
    expect(ttftsMs(events)).toEqual([20]);
    const expected = [transferMs(200) + alone, alone];
    for (const [i, itlMs] of itlsMs(events).entries()) expect(itlMs).toBeCloseTo(expected[i] ?? 0, 9);
  });

  it("sends one prompt after the other, which slows nobody's first token", () => {
    const pair = pairOf(plain);
    for (const id of [0, 1]) pair.submit({ id, arrivalMs: 0, promptTokens: 400, outputTokens: 2 });
    const events = drain(pair);
    expect(ttftsMs(events)).toEqual([50, 50]);
    // The second lands while the first's only decode iteration runs, and joins the next.
    const expected = [transferMs(400) + alone, transferMs(400) + 2 * alone];
    for (const [i, itlMs] of itlsMs(events).entries()) expect(itlMs).toBeCloseTo(expected[i] ?? 0, 9);
  });

  it("holds KV on the prefill GPU until it has landed, and on the decode GPU from its departure", () => {
    const pair = pairOf(plain);
    pair.submit({ id: 0, arrivalMs: 0, promptTokens: 160, outputTokens: 3 });
    pair.advanceTo(18.1);
    expect(pair.state()).toMatchObject({ transferWaiting: 1, kvUsedTokens: { prefill: 160, decode: 176 } });
    pair.advanceTo(20);
    expect(pair.state()).toMatchObject({ transferWaiting: 0, kvUsedTokens: { prefill: 0, decode: 176 } });
    drain(pair, 20);
    expect(pair.state().kvUsedTokens).toEqual({ prefill: 0, decode: 0 });
  });

  it("keeps what decode has no room for on the prefill GPU, which then admits no more", () => {
    // Each pool holds 20 blocks; a prompt takes 10 of the first and, with its answer, 13 of the second.
    const pair = pairOf(makeProfile({ kvTotalTokens: 320 }));
    for (const id of [0, 1, 2, 3]) pair.submit({ id, arrivalMs: 0, promptTokens: 160, outputTokens: 48 });
    pair.advanceTo(200);
    expect(pair.state()).toMatchObject({ decodeRunning: 1, transferWaiting: 2, prefillWaiting: 1 });
    expect(finishedIds(drain(pair, 200))).toEqual([0, 1, 2, 3]);
  });

  it.each([
    [0, 25, "kvBytesPerToken must be above 0, got 0"],
    [1, Infinity, "linkGbPerS must be above 0, got Infinity"],
  ])("refuses a link of %d bytes a token at %d GB/s", (kvBytesPerToken, linkGbPerS, message) => {
    expect(() => new DisaggregatedPair({ profile: plain, kvBytesPerToken, linkGbPerS })).toThrow(message);
  });
});

describe("rates per GPU", () => {
  it("count a tensor-parallel group as its GPUs, and a pair as twice that", () => {
    const group = makeProfile({ gpus: 4 });
    const rates = [
      start(makeProfile()),
      start(group),
      chunkedOf(group, 512),
      pairOf(makeProfile()),
      pairOf(group),
    ];
    expect(rates.map((serving) => perGpu(serving, 16))).toEqual([16, 4, 4, 8, 2]);
  });
});
