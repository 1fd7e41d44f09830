import { describe, expect, it } from "vitest";
import * as fc from "fast-check";
import { createInstance } from "./instance.js";
import type { SimEvent } from "./job.js";
import { createRandom } from "./random.js";
import { drain, finishedIds, flat, makeProfile, pct, requests, start, tokensIn } from "./testing/kit.js";

describe("an instance under any load and split", () => {
  // 1,600 tokens hold one or two of these requests: preemption and waiting for blocks are common.
  const tiny = makeProfile({ kvTotalTokens: 1600, maxBatch: 8, maxBatchedTokens: 256 });

  it.each([
    ["with a roomy pool", makeProfile()],
    ["with a tiny pool", tiny],
  ])("finishes every request once, with all its tokens, and returns every block (%s)", (_, profile) => {
    fc.assert(
      fc.property(requests, pct, pct, pct, (load, x, y, quota) => {
        const instance = start(profile, x, y, quota);
        const quotaTokens = (quota / 100) * profile.kvTotalTokens;
        for (const request of load) instance.submit(request);
        const events = drain(instance, 0, () => {
          const { kvUsedTokens, kvPrefillTokens, kvPrefillRequests } = instance.state();
          expect(kvUsedTokens).toBeLessThanOrEqual(profile.kvTotalTokens);
          // A request that alone exceeds the quota passes when prefill holds nothing else.
          if (kvPrefillRequests > 1) expect(kvPrefillTokens).toBeLessThanOrEqual(quotaTokens);
        });
        expect(finishedIds(events)).toEqual(load.map((request) => request.id));
        expect(tokensIn(events)).toBe(load.reduce((sum, request) => sum + request.outputTokens, 0));
        expect(instance.state()).toMatchObject({ kvUsedTokens: 0, kvPrefillTokens: 0, preemptedWaiting: 0 });
      }),
      { numRuns: 60 },
    );
  });

  it("tells the same story for the same input, however time is cut into steps", () => {
    fc.assert(
      fc.property(requests, fc.integer({ min: 1, max: 500 }), (load, stepMs) => {
        const inSteps = start(tiny);
        const atOnce = start(tiny);
        for (const request of load) {
          inSteps.submit(request);
          atOnce.submit(request);
        }
        const events: SimEvent[] = [];
        for (let ms = 0; ms < 200_000; ms += stepMs) events.push(...inSteps.advanceTo(ms));
        events.push(...inSteps.advanceTo(200_000));
        expect(events).toEqual(atOnce.advanceTo(200_000));
        expect(inSteps.state()).toEqual(atOnce.state());
      }),
      { numRuns: 20 },
    );
  });
});

describe("latencies", () => {
  it("follow the step times for a request that is alone", () => {
    const instance = start(makeProfile());
    instance.submit({ id: 1, arrivalMs: 100, promptTokens: 200, outputTokens: 3 });
    const events = drain(instance);
    // Prefill 5 + 0.05 * 200 + 5; each decode step 8 + 0.05 + 1e-4 * context + 2.
    expect(events.find((event) => event.type === "first_token")).toMatchObject({ ttftMs: 20, queuedMs: 0 });
    const finished = events.find((event) => event.type === "finished");
    expect(finished?.tpotMs).toBeCloseTo(10.05 + 1e-4 * 201.5, 9);
    expect(finished?.e2eMs).toBeCloseTo(20 + 2 * (finished?.tpotMs ?? 0), 9);
  });

  it("have no TPOT for an answer of one token", () => {
    const instance = start(makeProfile());
    instance.submit({ id: 1, arrivalMs: 0, promptTokens: 10, outputTokens: 1 });
    expect(drain(instance).find((event) => event.type === "finished")?.tpotMs).toBeNull();
  });

  it("chunk a prompt beyond the token budget, and charge attention for its whole length", () => {
    const profile = makeProfile({
      maxBatchedTokens: 100,
      prefill: { kernelMs: [5, 0.05, 0.001], engineMs: 5, smShare: flat },
    });
    const instance = start(profile);
    instance.submit({ id: 1, arrivalMs: 0, promptTokens: 250, outputTokens: 1 });
    const first = drain(instance).find((event) => event.type === "first_token");
    expect(first?.ttftMs).toBeCloseTo(3 * 10 + 0.05 * 250 + 0.001 * 250 ** 2, 9);
  });

  it("of prefill at low load agree with an M/D/1 queue", () => {
    // One request a batch, one fixed service time: P = 200 tokens, S = 20 ms, rho = 0.3.
    const instance = start(makeProfile({ maxBatchedTokens: 200 }));
    const random = createRandom(11, 0);
    const serviceMs = 20;
    const rho = 0.3;
    const count = 40_000;
    let arrivalMs = 0;
    for (let id = 0; id < count; id += 1) {
      arrivalMs += random.exponential(serviceMs / rho);
      instance.submit({ id, arrivalMs, promptTokens: 200, outputTokens: 1 });
    }
    let waited = 0;
    for (const event of instance.advanceTo(arrivalMs + 10_000)) {
      if (event.type === "first_token") waited += event.ttftMs - serviceMs;
    }
    const expectedMs = (rho * serviceMs) / (2 * (1 - rho));
    // 40,000 correlated samples: the standard error of the mean wait is about 1 %; 5 % is allowed.
    expect(waited / count / expectedMs).toBeGreaterThan(0.95);
    expect(waited / count / expectedMs).toBeLessThan(1.05);
  });
});

