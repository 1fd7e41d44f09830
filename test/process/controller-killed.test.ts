import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { MAX_WINDOWS_PER_SEND } from "@fulcrum/agent/window/window-buffer.js";

import { EngineWatch, metricOf, neverFalls, observe, setFaults } from "./support/engine-control.js";
import type { NodeProcess } from "./support/node-process.js";
import { RecordingProxy } from "./support/recording-proxy.js";
import { ReportStream } from "./support/report-stream.js";
import {
  type Admin,
  type Engine,
  startServer,
  instanceStatusOf,
  statusOf,
  System,
} from "./support/system.js";
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
async function setUp(
  prepareS: number,
  options: { windowMs?: number; deadlines?: { prepareMs?: number } } = {},
): Promise<void> {
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
    ...options,
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
    await until(
      "the engine serves on",
      async () => (await metricOf(engine.metricsUrl, FINISHED)) > served + 20,
    );
    expect(await observe(engine.socket)).toMatchObject({
      generation: 0,
      delivered: { prefillSmPct: 100, decodeSmPct: 100 },
    });
    await until(
      "windows wait in the agent",
      async () => (await instanceStatusOf(agent)).bufferedWindows >= 3,
    );

    await restartController();
    const rollout = await admin.rolloutIn("chat-0", 1, "verified");
    expect(rollout).toMatchObject({ attempt: 1, failure: null });
    expect(rollout.steps.map(({ step }) => step)).toEqual([
      "offered",
      "preparing",
      "ready",
      "switched",
      "verified",
    ]);
    expect((await observe(engine.socket)).delivered).toEqual({
      prefillSmPct: 59.26,
      decodeSmPct: 38.89,
      kvQuotaPct: 100,
    });

    // Nothing was measured for longer than the buffer holds, so nothing is missing.
    await until("the buffer is empty", async () => (await instanceStatusOf(agent)).bufferedWindows === 0);
    const { nextSeq, droppedWindows } = await instanceStatusOf(agent);
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
  test("finds the rollout done when the engine was ready meanwhile; of what was measured only what outgrew the agent's buffer is missing, and it says how much", async () => {
    await setUp(1, { windowMs: 100 });
    await preparing(60, 40);
    await controller.process.kill();
    await until("the engine has switched", async () => (await observe(engine.socket)).generation === 1);
    // The buffer holds 32 windows of 100 ms.
    await until("the buffer overflows", async () => (await instanceStatusOf(agent)).droppedWindows >= 3);

    await restartController();
    const rollout = await admin.rolloutIn("chat-0", 1, "verified");
    expect(rollout).toMatchObject({ attempt: 1, failure: null });
    const { stored, dropped } = await until("the buffer is empty", async () => {
      const { bufferedWindows, droppedWindows } = await instanceStatusOf(agent);
      return (
        bufferedWindows === 0 && { dropped: droppedWindows, stored: await system.storedWindows("chat-0") }
      );
    });
    const holes = stored.flatMap((seq, i) => {
      const missing = i === 0 ? 0 : seq - (stored[i - 1] ?? 0) - 1;
      return missing > 0 ? [missing] : [];
    });
    // One hole, of what the agent says it dropped; but the last report before the kill may have been stored
    // without its answer ever having come, and these windows (5 at most) were dropped from the buffer too.
    expect(holes).toHaveLength(1);
    expect(holes[0]).toBeLessThanOrEqual(dropped);
    expect(holes[0]).toBeGreaterThanOrEqual(dropped - MAX_WINDOWS_PER_SEND);
    expect(stored[0]).toBe(1);
    expect((await admin.instance("chat-0")).observed?.generation).toBe(1);
  });

  test("rolls back by itself what failed meanwhile", async () => {
    await setUp(0.2, { deadlines: { prepareMs: 1_500 } });
    await setFaults(engine.socket, { prepareHangMs: 3_600_000 });
    await preparing(60, 40);
    await controller.process.kill();
    await until("the preparation fails", () => agent.logged("rollout_failed").length > 0);

    await restartController({ FULCRUM_MAX_ATTEMPTS: "1" });
    const failed = await admin.rolloutIn("chat-0", 1, "rolled_back");
    expect(failed.failure).toMatch(/^prepare_timeout/);
    const back = await admin.rolloutIn("chat-0", 2, "verified");
    expect(back).toMatchObject({ kind: "rollback", to: { split: { prefillSmPct: 100, decodeSmPct: 100 } } });
    expect(await admin.instance("chat-0")).toMatchObject({
      desired: { generation: 2, split: { prefillSmPct: 100, decodeSmPct: 100 } },
      lastGood: { generation: 2 },
      rollout: null,
    });
    const { ran, prepared } = watch.generations;
    expect(neverFalls(ran) && neverFalls(prepared)).toBe(true);
    expect(await observe(engine.socket)).toMatchObject({ generation: 2, delivered: { prefillSmPct: 100 } });
  });
});

test("one of two controllers killed: the other times, retries and finishes the rollout, and loses no window", async () => {
  await setUp(0.3, { deadlines: { prepareMs: 1_500 } });
  const other = await system.controller();
  proxy.targets = [controller.url, other.url];
  await setFaults(engine.socket, { prepareHangMs: 3_600_000 });
  await preparing(70, 50);
  await controller.process.kill();
  admin = system.api(other.url);
  const rollout = await admin.rolloutIn("chat-0", 1, "verified");
  // The preparation that hung failed, and was offered again by the survivor.
  expect(rollout.attempt).toBe(2);
  expect(rollout.steps.map(({ attempt, step }) => `${attempt} ${step}`)).toEqual([
    "1 offered",
    "1 preparing",
    "1 failed",
    "2 offered",
    "2 preparing",
    "2 ready",
    "2 switched",
    "2 verified",
  ]);
  const next = (await instanceStatusOf(agent)).nextSeq + 3;
  const stored = await until("windows come in through the survivor", async () => {
    const stored = await system.storedWindows("chat-0");
    return (stored.at(-1) ?? 0) >= next && stored;
  });
  expect(stored).toEqual(stored.map((_, index) => index + 1));
  const { ran, prepared } = watch.generations;
  expect(neverFalls(ran) && neverFalls(prepared)).toBe(true);
  expect(other.process.running).toBe(true);
});

test("a controller that is stopped while reports stream in answers none of them 2xx that it has not stored", async () => {
  await setUp(0.3, { windowMs: 50 });
  await admin.staticPool("load", { mode: "observe" });
  const key = await admin.agentKey("load");
  const stream = await ReportStream.start({
    url: () => proxy.url,
    key,
    agent: "load",
    pool: "load",
    count: 12,
  });
  system.defer(() => stream.stop());
  await until("reports stream", () => stream.total > 300);
  // A long poll of the agent is under way too; it must not hold up the stop.
  const end = await controller.process.terminate();
  expect(end).toEqual({ code: 0, signal: null });
  await stream.stop();
  expect(stream.statuses.get(500) ?? 0).toBe(0);
  for (const [instance, answered] of stream.answered) {
    const stored = new Set(await system.storedWindows(instance));
    expect([...answered].filter((seq) => !stored.has(seq))).toEqual([]);
  }
  const stored = new Set(await system.storedWindows("chat-0"));
  const answered = proxy.answeredWindows("chat-0");
  expect(answered.length).toBeGreaterThan(2);
  expect(answered.filter((seq) => !stored.has(seq))).toEqual([]);
  expect(controller.process.logged("stop_failed")).toEqual([]);
});
