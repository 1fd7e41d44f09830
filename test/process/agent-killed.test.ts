import { writeFile } from "node:fs/promises";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { EngineWatch, metricOf, neverFalls, observe, setFaults } from "./support/engine-control.js";
import type { NodeProcess } from "./support/node-process.js";
import { type Admin, type AgentSetup, type Engine, startServer, statusOf, System } from "./support/system.js";
import { until } from "./support/until.js";

let postgres: Awaited<ReturnType<typeof startServer>>;
let system: System;
let controller: { process: NodeProcess; url: string };
let admin: Admin;
beforeAll(async () => {
  postgres = await startServer();
  system = await System.open(postgres.server.url);
  controller = await system.controller({
    FULCRUM_PREPARE_TIMEOUT_MS: "600",
    FULCRUM_OFFER_TIMEOUT_MS: "2000",
    FULCRUM_MAX_ATTEMPTS: "20",
  });
  admin = system.api(controller.url);
});
afterAll(async () => {
  await system?.close();
  await postgres?.close();
});

/** An agent that is called `node-of-<engine>` and reports the engine as an instance of the same name. */
async function agentOf(engine: Engine, pool: string, key?: string): Promise<AgentSetup> {
  return system.agentSetup(admin, {
    name: `node-of-${engine.name}`,
    controllerUrl: controller.url,
    instances: [{ instance: engine.name, pool, engine }],
    ...(key === undefined ? {} : { key }),
  });
}

async function measured(instance: string): Promise<void> {
  await until("windows are stored", async () => (await system.storedWindows(instance)).length >= 2);
}

describe("an agent killed in the middle of a preparation", () => {
  test("goes on from its journal when it is started again; the engine serves on untouched meanwhile", async () => {
    await admin.staticPool("journal");
    const engine = await system.engine("journal", "--speed=5", "--prepare-ms=15000");
    const watch = new EngineWatch(engine.socket);
    system.defer(() => watch.stop());
    const setup = await agentOf(engine, "journal");
    const first = await system.startAgent(setup);
    await measured("journal");
    await admin.moveTo("journal", 60, 40);
    await admin.rolloutIn("journal", 1, "preparing");
    await first.kill();
    const served = await metricOf(engine.metricsUrl, "sglang:num_requests_total");
    await until(
      "the engine is prepared",
      async () => (await observe(engine.socket)).prepared?.ready ?? false,
    );
    expect(await metricOf(engine.metricsUrl, "sglang:num_requests_total")).toBeGreaterThan(served);
    expect(await observe(engine.socket)).toMatchObject({ generation: 0, delivered: { prefillSmPct: 100 } });
    const before = await system.storedWindows("journal");

    const second = await system.startAgent(setup);
    const rollout = await admin.rolloutIn("journal", 1, "verified");
    expect(rollout.attempt).toBe(1);
    expect((await statusOf(second)).instances[0]).toMatchObject({
      lastGood: { generation: 1 },
      target: { generation: 1, outcome: "verified" },
    });
    // Prepared once: the second life found it ready.
    expect(
      watch.seen.filter(({ phase }, i) => phase === "preparing" && watch.seen[i - 1]?.phase !== "preparing"),
    ).toHaveLength(1);
    expect(neverFalls(watch.generations.ran)).toBe(true);
    const after = await until("windows come again", async () => {
      const all = await system.storedWindows("journal");
      return all.length > before.length + 2 && all;
    });
    // Numbers only grow; what the engine did meanwhile was measured by nobody.
    expect(after.slice(0, before.length)).toEqual(before);
    expect(new Set(after).size).toBe(after.length);
  });

  test("and not started again in time is offered the rollout anew, with a higher attempt, when it is back", async () => {
    await admin.staticPool("late");
    const engine = await system.engine("late", "--speed=5", "--prepare-ms=500");
    const setup = await agentOf(engine, "late");
    const first = await system.startAgent(setup);
    await measured("late");
    await setFaults(engine.socket, { prepareHangMs: 20_000 });
    await admin.moveTo("late", 60, 40);
    await admin.rolloutIn("late", 1, "preparing");
    await first.kill();
    await until("it is offered again", async () => ((await admin.rollouts("late"))[0]?.attempt ?? 0) >= 2);
    expect(await observe(engine.socket)).toMatchObject({ generation: 0, delivered: { prefillSmPct: 100 } });
    await system.startAgent(setup);
    const rollout = await admin.rolloutIn("late", 1, "verified");
    expect(rollout.attempt).toBeGreaterThanOrEqual(2);
    expect((await observe(engine.socket)).delivered.prefillSmPct).toBe(59.26);
  });
});

describe("an agent that the controller refuses", () => {
  test("says which pool is missing, and begins when somebody has made it", async () => {
    const engine = await system.engine("lost", "--speed=5");
    const agent = await system.startAgent(await agentOf(engine, "nobody-made-this"));
    const rejected = await until("it logs the rejection", () => agent.logged("instance_rejected")[0]);
    expect(rejected).toMatchObject({ instance: "lost", code: "unknown_pool", field: "pool" });
    expect(String(rejected["msg"])).toContain("nobody-made-this");
    expect((await statusOf(agent)).controller.registered).toEqual([]);
    await admin.staticPool("nobody-made-this");
    await measured("lost");
    expect((await statusOf(agent)).controller.registered).toEqual(["lost"]);
  });

  test("says so when its key is wrong or was revoked, keeps the split, and goes on with a new key in its file", async () => {
    await admin.staticPool("keys");
    const engine = await system.engine("keys", "--speed=5", "--prepare-ms=500");
    const setup = await agentOf(engine, "keys", `fk_${"w".repeat(43)}`);
    const agent = await system.startAgent(setup);
    await until("it logs the refusal", () => agent.logged("controller_refuses").length === 1);
    expect(agent.logged("controller_refuses")[0]).toMatchObject({ status: 401 });
    expect(await statusOf(agent)).toMatchObject({
      conditions: ["ControllerRefuses"],
      controller: { refusal: "401 unauthenticated", registered: [] },
    });

    const { body: key } = await admin.client.call("createKey", {
      body: { name: "a", role: "agent", agent: "node-of-keys" },
    });
    await writeFile(setup.keyFile, key.key);
    await measured("keys");
    expect((await statusOf(agent)).conditions).toEqual([]);
    await admin.moveTo("keys", 60, 40);
    await admin.rolloutIn("keys", 1, "verified");

    await admin.client.call("revokeKey", { params: { id: key.id } });
    await until("it says so again", async () =>
      (await statusOf(agent)).conditions.includes("ControllerRefuses"),
    );
    expect(agent.logged("controller_refuses").at(-1)).toMatchObject({
      status: 401,
      msg: expect.stringMatching(/keeping the split$/),
    });
    expect(await observe(engine.socket)).toMatchObject({ generation: 1, delivered: { prefillSmPct: 59.26 } });
    const last = (await system.storedWindows("keys")).at(-1) ?? 0;
    await writeFile(setup.keyFile, await admin.agentKey("node-of-keys"));
    const after = await until("windows come again", async () => {
      const all = await system.storedWindows("keys");
      return (all.at(-1) ?? 0) > last + 3 && all;
    });
    // What was measured meanwhile was kept and sent.
    expect(after).toEqual(after.map((_, index) => index + 1));
    expect((await statusOf(agent)).conditions).toEqual([]);
  });
});