describe("the KV pool", () => {
  it("makes the youngest give way when decode cannot grow, and computes it again", () => {
    const instance = start(makeProfile({ kvTotalTokens: 320, kvBlockTokens: 16 }));
    instance.submit({ id: 1, arrivalMs: 0, promptTokens: 140, outputTokens: 150 });
    instance.submit({ id: 2, arrivalMs: 1, promptTokens: 140, outputTokens: 40 });
    const events = drain(instance);
    const preempted = events.filter((event) => event.type === "preempted");
    expect(preempted.length).toBeGreaterThan(0);
    expect(new Set(preempted.map((event) => event.id))).toEqual(new Set([2]));
    expect(events.filter((event) => event.type === "first_token")).toHaveLength(2);
    expect(events.filter((event) => event.type === "finished").map((event) => event.id)).toEqual([1, 2]);
  });

  it("lets prefill hold no more than its quota, but a single larger request alone", () => {
    // A quota of 10 % is 160 tokens: two prompts of 80 fit, and one of 400 only by itself.
    const instance = start(makeProfile({ kvTotalTokens: 1600 }), 100, 100, 10);
    for (let id = 0; id < 4; id += 1)
      instance.submit({ id, arrivalMs: 0, promptTokens: 80, outputTokens: 1 });
    instance.submit({ id: 4, arrivalMs: 0, promptTokens: 400, outputTokens: 1 });
    instance.advanceTo(0);
    expect(instance.state()).toMatchObject({ kvPrefillTokens: 160, kvPrefillRequests: 2, prefillWaiting: 3 });
    expect(drain(instance).filter((event) => event.type === "finished")).toHaveLength(5);
  });

  it("refuses what can never fit, and what exceeds the bound of the queue", () => {
    const profile = makeProfile({ kvTotalTokens: 160 });
    const instance = createInstance({
      profile,
      initial: { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100, generation: 0 },
      maxWaiting: 1,
    });
    const sizes = [161, 100, 100, 100];
    for (const [id, promptTokens] of sizes.entries()) {
      instance.submit({ id, arrivalMs: id, promptTokens, outputTokens: 1 });
    }
    const refused = drain(instance).filter((event) => event.type === "refused");
    expect(refused.map(({ id, reason }) => [id, reason])).toEqual([
      [0, "never_fits"],
      [3, "queue_full"],
    ]);
  });
});

