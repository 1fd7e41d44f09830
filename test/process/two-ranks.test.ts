import type { Report } from "@fulcrum/contracts/agent-api.js";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { EngineWatch, observe, setFaults } from "./support/engine-control.js";
import type { NodeProcess } from "./support/node-process.js";
import { RecordingProxy } from "./support/recording-proxy.js";
import { type Admin, type AgentSetup, type Engine, startServer, statusOf, System } from "./support/system.js";
import { until } from "./support/until.js";

const CONTROLLER = {
  FULCRUM_OFFER_TIMEOUT_MS: "4000",
  FULCRUM_PREPARE_TIMEOUT_MS: "8000",
  FULCRUM_MAX_ATTEMPTS: "2",
};
/** Engine time runs five times as fast: a preparation takes 100 ms, a hang of this one longer than any agent waits. */
const HANG_MS = 60_000;
const LONG_MS = 5_000;

let postgres: Awaited<ReturnType<typeof startServer>>;
let system: System;
let controller: Awaited<ReturnType<System["controller"]>>;
let admin: Admin;
let proxy: RecordingProxy;
const engines: Engine[] = [];
const setups: AgentSetup[] = [];
const agents: NodeProcess[] = [];
let watches: EngineWatch[] = [];

/** One instance of two ranks on two nodes, each with an agent of its own. */
beforeAll(async () => {
  postgres = await startServer();
  system = await System.open(postgres.server.url);
  controller = await system.controller(CONTROLLER);
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
      deadlines: { prepareMs: 3_000 },
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
beforeEach(() => {
  watches = engines.map(({ socket }) => new EngineWatch(socket));
});
afterEach(() => Promise.all(watches.map((watch) => watch.stop())));

const states = () => Promise.all(engines.map(({ socket }) => observe(socket)));
const running = async () => (await states()).map(({ generation }) => generation);
const percents = async () => (await states()).map(({ delivered }) => delivered.prefillSmPct);
const faults = (rank: number, set: object) => setFaults(engines[rank]?.socket ?? "", set);
const said = (what: string) => until(what, () => proxy.acks("pair").includes(what));

/** Every rank runs it, and took it over at the end of the same iteration of each role. */
async function runsTogether(generation: number): Promise<void> {
  const [first, second] = await states();
  expect([first?.generation, second?.generation]).toEqual([generation, generation]);
  expect(first?.switchedAt).not.toBeNull();
  expect(second?.switchedAt).toEqual(first?.switchedAt);
}

test("no rank switches before both are ready, and then both at the same iteration", async () => {
  await faults(1, { prepareHangMs: LONG_MS });
  await admin.moveTo("tp2", 60, 40);
  await said("0:1:1:ready");
  const [open] = await admin.rollouts("pair");
  expect(open).toMatchObject({ generation: 1, state: "preparing", endedAt: null });
  expect(open?.ranks).toEqual([
    { rank: 0, step: "ready" },
    { rank: 1, step: "preparing" },
  ]);
  expect(await running()).toEqual([0, 0]);
  const done = await admin.rolloutIn("pair", 1, "verified");
  expect(done.attempt).toBe(1);
  const steps = done.steps.map(({ step, rank }) => `${rank ?? "-"}:${step}`);
  const opened = steps.indexOf("-:gate_opened");
  for (const rank of [0, 1]) {
    expect(steps.indexOf(`${rank}:ready`)).toBeLessThan(opened);
    expect(steps.indexOf(`${rank}:armed`)).toBeGreaterThan(opened);
  }
  await runsTogether(1);
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

test("an agent is killed between ready and commit: the others are called back, and all switch when it is there again", async () => {
  await faults(0, { prepareHangMs: LONG_MS });
  await admin.moveTo("tp2", 70, 30);
  await said("1:2:1:ready");
  await agents[1]?.kill();
  await said("0:2:1:armed");
  const again = await until("the next attempt", async () => {
    const [open] = await admin.rollouts("pair");
    return open?.generation === 2 && open.attempt === 2 ? open : null;
  });
  expect(again.steps.some(({ step }) => step === "gate_opened")).toBe(true);
  expect(await running()).toEqual([1, 1]);
  await until("rank 0 is called back", async () => (await states())[0]?.armed === null);
  agents[1] = await system.startAgent(setups[1]!);
  await admin.rolloutIn("pair", 2, "verified");
  await runsTogether(2);
  for (const { generations } of watches) expect(new Set(generations.ran)).toEqual(new Set([1, 2]));
});

test("the controller is killed between one rank's ready and the other's: both wait for it, then switch together", async () => {
  await faults(0, { prepareHangMs: LONG_MS });
  await admin.moveTo("tp2", 75, 25);
  await said("1:3:1:ready");
  await controller.process.kill();
  await until("rank 0 is ready too", async () => (await states())[0]?.prepared?.ready);
  expect(await running()).toEqual([2, 2]);
  controller = await system.controller(CONTROLLER);
  admin = system.api(controller.url);
  proxy.targets = [controller.url];
  await admin.rolloutIn("pair", 3, "verified");
  await runsTogether(3);
});

test("one rank hangs in its preparation: neither ever switches, and after the deadline both run what they ran", async () => {
  await faults(1, { prepareHangMs: HANG_MS });
  await admin.moveTo("tp2", 80, 20);
  await said("0:4:1:ready");
  await said("1:4:1:preparing");
  await faults(1, { prepareHangMs: HANG_MS });
  const lost = await admin.rolloutIn("pair", 4, "rolled_back");
  expect(lost).toMatchObject({ attempt: 2 });
  expect(lost.failure).toContain("prepare_timeout");
  await admin.rolloutIn("pair", 5, "verified");
  expect(await percents()).toEqual([74.07, 74.07]);
  for (const { seen, generations } of watches) {
    expect(generations.ran).not.toContain(4);
    expect(new Set(seen.map(({ delivered }) => delivered.prefillSmPct))).toEqual(new Set([74.07]));
    expect(seen.at(-1)?.prepared).toBeNull();
  }
});

test("an agent that is gone before it prepared: offered again, then rolled back with nothing moved; it follows when it is back", async () => {
  await agents[1]?.kill();
  // Policies are held off for a while after a rollback.
  await admin.moveTo("tp2", 90, 10);
  await until("it is offered", async () => (await admin.instance("pair")).desired.generation === 6, 60_000);
  const failed = await admin.rolloutIn("pair", 6, "rolled_back");
  expect(failed.steps.filter(({ step }) => step === "offered").map(({ attempt }) => attempt)).toEqual([1, 2]);
  expect(failed.ranks).toEqual([
    { rank: 0, step: "ready" },
    { rank: 1, step: null },
  ]);
  // With one rank silent the way back cannot be verified either: that is left to a person.
  await admin.rolloutIn("pair", 7, "failed");
  expect((await admin.instance("pair")).conditions).toContain("Degraded");
  expect((await admin.instance("pair")).lastGood.generation).toBe(5);
  // What is prepared does not wait for ever: it is what runs, under the new number.
  await until("rank 0 goes back alone", async () => (await running())[0] === 7);
  const again = await system.startAgent(setups[1]!);
  await until("rank 1 follows", async () => (await running())[1] === 7);
  expect(await percents()).toEqual([74.07, 74.07]);
  await until("it says so", async () => (await statusOf(again)).instances[0]?.target?.outcome === "verified");
  for (const { seen } of watches)
    expect(new Set(seen.map(({ delivered }) => delivered.prefillSmPct))).toEqual(new Set([74.07]));
}, 90_000);
