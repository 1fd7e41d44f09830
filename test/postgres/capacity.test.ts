import { readFileSync } from "node:fs";
import { CapacityService } from "@fulcrum/controller/capacity/capacity.service.js";
import type { Capacity } from "@fulcrum/contracts/capacity.js";
import { UNCONTROLLED } from "@fulcrum/core/nouns.js";
import { recordedLane } from "@fulcrum/evaluation/testing/recorded-lane.js";
import { parseProfile } from "@fulcrum/simulator/profile.js";
import { beforeAll, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { instanceReport, poolBody, registrationEntry, report } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });
const PROFILE = "apps/engine-sim/data/llama3-8b-a100.json";
const SLO = {
  ttft: { percentile: 0.9, boundMs: 1_000 },
  tpot: { percentile: 0.9, boundMs: 60 },
  attainmentShare: 0.9,
};
const MINUTES = 4;
const BATCH = 32;

/** A pool of one instance, after four minutes of a simulated engine under so much load. */
async function servedPool(pool: string, ratePerS: number, over: Parameters<typeof poolBody>[1] = {}) {
  const { controller } = fixture;
  await controller.ask("createPool", {
    body: poolBody(pool, { slo: SLO, policy: { name: "search" }, lookbackMs: 600_000, ...over }),
  });
  const agent = new TestAgent(controller, `${pool}-agent`);
  await agent.register(registrationEntry(`${pool}-0`, pool, { running: UNCONTROLLED }));
  const windows = recordedLane({
    profile: parseProfile(JSON.parse(readFileSync(PROFILE, "utf8")), PROFILE),
    slo: SLO,
    durationMs: MINUTES * 60_000,
    ratePerS,
    promptTokens: 800,
    outputTokens: 150,
    plan: [{ fromMs: 0, allocation: UNCONTROLLED }],
  });
  const startMs = Date.now() - MINUTES * 60_000;
  for (let from = 0; from < windows.length; from += BATCH) {
    const batch = windows.slice(from, from + BATCH).map((window) => ({
      ...window,
      generation: 0,
      startAtMs: Math.round(startMs + window.startAtMs),
      endAtMs: Math.round(startMs + window.endAtMs),
    }));
    const entry = instanceReport(`${pool}-0`, batch, { observed: { ...UNCONTROLLED, generation: 0 } });
    await controller.ask("report", { body: report(`${pool}-agent`, [entry]), key: await agent.key() });
    await evaluate(controller, `${pool}-0`);
  }
  await computed(pool);
}

/** Computed as of now, whatever the sweeps that run beside do: nobody else's claim comes before the year 2100. */
async function computed(pool: string): Promise<void> {
  const { source, app } = fixture.controller;
  const [row] = await source.query<{ pool_id: string; claimed_at: Date; recent: [] }[]>(
    `INSERT INTO pool_capacities (pool_id, claimed_at, instances, needed, known, recent, items)
     SELECT id, '2100-01-01', 0, 0, 0, '[]', '[]' FROM pools WHERE name = $1
     ON CONFLICT (pool_id) DO UPDATE SET claimed_at = excluded.claimed_at, recent = '[]'
     RETURNING pool_id, claimed_at, recent`,
    [pool],
  );
  await app.get(CapacityService).compute(row!, Date.now());
}

const capacityOf = (pool: string): Promise<Capacity> =>
  fixture.controller.ask("getCapacity", { params: { pool } });

beforeAll(async () => {
  await servedPool("crowded", 14);
  await servedPool("quiet", 1);
  await servedPool("fixed", 1, { policy: { name: "static", params: { allocation: UNCONTROLLED } } });
  await fixture.controller.ask("createPool", { body: poolBody("empty", { policy: { name: "search" } }) });
  await computed("empty");
});

test("a pool beyond what it can serve asks for more, and says so in words", async () => {
  const capacity = await capacityOf("crowded");
  expect(capacity).toMatchObject({ instances: 1, known: 1 });
  expect(capacity.headroom).toBeLessThan(1);
  expect(capacity.additional).toBeGreaterThanOrEqual(1);
  expect(capacity.needed).toBe(1 + capacity.additional);
  expect(capacity.perInstance).toMatchObject([{ instance: "crowded-0", headroom: capacity.headroom }]);
  expect(capacity.message).toContain(`${capacity.additional} more would keep the promise`);
});

