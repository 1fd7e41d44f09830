import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DriverError } from "../partition-driver.js";
import { EngineModel } from "../testing/engine-model.js";
import { InMemoryDriver } from "../testing/in-memory-driver.js";
import { VirtualClock } from "../testing/virtual-clock.js";
import { GpuTurns } from "./gpu-turns.js";
import { OneAtATime } from "./one-at-a-time.js";

const HOLD = 60_000;
const PLAN = {
  generation: 1,
  asked: { split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 90 },
  roundingPct: 2,
  adjusted: [],
};

describe("the turn on a GPU", () => {
  test("is one instance's; another GPU's is free; who asked first is next", () => {
    const turns = new GpuTurns();
    expect(turns.take("a", ["0"], 0, HOLD).kind).toBe("granted");
    expect(turns.take("b", ["0", "1"], 0, HOLD)).toEqual({ kind: "busy", owner: "a", gpu: "0" });
    // b waits for 0 and 1 and is next on both.
    expect(turns.take("c", ["1"], 0, HOLD)).toEqual({ kind: "busy", owner: "b", gpu: "1" });
    expect(turns.take("d", ["2"], 0, HOLD).kind).toBe("granted");
    turns.release("a");
    expect(turns.take("c", ["1"], 100, HOLD).kind).toBe("busy");
    expect(turns.take("b", ["0", "1"], 100, HOLD).kind).toBe("granted");
  });

  test("is lost at its deadline, and a place in line when nobody asks any more", () => {
    const turns = new GpuTurns();
    turns.take("a", ["0"], 0, 1_000);
    turns.take("b", ["0"], 0, HOLD);
    expect(turns.take("c", ["0"], 999, HOLD).kind).toBe("busy");
    // a is over time, b has not asked again for 5 s.
    expect(turns.take("c", ["0"], 5_000, HOLD).kind).toBe("granted");
    expect(turns.isHeldBy("a", 5_000)).toBe(false);
  });

  test("never belongs to two instances of one GPU, whatever order they come in", () => {
    const gpus = fc.subarray(["0", "1", "2"], { minLength: 1 });
    const step = fc.record({
      owner: fc.constantFrom("a", "b", "c", "d"),
      release: fc.boolean(),
      afterMs: fc.integer({ min: 0, max: 3_000 }),
    });
    fc.assert(
      fc.property(fc.record({ a: gpus, b: gpus, c: gpus, d: gpus }), fc.array(step), (of, steps) => {
        const turns = new GpuTurns();
        let nowMs = 0;
        for (const { owner, release, afterMs } of steps) {
          nowMs += afterMs;
          if (release) turns.release(owner);
          else turns.take(owner, of[owner as keyof typeof of], nowMs, 10_000);
          const held = (["a", "b", "c", "d"] as const)
            .filter((each) => turns.isHeldBy(each, nowMs))
            .flatMap((each) => of[each]);
          expect(new Set(held).size).toBe(held.length);
        }
      }),
    );
  });
});

describe("two engines on one GPU", () => {
  function pair() {
    const clock = new VirtualClock();
    const turns = new GpuTurns();
    const engines = [new EngineModel(), new EngineModel()] as const;
    const [first, second] = engines.map(
      (engine, i) =>
        new OneAtATime(new InMemoryDriver(engine), {
          instance: `chat-${i}`,
          gpus: ["GPU-a"],
          turns,
          holdMs: HOLD,
          clock,
        }),
    );
    return { clock, engines, first: first!, second: second! };
  }

  test("are moved one after the other, and the second is told why it waits", async () => {
    const { engines, first, second } = pair();
    await first.prepare(PLAN);
    await expect(second.prepare(PLAN)).rejects.toMatchObject({
      code: "busy",
      message: "chat-0 is being moved on GPU-a",
      silent: true,
    } satisfies Partial<DriverError>);
    expect(engines[1].calls).toEqual([]);
    await expect.poll(async () => (await first.observe()).prepared?.ready).toBe(true);
    await first.commit(PLAN);
    await expect.poll(async () => (await first.observe()).generation).toBe(1);
    await second.prepare(PLAN);
    expect(engines[1].calls).toEqual(["prepare 1"]);
  });

  test("a switch that hangs keeps the turn, until its deadline", async () => {
    const { clock, engines, first, second } = pair();
    engines[0].holdSwitch = true;
    await first.prepare(PLAN);
    await expect.poll(async () => (await first.observe()).prepared?.ready).toBe(true);
    await first.commit(PLAN);
    await first.observe();
    await expect(second.prepare(PLAN)).rejects.toBeInstanceOf(DriverError);
    await clock.sleep(HOLD);
    await second.prepare(PLAN);
    expect(engines[1].calls).toEqual(["prepare 1"]);
  });

  test("a preparation that was dropped gives the turn back", async () => {
    const { engines, first, second } = pair();
    await first.prepare(PLAN);
    await first.rollback(1);
    await first.observe();
    await second.prepare(PLAN);
    expect(engines[1].calls).toEqual(["prepare 1"]);
  });
});
