/** What every staged driver must do, whatever its knob. */
import type { Allocation } from "@fulcrum/core/nouns.js";
import { describe, expect, test } from "vitest";
import { DriverError, type PartitionDriver, type Plan, type Verdict } from "../partition-driver.js";

export interface StagedUnderTest {
  /** A new driver over the same state folder and the same engine: an agent that was killed and started again. */
  readonly newDriver: () => PartitionDriver;
  /** Two that differ, both deliverable as they are. */
  readonly targets: readonly [Allocation, Allocation];
  readonly verdict: Verdict["kind"];
  readonly kill: () => Promise<void>;
}

export async function planned(
  driver: PartitionDriver,
  generation: number,
  allocation: Allocation,
): Promise<Plan> {
  return driver.plan({ generation, ...allocation }, await driver.probe());
}

/** Looks until the driver is steady at a generation. */
export async function until(driver: PartitionDriver, generation: number): Promise<void> {
  await expect
    .poll(() => driver.observe(), { timeout: 30_000, interval: 20 })
    .toMatchObject({ generation, phase: "steady", prepared: null });
}

export async function moveTo(driver: PartitionDriver, generation: number, to: Allocation): Promise<Plan> {
  const plan = await planned(driver, generation, to);
  await driver.prepare(plan);
  await driver.commit(plan);
  await until(driver, generation);
  return plan;
}

export function describeStagedDriver(what: string, start: () => Promise<StagedUnderTest>): void {
  describe(`the staged driver of ${what}`, () => {
    test("prepares without touching what runs, moves on commit, and says what it could read back", async () => {
      const { newDriver, targets, verdict } = await start();
      const driver = newDriver();
      const before = await driver.observe();
      const plan = await planned(driver, 1, targets[0]);
      expect(plan.adjusted).toEqual([]);
      await driver.prepare(plan);
      expect(await driver.observe()).toMatchObject({
        generation: 0,
        phase: "preparing",
        delivered: before.delivered,
        prepared: { generation: 1, ready: true },
      });
      expect((await driver.verify(plan)).kind).toBe("pending");
      await driver.commit(plan);
      await until(driver, 1);
      expect((await driver.verify(plan)).kind).toBe(verdict);
      expect((await driver.observe()).asked).toEqual(plan.asked);
      driver.close();
    });

    test("may be told everything twice, and goes back by a new generation", async () => {
      const { newDriver, targets } = await start();
      const driver = newDriver();
      const plan = await planned(driver, 1, targets[0]);
      await driver.prepare(plan);
      await driver.prepare(plan);
      await driver.commit(plan);
      await driver.commit(plan);
      await until(driver, 1);
      await driver.prepare(plan);
      await driver.commit(plan);
      await driver.rollback(7);
      expect(await driver.observe()).toMatchObject({ generation: 1, phase: "steady", prepared: null });
      await moveTo(driver, 2, targets[1]);
      expect((await driver.observe()).asked).toEqual(targets[1]);
      driver.close();
    });

    test("drops what was not committed, and a newer preparation replaces an older, never the other way round", async () => {
      const { newDriver, targets } = await start();
      const driver = newDriver();
      await driver.prepare(await planned(driver, 1, targets[0]));
      const second = await planned(driver, 2, targets[1]);
      expect((await driver.prepare(second)).prepared?.generation).toBe(2);
      await expect(driver.prepare(await planned(driver, 1, targets[0]))).rejects.toMatchObject({
        code: "stale_generation",
        retryable: false,
      });
      await driver.rollback(2);
      expect(await driver.observe()).toMatchObject({ generation: 0, phase: "steady", prepared: null });
      await expect(driver.commit(second)).rejects.toMatchObject({ code: "not_ready", retryable: true });
      driver.close();
    });
  });
  describeDeaths(what, start);
}

function describeDeaths(what: string, start: () => Promise<StagedUnderTest>): void {
  describe(`the staged driver of ${what}, when something dies`, () => {
    test("is found again by the agent that comes after one that was killed, wherever it was", async () => {
      const { newDriver, targets } = await start();
      const first = newDriver();
      const plan = await planned(first, 5, targets[0]);
      await first.prepare(plan);
      first.close();
      const second = newDriver();
      expect(await second.observe()).toMatchObject({
        generation: 0,
        prepared: { generation: 5, ready: true },
      });
      await second.commit(plan);
      second.close();
      const third = newDriver();
      await until(third, 5);
      expect((await third.observe()).asked).toEqual(plan.asked);
      await expect(third.prepare({ ...plan, generation: 4 })).rejects.toMatchObject({
        code: "stale_generation",
      });
      third.close();
    });

    test("is silent, in so many words, when the engine is not there", async () => {
      const { newDriver, kill } = await start();
      const driver = newDriver();
      await driver.observe();
      await kill();
      const error = await driver.observe().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(DriverError);
      expect((error as DriverError).silent).toBe(true);
      driver.close();
    });
  });
}
