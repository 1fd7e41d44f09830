import { describe, expect, it } from "vitest";
import * as fc from "fast-check";
import type { Instance } from "./instance.js";
import type { SimRequest } from "./job.js";
import { submitAll } from "./serving.js";
import { drain, finishedIds, makeProfile, pct, requests, start } from "./testing/kit.js";

// 1,600 tokens hold one or two requests: forks are taken amid preemption, chunked prompts and waiting.
const tiny = makeProfile({ kvTotalTokens: 1600, maxBatch: 8, maxBatchedTokens: 256 });
const FAR_MS = 200_000;

function switchTo(instance: Instance, prefillSmPct: number, decodeSmPct: number, prepareMs: number): void {
  const generation = instance.state().generation + 1;
  instance.prepare({ split: { prefillSmPct, decodeSmPct }, kvQuotaPct: 100, generation }, prepareMs);
}

describe("a fork", () => {
  it("goes on exactly as the original does, wherever it is taken", () => {
    fc.assert(
      fc.property(requests, pct, pct, fc.integer({ min: 0, max: 3000 }), (load, x, y, atMs) => {
        const original = start(tiny, x, y);
        submitAll(original, load);
        switchTo(original, y, x, 50);
        original.advanceTo(atMs);
        const fork = original.fork();
        for (const instance of [original, fork]) instance.commit(1, 20);
        const ofFork = fork.advanceTo(FAR_MS);
        const ofOriginal = original.advanceTo(FAR_MS);
        expect(ofFork).toEqual(ofOriginal);
        expect(fork.state()).toEqual(original.state());
      }),
    );
  });

  it("is untouched by the original, and leaves it untouched", () => {
    fc.assert(
      fc.property(requests, pct, pct, fc.integer({ min: 0, max: 3000 }), (load, x, y, atMs) => {
        const [original, undisturbed] = [start(tiny, x, y), start(tiny, x, y)];
        for (const instance of [original, undisturbed]) {
          submitAll(instance, load);
          instance.advanceTo(atMs);
        }
        const before = original.state();
        const fork = original.fork();
        switchTo(fork, y, x, 0);
        fork.commit(1);
        const extra: SimRequest = { id: 1000, arrivalMs: 10_000, promptTokens: 700, outputTokens: 30 };
        fork.submit(extra);
        fork.advanceTo(FAR_MS);
        expect(original.state()).toEqual(before);
        const second = original.fork();
        expect(original.advanceTo(FAR_MS)).toEqual(undisturbed.advanceTo(FAR_MS));
        expect(second.state()).toEqual(before);
      }),
    );
  });

  it("starts without the events that the original still holds", () => {
    const original = start(tiny);
    switchTo(original, 60, 40, 0);
    original.commit(1);
    const fork = original.fork();
    expect(fork.advanceTo(1)).toEqual([]);
    expect(original.advanceTo(1).map((event) => event.type)).toEqual(["switched", "switched"]);
  });

  it("takes requests from the original's last announced arrival on", () => {
    const original = start(tiny);
    original.submit({ id: 0, arrivalMs: 50, promptTokens: 10, outputTokens: 2 });
    const fork = original.fork();
    expect(() => fork.submit({ id: 1, arrivalMs: 49, promptTokens: 10, outputTokens: 2 })).toThrow(
      "arrivalMs must be at least 50, got 49",
    );
    fork.submit({ id: 1, arrivalMs: 50, promptTokens: 10, outputTokens: 2 });
    expect(finishedIds(drain(fork))).toEqual([0, 1]);
    expect(finishedIds(drain(original))).toEqual([0]);
  });
});
