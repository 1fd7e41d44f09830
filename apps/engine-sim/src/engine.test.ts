import { describe, expect, it } from "vitest";
import { UNCONTROLLED } from "@fulcrum/core/nouns.js";
import type { SimEvent, SimRequest } from "@fulcrum/simulator/job.js";
import { Engine } from "./engine.js";
import { loadProfile } from "./input-files.js";

/** One request every 100 ms of engine time. */
function* regular(): Generator<SimRequest> {
  for (let id = 0; ; id += 1) yield { id, arrivalMs: id * 100, promptTokens: 10, outputTokens: 1 };
}

function start(speed: number, bootMs: number) {
  const time = { ms: bootMs };
  const events: SimEvent[] = [];
  const engine = new Engine({
    profile: loadProfile("llama3-8b-a100"),
    initial: UNCONTROLLED,
    arrivals: regular(),
    speed,
    prepareMs: 0,
    bootMs,
    clock: () => time.ms,
    onEvents: (more) => events.push(...more),
  });
  const arrived = (): number => events.filter((event) => event.type === "arrived").length;
  return { engine, time, arrived };
}

describe("Engine", () => {
  it("catches up after a stall in steps of a wall second, and loses no request", () => {
    const { engine, time, arrived } = start(2, 0);
    time.ms = 5000;
    expect([engine.advance(), arrived()]).toEqual([3000, 21]);
    expect([engine.advance(), arrived()]).toEqual([1000, 41]);
    expect([engine.advance(), arrived()]).toEqual([0, 51]);
    expect(engine.state().nowMs).toBe(5000);
  });

  it("stands still before its start and when the clock does not move", () => {
    const { engine, time, arrived } = start(1, 0);
    time.ms = -500;
    expect(engine.advance()).toBe(0);
    expect([engine.state().nowMs, arrived()]).toEqual([0, 0]);
  });

  it("skips what came before it was up", () => {
    const { engine, time, arrived } = start(1, 1050);
    expect(engine.skippedArrivals).toBe(11);
    time.ms = 1500;
    engine.advance();
    expect([engine.state().nowMs, arrived()]).toEqual([1500, 5]);
  });
});
