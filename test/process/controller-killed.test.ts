import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { EngineWatch, metricOf, neverFalls, observe, setFaults } from "./support/engine-control.js";
import type { NodeProcess } from "./support/node-process.js";
import { RecordingProxy } from "./support/recording-proxy.js";
import { type Admin, type Engine, startServer, statusOf, System } from "./support/system.js";
import { until } from "./support/until.js";

let postgres: Awaited<ReturnType<typeof startServer>>;
beforeAll(async () => {
  postgres = await startServer();
});
afterAll(() => postgres.close());

let system: System;
let proxy: RecordingProxy;
let controller: { process: NodeProcess; url: string };
let admin: Admin;
let engine: Engine;
let agent: NodeProcess;
let watch: EngineWatch;

const FINISHED = "sglang:num_requests_total";

/** One controller behind the proxy, an engine that takes `prepareS` seconds to prepare, and its agent. */
async function setUp(prepareS: number, deadlines: { prepareMs?: number } = {}): Promise<void> {
  system = await System.open(postgres.server.url);
  controller = await system.controller();
  admin = system.api(controller.url);
  proxy = await RecordingProxy.to(controller.url);
  system.defer(() => proxy.close());
  await admin.staticPool("chat");
  engine = await system.engine("chat-0", "--speed=5", `--prepare-ms=${prepareS * 5_000}`);
  watch = new EngineWatch(engine.socket);
  system.defer(() => watch.stop());
  const setup = await system.agentSetup(admin, {
    name: "node-a",
    controllerUrl: proxy.url,
    instances: [{ instance: "chat-0", pool: "chat", engine }],
    deadlines,
  });
  agent = await system.startAgent(setup);
  await until("windows are stored", async () => (await system.storedWindows("chat-0")).length >= 2);
}

afterEach(() => system?.close());

/** Starts a reconfiguration and returns when the controller knows that the engine prepares it. */
async function preparing(prefill: number, decode: number): Promise<void> {
  await admin.moveTo("chat", prefill, decode);
  await admin.rolloutIn("chat-0", 1, "preparing");
}

async function restartController(env: Readonly<Record<string, string>> = {}): Promise<void> {
  controller = await system.controller(env);
  admin = system.api(controller.url);
  proxy.targets = [controller.url];
}

describe("a controller killed in the middle of a reconfiguration", () => {
  test("leaves the engine serving at its split, the agent says so, and the next one finishes the rollout", async () => {
    await setUp(6);
    await preparing(60, 40);
    await controller.process.kill();
    const served = await metricOf(engine.metricsUrl, FINISHED);
    const status = await until("the agent says that the controller is away", async () => {
      const status = await statusOf(agent);
      return status.conditions.includes("ControllerUnreachable") && status;
    });
    expect(status.controller.unreachableSince).not.toBeNull();
    expect(String(agent.logged("controller_unreachable")[0]?.["msg"])).toMatch(/; keeping the split$/);
    await until("the engine serves on", async () => (await metricOf(engine.metricsUrl, FINISHED)) > served + 20);
    expect(await observe(engine.socket)).toMatchObject({ generation: 0, delivered: { prefillSmPct: 100, decodeSmPct: 100 } });
    await until("windows wait in the agent", async () => ((await statusOf(agent)).instances[0]?.bufferedWindows ?? 0) >= 3);

    await restartController();
    const rollout = await admin.rolloutIn("chat-0", 1, "verified");
    expect(rollout).toMatchObject({ attempt: 1, failure: null });
    expect(rollout.steps.map(({ step }) => step)).toEqual(["offered", "preparing", "ready", "switched", "verified"]);
    expect((await observe(engine.socket)).delivered).toEqual({ prefillSmPct: 59.26, decodeSmPct: 38.89, kvQuotaPct: 100 });

    // Nothing was measured for longer than the buffer holds, so nothing is missing.
    await until("the buffer is empty", async () => (await statusOf(agent)).instances[0]?.bufferedWindows === 0);
    const { nextSeq = 0, droppedWindows } = (await statusOf(agent)).instances[0] ?? {};
    expect(droppedWindows).toBe(0);
    const stored = await until("every window is stored", async () => {
      const stored = await system.storedWindows("chat-0");
      return (stored.at(-1) ?? 0) >= nextSeq - 1 && stored;
    });
    expect(stored).toEqual(stored.map((_, index) => index + 1));
    const { ran, prepared } = watch.generations;
    expect(neverFalls(ran) && neverFalls(prepared)).toBe(true);
    expect(Math.max(...prepared)).toBe(1);
  });
});
