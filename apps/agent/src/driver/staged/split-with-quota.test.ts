import { describe, expect, test } from "vitest";
import { EngineModel } from "../../testing/engine-model.js";
import { InMemoryDriver } from "../../testing/in-memory-driver.js";
import type { ActualState } from "../../partition-driver.js";
import { SplitWithQuota } from "./split-with-quota.js";

const TARGET = { generation: 4, split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 70 };

function both() {
  const engines = { split: new EngineModel(), quota: new EngineModel() };
  const newDriver = () =>
    new SplitWithQuota(new InMemoryDriver(engines.split), new InMemoryDriver(engines.quota));
  return { ...engines, newDriver };
}

async function ready(driver: SplitWithQuota) {
  const plan = driver.plan(TARGET, await driver.probe());
  await driver.prepare(plan);
  await driver.observe();
  return plan;
}

async function settle(driver: SplitWithQuota) {
  await driver.observe();
  return driver.observe();
}

describe("a driver of the split with a driver of the quota", () => {
  test("moves both under one generation, each by its own driver", async () => {
    const { split, quota, newDriver } = both();
    const driver = newDriver();
    const plan = await ready(driver);
    expect(await driver.observe()).toMatchObject({ generation: 0, prepared: { generation: 4, ready: true } });
    await driver.commit(plan);
    const actual = await settle(driver);
    expect(actual).toMatchObject({
      generation: 4,
      phase: "steady",
      asked: { split: TARGET.split, kvQuotaPct: 70 },
    });
    expect(await driver.verify(plan)).toMatchObject({
      kind: "delivered",
      delivered: { split: { prefillSmPct: 59.26 }, kvQuotaPct: 70 },
    });
    expect(split.observe().asked.kvQuotaPct).toBe(100);
    expect(quota.observe().asked.kvQuotaPct).toBe(70);
  });

  test("is not ready before both are", async () => {
    const { quota, newDriver } = both();
    quota.holdPrepare = true;
    const driver = newDriver();
    await ready(driver);
    expect((await driver.observe()).prepared).toEqual({ generation: 4, ready: false });
  });

  test("goes on where an agent died between the two commits", async () => {
    const { quota, newDriver } = both();
    const plan = await ready(newDriver());
    quota.commit(4);
    quota.observe();
    expect(quota.observe().generation).toBe(4);
    const next = newDriver();
    expect(await next.observe()).toMatchObject({ generation: 0, prepared: { generation: 4, ready: true } });
    await next.commit(plan);
    expect(await settle(next)).toMatchObject({ generation: 4, phase: "steady", prepared: null });
  });

  test("prepares again where an agent died between the two preparations", async () => {
    const { split, newDriver } = both();
    split.prepare(4, TARGET);
    const next = newDriver();
    expect((await next.observe()).prepared).toBeNull();
    await ready(next);
    expect((await next.observe()).prepared).toEqual({ generation: 4, ready: true });
  });

  test("says the worse of the two verdicts", async () => {
    const { quota, newDriver } = both();
    const driver = newDriver();
    const plan = await ready(driver);
    await driver.commit(plan);
    await settle(driver);
    quota.misdeliver = { split: TARGET.split, kvQuotaPct: 100 };
    expect(await driver.verify(plan)).toMatchObject({ kind: "not_delivered" });
  });

  test("begins anew when either engine does", async () => {
    const { quota, newDriver } = both();
    const driver = newDriver();
    const plan = await ready(driver);
    await driver.commit(plan);
    const before = await settle(driver);
    quota.restart();
    const after = await driver.observe();
    expect(after.generation).toBe(0);
    expect(after.bootId).not.toBe(before.bootId);
    await ready(driver);
    await driver.commit(plan);
    expect(await settle(driver)).toMatchObject({ generation: 4, delivered: { kvQuotaPct: 70 } });
  });

  test("tells what either of them tells: why it gave up, and its conditions", async () => {
    const { split, quota } = both();
    const failure = { generation: 4, code: "spawn_failed", message: "no memory", retryable: true };
    const told = (driver: InMemoryDriver, more: Partial<ActualState>): InMemoryDriver => {
      const observe = driver.observe.bind(driver);
      return Object.assign(driver, { observe: async () => ({ ...(await observe()), ...more }) });
    };
    const driver = new SplitWithQuota(
      told(new InMemoryDriver(split), { failure, conditions: ["MpsFault"] }),
      told(new InMemoryDriver(quota), { conditions: ["AllocationLost"] }),
    );
    expect(await driver.observe()).toMatchObject({ failure, conditions: ["MpsFault", "AllocationLost"] });
  });
});
