import { histogramAt } from "@fulcrum/core/fixtures.js";
import { addHistograms, okShare, percentile } from "@fulcrum/core/signal/histogram.js";
import { describe, expect, test } from "vitest";

import { until } from "../process/support/until.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { poolBody, registrationEntry, SLO } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });

async function anAgent(
  pool: string,
  count: number,
  over: Parameters<typeof poolBody>[1] = {},
): Promise<TestAgent> {
  await fixture.controller.ask("createPool", { body: poolBody(pool, over) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(...Array.from({ length: count }, (_, i) => registrationEntry(`${pool}-${i}`, pool)));
  return agent;
}

async function itemOf(instance: string, side: "controller" | "other" = "controller") {
  const { items } = await fixture[side].ask("getFleet");
  return items.find((item) => item.instance.name === instance)!;
}

const fast = { ttft: histogramAt(120, 40), tpot: histogramAt(50, 40) };
const slow = { ttft: histogramAt(900, 60), tpot: histogramAt(50, 60) };

test("latencies and attainment are of the SLO's percentiles over the lookback, as core reads them off the histograms", async () => {
  const agent = await anAgent("reads", 1);
  const nowMs = Date.now();
  for (const [ageMs, latencies] of [
    [45_000, histogramAt(5_000, 1_000)],
    [8_000, fast.ttft],
    [1_000, slow.ttft],
  ] as const)
    await agent.report("reads-0", { window: { endAtMs: nowMs - ageMs, ttft: latencies, tpot: fast.tpot } });
  await until("all three are read", async () => {
    const { ttftMs } = (await itemOf("reads-0")).spark;
    return ttftMs.filter((value) => value !== null).length === 3;
  });
  const item = await itemOf("reads-0");
  const ttft = addHistograms(fast.ttft, slow.ttft);
  const tpot = addHistograms(fast.tpot, fast.tpot);
  expect(item.slo).toEqual(SLO);
  expect(item.ttftMs).toBeCloseTo(percentile(ttft, 0.9)!.ms, 6);
  expect(item.tpotMs).toBeCloseTo(percentile(tpot, 0.9)!.ms, 6);
  expect(item.attainmentShare).toBeCloseTo(okShare(ttft, 300)!.share * okShare(tpot, 100)!.share, 6);
  expect(item.arrivalPerS).toBeCloseTo(10, 6);
  expect(item.kvUsedShare).toBeCloseTo(100_000 / 440_000, 6);
  // The old one lies outside of the lookback of 30 s, and in the sparkline.
  const { spark } = item;
  expect([spark.ttftMs.length, spark.tpotMs.length, spark.attainment.length]).toEqual([60, 60, 60]);
  expect(spark.stepMs).toBe(2_000);
  const shown = spark.ttftMs.filter((value) => value !== null);
  expect(shown).toHaveLength(3);
  expect(shown.at(0)).toBeCloseTo(percentile(histogramAt(5_000, 1), 0.9)!.ms, 1);
  expect(shown.at(2)).toBeCloseTo(percentile(slow.ttft, 0.9)!.ms, 1);
  expect(spark.attainment.filter((value) => value !== null).at(-1)).toBe(0);
});

test("what another replica stored is there, before and after this one has looked", async () => {
  const agent = await anAgent("both", 1);
  await agent.report("both-0", { via: fixture.controller, window: fast });
  expect((await itemOf("both-0", "other")).ttftMs).toBeCloseTo(percentile(fast.ttft, 0.9)!.ms, 6);
  await agent.report("both-0", { via: fixture.controller, window: slow });
  const both = percentile(addHistograms(fast.ttft, slow.ttft), 0.9)!.ms;
  await until("the second window counts too", async () => (await itemOf("both-0", "other")).ttftMs === both);
  expect((await itemOf("both-0", "controller")).ttftMs).toBeCloseTo(both, 6);
});

test("an engine that comes back with other buckets is read by the new ones", async () => {
  const agent = await anAgent("buckets", 1);
  const bounds = [50, 100, 200, 400];
  await agent.report("buckets-0", { window: slow });
  await agent.report("buckets-0", {
    window: { ttft: histogramAt(90, 10, bounds), tpot: histogramAt(40, 10, bounds) },
  });
  const read = percentile(histogramAt(90, 10, bounds), 0.9)!.ms;
  await until("the new ones are read", async () => (await itemOf("buckets-0")).ttftMs === read);
});

test("an instance that has reported nothing has no figures and says so", async () => {
  await anAgent("silent", 1);
  const item = await itemOf("silent-0");
  expect(item).toMatchObject({
    ttftMs: null,
    tpotMs: null,
    attainmentShare: null,
    arrivalPerS: null,
    kvUsedShare: null,
  });
  expect(item.instance.conditions).toContain("NoSignal");
  expect(item.spark.ttftMs.every((value) => value === null)).toBe(true);
  expect(item.instance).toMatchObject(
    await fixture.controller
      .ask("getInstance", { params: { instance: "silent-0" } })
      .then(({ bucketWarnings: _left, flaps: _flaps, ...rest }) => rest),
  );
});

describe("pages", () => {
  test("follow each other by name, of one pool, each instance once", async () => {
    await anAgent("paged", 7);
    const names: string[] = [];
    let cursor: string | null = null;
    do {
      const query: Record<string, string | number> = {
        pool: "paged",
        limit: 3,
        ...(cursor ? { cursor } : {}),
      };
      const page: { items: { instance: { name: string } }[]; nextCursor: string | null } =
        await fixture.controller.ask("getFleet", { query });
      names.push(...page.items.map(({ instance }) => instance.name));
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(names).toEqual(Array.from({ length: 7 }, (_, i) => `paged-${i}`));
  });
  test.each([
    [{ limit: 0 }, "limit"],
    [{ limit: 1_001 }, "limit"],
    [{ pool: "No Pool" }, "pool"],
    [{ colour: "red" }, "colour"],
  ])("%o is refused by name", async (query, field) => {
    const reply = await fixture.controller.call("getFleet", { query });
    expect(reply.status).toBe(400);
    expect(reply.problem?.errors?.map((error) => error.field)).toEqual([field]);
  });
});

test("a deleted instance is gone from the page", async () => {
  const agent = await anAgent("gone", 2);
  await agent.report("gone-0");
  await fixture.controller.ask("deleteInstance", { params: { instance: "gone-0" } });
  const { items } = await fixture.controller.ask("getFleet", { query: { pool: "gone" } });
  expect(items.map(({ instance }) => instance.name)).toEqual(["gone-1"]);
});