describe("reconfiguration", () => {
  const next = { split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 50, generation: 4 };

  it("prepares in the background and lets each worker switch at its own boundary", () => {
    const instance = start(makeProfile());
    instance.submit({ id: 0, arrivalMs: 0, promptTokens: 10, outputTokens: 50 });
    instance.submit({ id: 1, arrivalMs: 105, promptTokens: 1000, outputTokens: 5 });
    expect(instance.prepare(next, 100)).toEqual({ ok: true, changed: true });
    instance.advanceTo(99);
    expect(instance.state()).toMatchObject({ phase: "preparing", prepared: { generation: 4, ready: false } });
    expect(instance.commit(4)).toMatchObject({ ok: false, code: "not_ready" });
    instance.advanceTo(110);
    expect(instance.commit(4)).toEqual({ ok: true, changed: true });
    expect(instance.state()).toMatchObject({
      phase: "switching",
      generation: 0,
      asked: { kvQuotaPct: 50 },
      delivered: { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 },
    });
    const switched = drain(instance, 110).filter((event) => event.type === "switched");
    // The short decode iteration ends before the prefill of 1,000 tokens does.
    expect(switched.map((event) => event.phase)).toEqual(["decode", "prefill"]);
    expect(switched[0]?.atMs).toBeLessThan(switched[1]?.atMs ?? 0);
    expect(instance.state()).toMatchObject({
      phase: "steady",
      generation: 4,
      prepared: null,
      delivered: { split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 50 },
    });
  });

  it("switches idle workers at once, or when a held switch is let go", () => {
    const instance = start(makeProfile());
    instance.prepare(next, 0);
    expect(instance.commit(4)).toMatchObject({ ok: true });
    expect(instance.state()).toMatchObject({ phase: "steady", generation: 4 });
    instance.prepare({ ...next, generation: 5 }, 0);
    instance.commit(5, 300);
    instance.advanceTo(299);
    expect(instance.state()).toMatchObject({ phase: "switching", generation: 4 });
    instance.advanceTo(300);
    expect(instance.state()).toMatchObject({ phase: "steady", generation: 5 });
  });

  it("switches each worker at the end of the turn that is named for it, busy or idle, and not one earlier", () => {
    const turns = fc.record({
      prefill: fc.integer({ min: 1, max: 60 }),
      decode: fc.integer({ min: 1, max: 60 }),
    });
    const requests = fc.array(
      fc.record({ prompt: fc.integer({ min: 1, max: 2_000 }), gapMs: fc.nat({ max: 300 }) }),
      {
        maxLength: 20,
      },
    );
    fc.assert(
      fc.property(turns, requests, fc.nat({ max: 500 }), (ahead, load, startMs) => {
        const instance = start(makeProfile());
        let arrivalMs = 0;
        load.forEach(({ prompt, gapMs }, id) => {
          arrivalMs += gapMs;
          instance.submit({ id, arrivalMs, promptTokens: prompt, outputTokens: 8 });
        });
        instance.prepare(next, 0);
        instance.advanceTo(startMs);
        const before = instance.state().turns;
        const at = { prefill: before.prefill + ahead.prefill, decode: before.decode + ahead.decode };
        expect(instance.commit(4, 0, at)).toEqual({ ok: true, changed: true });
        expect(instance.commit(4, 0, at)).toEqual({ ok: true, changed: false });
        expect(instance.state()).toMatchObject({ generation: 0, phase: "preparing", armed: at });
        instance.advanceTo(60_000);
        expect(instance.state()).toMatchObject({
          phase: "steady",
          generation: 4,
          armed: null,
          switchedAt: at,
        });
      }),
    );
  });

  it("refuses a turn that is past for either worker, and drops what is armed when it is told to", () => {
    const instance = start(makeProfile());
    instance.prepare(next, 0);
    instance.advanceTo(1_000);
    expect(instance.state().turns).toEqual({ prefill: 100, decode: 100 });
    for (const at of [
      { prefill: 99, decode: 200 },
      { prefill: 200, decode: 99 },
    ]) {
      expect(instance.commit(4, 0, at)).toMatchObject({ ok: false, code: "too_late" });
      expect(instance.state()).toMatchObject({ phase: "preparing", armed: null });
    }
    instance.commit(4, 0, { prefill: 150, decode: 200 });
    instance.advanceTo(1_499);
    expect(instance.abort(4)).toEqual({ ok: true, changed: true });
    instance.advanceTo(3_000);
    expect(instance.state()).toMatchObject({ phase: "steady", generation: 0, prepared: null, armed: null });
    // Once the first worker is over it goes on.
    instance.prepare(next, 0);
    instance.commit(4, 0, { prefill: 350, decode: 400 });
    instance.advanceTo(3_600);
    expect(instance.state()).toMatchObject({ phase: "switching", prepared: null });
    expect(instance.abort(4)).toEqual({ ok: true, changed: false });
    instance.advanceTo(4_000);
    expect(instance.state()).toMatchObject({ phase: "steady", generation: 4 });
  });

  it("never goes back to an older generation, and repeats change nothing", () => {
    const instance = start(makeProfile());
    instance.prepare(next, 0);
    expect(instance.prepare({ ...next, generation: 3 }, 0)).toMatchObject({ code: "stale_generation" });
    expect(instance.prepare(next, 0)).toEqual({ ok: true, changed: false });
    instance.commit(4);
    expect(instance.commit(4)).toEqual({ ok: true, changed: false });
    expect(instance.prepare(next, 0)).toEqual({ ok: true, changed: false });
    expect(instance.commit(3)).toMatchObject({ code: "stale_generation" });
    expect(instance.commit(5)).toMatchObject({ code: "not_ready" });
    instance.prepare({ ...next, generation: 6 }, 0);
    expect(instance.abort(6)).toEqual({ ok: true, changed: true });
    expect(instance.abort(6)).toEqual({ ok: true, changed: false });
    expect(instance.state()).toMatchObject({ phase: "steady", generation: 4, prepared: null });
  });
});
