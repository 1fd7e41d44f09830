import type { Report } from "@fulcrum/contracts/agent-api.js";
import { afterAll, beforeAll, expect, test } from "vitest";

import { observe, setFaults } from "./support/engine-control.js";
import type { NodeProcess } from "./support/node-process.js";
import { RecordingProxy } from "./support/recording-proxy.js";
import { type Admin, type AgentSetup, type Engine, startServer, statusOf, System } from "./support/system.js";
import { until } from "./support/until.js";

let postgres: Awaited<ReturnType<typeof startServer>>;
let system: System;
let admin: Admin;
let proxy: RecordingProxy;
const engines: Engine[] = [];
const setups: AgentSetup[] = [];
const agents: NodeProcess[] = [];

/** One instance of two ranks on two nodes, each with an agent of its own. */
beforeAll(async () => {
  postgres = await startServer();
  system = await System.open(postgres.server.url);
  const controller = await system.controller({ FULCRUM_OFFER_TIMEOUT_MS: "1500", FULCRUM_MAX_ATTEMPTS: "2" });
  admin = system.api(controller.url);
  proxy = await RecordingProxy.to(controller.url);
  system.defer(() => proxy.close());
  await admin.staticPool("tp2");
  for (const rank of [0, 1]) {
    const engine = await system.engine(`rank-${rank}`, "--speed=5", "--prepare-ms=500");
    const setup = await system.agentSetup(admin, {
      name: `node-${rank}`,
      controllerUrl: proxy.url,
      instances: [{ instance: "pair", pool: "tp2", engine, ranks: [rank], rankCount: 2 }],
    });
    engines.push(engine);
    setups.push(setup);
    agents.push(await system.startAgent(setup));
  }
  await until("both agents are registered", async () =>
    (await Promise.all(agents.map(statusOf))).every(({ controller }) => controller.registered.length === 1),
  );
});
afterAll(async () => {
  await system?.close();
  await postgres?.close();
});

const running = async () =>
  Promise.all(engines.map(async ({ socket }) => (await observe(socket)).generation));
const percents = async () =>
  Promise.all(engines.map(async ({ socket }) => (await observe(socket)).delivered.prefillSmPct));

test("a rollout is verified only when both ranks have done it", async () => {
  await setFaults(engines[1]?.socket ?? "", { prepareHangMs: 10_000 });
  await admin.moveTo("tp2", 60, 40);
  await until("rank 0 is done", () => proxy.acks("pair").includes("0:1:1:verified"));
  const [open] = await admin.rollouts("pair");
  expect(open).toMatchObject({ generation: 1, state: "preparing", endedAt: null });
  expect(open?.ranks).toEqual([
    { rank: 0, step: "verified" },
    { rank: 1, step: "preparing" },
  ]);
  expect(await running()).toEqual([1, 0]);
  expect((await admin.instance("pair")).lastGood.generation).toBe(0);
  const done = await admin.rolloutIn("pair", 1, "verified");
  expect(done.attempt).toBe(1);
  expect(await running()).toEqual([1, 1]);
  expect(await admin.instance("pair")).toMatchObject({
    lastGood: { generation: 1 },
    agents: ["node-0", "node-1"],
  });
});

test("its windows come from one agent alone, that of rank 0, so that they are one sequence without a hole", async () => {
  const from = (agent: string) =>
    proxy
      .answered("/agent/v1/report")
      .filter(({ sent }) => sent?.["agent"] === agent)
      .flatMap(({ sent }) => (sent as unknown as Report).instances.flatMap(({ windows }) => windows))
      .map(({ seq }) => seq);
  await until(
    "reports of both",
    () => from("node-0").length >= 8 && proxy.answered("/agent/v1/report").length >= 20,
  );
  expect(from("node-1")).toEqual([]);
  const stored = await system.storedWindows("pair");
  expect(stored).toEqual(stored.map((_, index) => index + 1));
});

test("an agent that is gone before it prepared: offered again, then rolled back on the other; it follows when it is back", async () => {
  await agents[1]?.kill();
  await admin.moveTo("tp2", 80, 30);
  await until("rank 0 runs it alone", async () => (await running())[0] === 2);
  const failed = await admin.rolloutIn("pair", 2, "rolled_back");
  expect(failed.attempt).toBe(2);
  expect(failed.steps.filter(({ step }) => step === "offered").map(({ attempt }) => attempt)).toEqual([1, 2]);
  expect(failed.ranks).toEqual([
    { rank: 0, step: "verified" },
    { rank: 1, step: null },
  ]);
  // Both ranks end with the last good allocation, though only one has the new generation.
  await until("rank 0 is back", async () => (await running())[0] === 3);
  expect(await percents()).toEqual([59.26, 59.26]);
  expect((await running())[1]).toBe(1);

  // With one rank silent the way back cannot be verified either: that is left to a person.
  await admin.rolloutIn("pair", 3, "failed");
  expect((await admin.instance("pair")).conditions).toContain("Degraded");
  expect((await admin.instance("pair")).lastGood.generation).toBe(1);

  const [, setup] = setups;
  if (setup === undefined) throw new Error("the second agent was not set up");
  const again = await system.startAgent(setup);
  await until("rank 1 follows", async () => (await running())[1] === 3);
  expect(await percents()).toEqual([59.26, 59.26]);
  await until("it says so", async () => (await statusOf(again)).instances[0]?.target?.outcome === "verified");
});
