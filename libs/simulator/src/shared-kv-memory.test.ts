import { describe, expect, it } from "vitest";
import * as fc from "fast-check";
import { SharedKvMemory } from "./shared-kv-memory.js";
import { submitAll } from "./serving.js";
import { drain, finishedIds, makeProfile, requests, start } from "./testing/kit.js";

const profile = (kvTotalTokens: number) => makeProfile({ kvTotalTokens, maxBatch: 8 });

describe("a KV pool that is resized", () => {
  it("gives back what is free at once and the rest as blocks come free", () => {
    const instance = start(profile(1600));
    instance.submit({ id: 0, arrivalMs: 0, promptTokens: 400, outputTokens: 8 });
    instance.submit({ id: 1, arrivalMs: 0, promptTokens: 400, outputTokens: 8 });
    instance.advanceTo(1);
    expect(instance.state().kvUsedTokens).toBe(800);
    expect(instance.setKvTotalTokens(500)).toBe(800);
    expect(instance.state()).toMatchObject({ kvTotalTokens: 800, kvOwedTokens: 304 });
    expect(finishedIds(drain(instance, 1))).toEqual([0, 1]);
    expect(instance.state()).toMatchObject({ kvTotalTokens: 496, kvOwedTokens: 0, kvUsedTokens: 0 });
  });

  it("never becomes too small for a request that it has taken, and refuses later ones", () => {
    const instance = start(profile(1600));
    instance.submit({ id: 0, arrivalMs: 0, promptTokens: 700, outputTokens: 40 });
    instance.advanceTo(1);
    expect(instance.setKvTotalTokens(16)).toBe(752);
    instance.submit({ id: 1, arrivalMs: 2, promptTokens: 700, outputTokens: 60 });
    const events = drain(instance, 1);
    expect(finishedIds(events)).toEqual([0]);
    expect(events.filter((event) => event.type === "refused")).toMatchObject([
      { id: 1, reason: "never_fits" },
    ]);
  });

  it("lets requests in that wait for blocks as soon as it grows", () => {
    const instance = start(profile(480));
    instance.submit({ id: 0, arrivalMs: 0, promptTokens: 200, outputTokens: 200 });
    instance.submit({ id: 1, arrivalMs: 0, promptTokens: 300, outputTokens: 10 });
    instance.advanceTo(100);
    expect(instance.state()).toMatchObject({ prefillWaiting: 1, prefillRunning: 0 });
    expect(instance.setKvTotalTokens(960)).toBe(960);
    expect(instance.state()).toMatchObject({ prefillWaiting: 0, prefillRunning: 1 });
  });

  it("refuses a size below one block", () => {
    expect(() => start(profile(1600)).setKvTotalTokens(15)).toThrow("at least one block, got 15 tokens");
  });
});

describe("KV memory shared by instances", () => {
  // Loads of requests up to 960 tokens on three pools of 1,600 to begin with; the second model's KV is twice as wide.
  const widths = [1, 2, 1];
  const deviceBytes = 1600 * 4;
  const shares = fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 4, maxLength: 4 });
  const resizes = fc.array(fc.record({ atMs: fc.integer({ min: 0, max: 3000 }), shares }), { maxLength: 8 });

  it("is never exceeded, and no request is lost, whatever is asked when", () => {
    fc.assert(
      fc.property(fc.tuple(requests, requests, requests), resizes, (loads, asks) => {
        const instances = loads.map((load) => {
          const instance = start(profile(1600));
          submitAll(instance, load);
          return instance;
        });
        const memory = new SharedKvMemory(
          deviceBytes,
          instances.map((instance, i) => ({ instance, kvBytesPerToken: widths[i] ?? 1 })),
        );
        const done = loads.map(() => new Set<number>());
        let asked = [1600, 1600, 1600];
        const bytes = (tokens: readonly number[]): number =>
          tokens.reduce((sum, each, i) => sum + each * (widths[i] ?? 1), 0);
        for (let ms = 0; ms < 600_000 && !instances.every((instance) => instance.idle); ms += 5) {
          for (const [i, instance] of instances.entries()) {
            for (const event of instance.advanceTo(ms)) {
              if (event.type === "refused") expect(event.reason).toBe("never_fits");
              if (event.type === "refused" || event.type === "finished") done[i]?.add(event.id);
            }
            expect(instance.state().kvUsedTokens).toBeLessThanOrEqual(instance.state().kvTotalTokens);
          }
          expect(bytes(memory.collect())).toBeLessThanOrEqual(deviceBytes);
          for (const ask of asks.filter(({ atMs }) => Math.ceil(atMs / 5) * 5 === ms)) {
            // A fourth share stays unused; at least a block each.
            const total = ask.shares.reduce((sum, share) => sum + share, 0);
            asked = widths.map((width, i) => ((ask.shares[i] ?? 1) / total / width) * deviceBytes);
            expect(bytes(memory.resize(asked))).toBeLessThanOrEqual(deviceBytes);
          }
        }
        expect(done.map((ids) => ids.size)).toEqual(loads.map((load) => load.length));
        // With everything done and every debt paid, all have what they asked for, in whole blocks; asked anew,
        // because sizes were kept up for requests that are gone.
        const whole = asked.map((tokens) => Math.floor(tokens / 16) * 16);
        memory.resize(asked);
        expect(memory.lentTokens()).toEqual(whole);
        expect(instances.map((instance) => instance.state().kvUsedTokens)).toEqual([0, 0, 0]);
      }),
      { numRuns: 60 },
    );
  });

  it("shrinks before it grows: a pool gets another's blocks only when they are free", () => {
    const [one, other] = [start(profile(800)), start(profile(800))];
    const memory = new SharedKvMemory(1600, [
      { instance: one, kvBytesPerToken: 1 },
      { instance: other, kvBytesPerToken: 1 },
    ]);
    one.submit({ id: 0, arrivalMs: 0, promptTokens: 300, outputTokens: 4 });
    one.submit({ id: 1, arrivalMs: 0, promptTokens: 300, outputTokens: 4 });
    one.advanceTo(1);
    expect(memory.resize([320, 1280])).toEqual([608, 992]);
    expect(memory.freeBytes).toBe(0);
    one.advanceTo(1000);
    expect(memory.collect()).toEqual([320, 1280]);
  });

  it("refuses more than there is, at the start and later", () => {
    const borrowers = [{ instance: start(profile(800)), kvBytesPerToken: 2 }];
    expect(() => new SharedKvMemory(1500, borrowers)).toThrow("pools of 1600 bytes exceed the device's 1500");
    const memory = new SharedKvMemory(1600, borrowers);
    expect(() => memory.resize([801])).toThrow("pools of 1602 bytes exceed the device's 1600");
    expect(() => memory.resize([])).toThrow("needs 1 sizes, got 0");
  });
});