test("a quiet pool asks for no more", async () => {
  const capacity = await capacityOf("quiet");
  expect(capacity).toMatchObject({ instances: 1, needed: 1, additional: 0, known: 1 });
  expect(capacity.headroom).toBeGreaterThan(1.5);
});

test("where nothing was learnt nothing is asked for, with the reason", async () => {
  const capacity = await capacityOf("fixed");
  expect(capacity).toMatchObject({ instances: 1, needed: 1, additional: 0, headroom: null, known: 0 });
  expect(capacity.perInstance[0]?.why).toContain("policy static learns no model");
  expect(capacity.message).toContain("not known: policy static");
  expect(await capacityOf("empty")).toMatchObject({
    instances: 0,
    needed: 0,
    additional: 0,
    perInstance: [],
  });
});

test("both replicas tell the same, and their metrics are what an autoscaler reads", async () => {
  const told = await capacityOf("crowded");
  expect(await fixture.other.ask("getCapacity", { params: { pool: "crowded" } })).toEqual(told);
  for (const controller of [fixture.controller, fixture.other]) {
    const text = await fetch(`${controller.url}/metrics`).then((response) => response.text());
    expect(text).toContain('fulcrum_pool_instances{pool="crowded"} 1\n');
    expect(text).toContain(`fulcrum_pool_instances_needed{pool="crowded"} ${told.needed}\n`);
    expect(text).toMatch(/fulcrum_pool_headroom\{pool="crowded"\} 0\.\d/);
    expect(text).not.toContain('fulcrum_pool_headroom{pool="fixed"}');
  }
});

test("of two replicas that sweep at once one computes, and nobody before its time", async () => {
  await fixture.controller.ask("createPool", { body: poolBody("young") });
  expect(await capacityOf("young")).toMatchObject({ headroom: null, additional: 0 });
  const atMs = Date.now() + 60_000;
  const services = [fixture.controller, fixture.other].map(({ app }) => app.get(CapacityService));
  await Promise.all(services.map((service) => service.sweep(atMs)));
  await services[1]!.sweep(atMs + 1_000);
  const [row] = await fixture.controller.source.query<{ claimed_at: Date; computed_at: Date }[]>(
    "SELECT claimed_at, computed_at FROM pool_capacities c JOIN pools p ON p.id = c.pool_id WHERE p.name = 'young'",
  );
  expect(row?.claimed_at.getTime()).toBe(atMs);
  expect(row?.computed_at.getTime()).toBe(atMs);
});

test("a deleted pool is told of no more", async () => {
  await fixture.controller.ask("deletePool", { params: { pool: "quiet" } });
  const text = await fetch(`${fixture.controller.url}/metrics`).then((response) => response.text());
  expect(text).not.toMatch(/^fulcrum_pool_.*pool="quiet"/m);
  await fixture.controller.app.get(CapacityService).sweep();
  const left = await fixture.controller.source.query<{ name: string }[]>(
    "SELECT p.name FROM pool_capacities c JOIN pools p ON p.id = c.pool_id",
  );
  expect(left.map(({ name }) => name)).not.toContain("quiet");
});

test("fulcrum capacity says it in words and as JSON", async () => {
  const { exitCode, stdout } = await fulcrum(fixture.controller, "capacity", "crowded");
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/At the best split its instance carries 0\.\d+ times the present load/);
  expect(stdout).toContain("crowded-0");
  const json = await fulcrum(fixture.controller, "capacity", "crowded", "--json");
  expect(JSON.parse(json.stdout)).toMatchObject({ pool: "crowded", instances: 1 });
  const unknown = await fulcrum(fixture.controller, "capacity", "nowhere");
  expect(unknown.exitCode).not.toBe(0);
  expect(unknown.stderr).toContain("nowhere");
});
