/** What every partition driver must do, whatever stands behind it. */
import { describe, expect, test } from "vitest";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { DriverError, type PartitionDriver, type Plan } from "../partition-driver.js";
import type { EngineModel } from "./engine-model.js";

export interface DriverUnderTest {
  readonly driver: PartitionDriver;
  readonly engine: EngineModel;
  readonly kill: () => Promise<void>;
}

const SPLIT: Allocation = { split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 90 };

async function planned(driver: PartitionDriver, generation: number): Promise<Plan> {
  return driver.plan({ generation, ...SPLIT }, await driver.probe());
}

export function describeDriver(what: string, start: () => Promise<DriverUnderTest>): void {
  describe(`the partition driver ${what}`, () => {
    test("prepares beside the running split, switches on commit, and reads back what was delivered", async () => {
      const { driver } = await start();
      const before = await driver.observe();
      const plan = await planned(driver, 1);
      await driver.prepare(plan);
      await driver.observe();
      expect(await driver.observe()).toMatchObject({
        generation: 0,
        phase: "preparing",
        delivered: before.delivered,
        prepared: { generation: 1, ready: true },
      });
      await driver.commit(plan);
      expect(await driver.observe()).toMatchObject({ generation: 0, phase: "switching" });
      expect(await driver.observe()).toMatchObject({ generation: 1, phase: "steady", prepared: null });
      // 60 % and 40 % of 108 SMs, in whole TPCs of 2.
      const delivered = { split: { prefillSmPct: 59.26, decodeSmPct: 38.89 }, kvQuotaPct: 90 };
      expect(await driver.verify(plan)).toEqual({ kind: "delivered", delivered });
    });

    test("may be told everything twice", async () => {
      const { driver } = await start();
      const plan = await planned(driver, 1);
      await driver.prepare(plan);
      await driver.prepare(plan);
      await driver.observe();
      await driver.commit(plan);
      await driver.commit(plan);
      await driver.observe();
      await driver.observe();
      await driver.prepare(plan);
      await driver.commit(plan);
      expect(await driver.observe()).toMatchObject({ generation: 1, phase: "steady", prepared: null });
      await driver.rollback(7);
    });

    test("rolls back what was not committed", async () => {
      const { driver, engine } = await start();
      engine.holdPrepare = true;
      await driver.prepare(await planned(driver, 1));
      await driver.rollback(1);
      expect(await driver.observe()).toMatchObject({ generation: 0, phase: "steady", prepared: null });
    });

    test("lets a newer preparation replace an older, never the other way round", async () => {
      const { driver } = await start();
      await driver.prepare(await planned(driver, 1));
      expect((await driver.prepare(await planned(driver, 2))).prepared?.generation).toBe(2);
      await expect(driver.prepare(await planned(driver, 1))).rejects.toMatchObject({
        code: "stale_generation",
        retryable: false,
      });
    });

    test("says that it is not ready, and that a wrong delivery is wrong", async () => {
      const { driver, engine } = await start();
      const plan = await planned(driver, 1);
      await driver.prepare(plan);
      engine.holdPrepare = true;
      await expect(driver.commit(plan)).rejects.toMatchObject({ code: "not_ready", retryable: true });
      expect((await driver.verify(plan)).kind).toBe("pending");
      engine.holdPrepare = false;
      await driver.observe();
      await driver.commit(plan);
      await driver.observe();
      engine.misdeliver = { split: { prefillSmPct: 100, decodeSmPct: 38.89 }, kvQuotaPct: 90 };
      expect(await driver.verify(plan)).toMatchObject({
        kind: "not_delivered",
        message: expect.stringContaining("prefillSmPct asked 60, delivered 100") as string,
      });
    });

    test("is silent, in so many words, when the engine is not there", async () => {
      const { driver, kill } = await start();
      await driver.observe();
      await kill();
      const error = await driver.observe().catch((error: unknown) => error);
      expect(error).toBeInstanceOf(DriverError);
      expect((error as DriverError).silent).toBe(true);
    });
  });
}

/** Of a driver whose engine counts iterations. */
export function describeCountingDriver(what: string, start: () => Promise<DriverUnderTest>): void {
  describe(`the partition driver ${what}, told when to switch,`, () => {
    test("switches at the end of the iterations that are named; until then it may be taken back", async () => {
      const { driver, engine } = await start();
      engine.iterate(100);
      const plan = await planned(driver, 1);
      await driver.prepare(plan);
      await driver.observe();
      const late = driver.commit(plan, { prefill: 100, decode: 200 });
      await expect(late).rejects.toMatchObject({ code: "too_late", retryable: true });
      const armed = { generation: 0, phase: "preparing", prepared: { generation: 1, ready: true } };
      await driver.commit(plan, { prefill: 200, decode: 200 });
      await driver.commit(plan, { prefill: 200, decode: 200 });
      expect(await driver.observe()).toMatchObject({ ...armed, iterations: { prefill: 100, decode: 100 } });
      await driver.rollback(1);
      engine.iterate(100);
      expect(await driver.observe()).toMatchObject({ generation: 0, phase: "steady", prepared: null });
      await driver.prepare(plan);
      await driver.observe();
      await driver.commit(plan, { prefill: 300, decode: 300 });
      expect(await driver.observe()).toMatchObject(armed);
      engine.iterate(100);
      expect(await driver.observe()).toMatchObject({ phase: "switching" });
      expect(await driver.observe()).toMatchObject({ generation: 1, phase: "steady" });
    });
  });
}
