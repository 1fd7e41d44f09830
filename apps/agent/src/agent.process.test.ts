import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { window as windowSchema } from "@fulcrum/contracts/windows.js";
import { AgentProcess } from "./testing/agent-process.js";
import { FakeController } from "./testing/fake-controller.js";
import { FakeEngine } from "./testing/fake-engine.js";
import { installMpsControl } from "./testing/vendor/fake-mps.js";
import { MAX_BUFFERED_WINDOWS } from "./window/window-buffer.js";

const SPLIT = { split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 90 };
let folder: string;
let controller: FakeController;
let engine: FakeEngine;
let agents: AgentProcess[];
let engines: FakeEngine[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-agent-"));
  controller = new FakeController();
  await controller.start();
  engines = [];
  agents = [];
  engine = await addEngine();
});

afterEach(async () => {
  for (const agent of agents) await agent.kill();
  for (const engine of engines) await engine.stop();
  await controller.stop();
  await rm(folder, { recursive: true, force: true });
});

async function addEngine(): Promise<FakeEngine> {
  const added = await FakeEngine.start(join(folder, `engine-${engines.length}.sock`));
  engines.push(added);
  return added;
}

async function startAgent(): Promise<AgentProcess> {
  const agent = await AgentProcess.start({
    folder,
    controllerUrl: controller.url,
    engines: engines.map(({ metricsUrl, socketPath }, index) => ({
      instance: `chat-${index}`,
      metricsUrl,
      socket: socketPath,
    })),
  });
  agents.push(agent);
  return agent;
}

const steps = (generation: number) =>
  controller.acks.filter((ack) => ack.generation === generation).map(({ step }) => step);
const verified = (generation: number) => () => steps(generation).includes("verified");
const newest = (instance = "chat-0") =>
  controller.reports.at(-1)?.instances.find((part) => part.instance === instance);
const windowsOf = (instance: string) => controller.windows.get(instance) ?? [];

async function bringTo(generation: number): Promise<void> {
  controller.assign("chat-0", generation, SPLIT);
  await controller.until(verified(generation), `generation ${generation} is verified`);
}

describe("an agent with its controller", () => {
  test("registers, reports windows, takes an assignment and acknowledges each step in order", async () => {
    const agent = await startAgent();
    expect(agent.ready.event).toBe("ready");
    await controller.until(() => windowsOf("chat-0").length >= 2, "two windows");
    expect(controller.registrations[0]).toMatchObject({
      agent: "node-a",
      instances: [
        {
          instance: "chat-0",
          pool: "chat",
          capabilities: { driver: "engine-sim", live: true, smCount: 108 },
          running: { split: { prefillSmPct: 100, decodeSmPct: 100 } },
        },
      ],
    });
    expect([...controller.keys]).toEqual(["Bearer test-key"]);
    await bringTo(1);
    expect(steps(1)).toEqual(["preparing", "ready", "switched", "verified"]);
    const delivered = { split: { prefillSmPct: 59.26, decodeSmPct: 38.89 }, kvQuotaPct: 90 };
    expect(controller.acks.at(-1)).toMatchObject({ instance: "chat-0", rank: 0, attempt: 1, delivered });
    await controller.until(() => newest()?.observed?.generation === 1, "the read-back is reported");
    expect(newest()?.observed).toEqual({ ...delivered, generation: 1 });
    await controller.until(() => windowsOf("chat-0").at(-1)?.generation === 1, "a window of generation 1");
  });

  test("sends the trace of a change back with its acknowledgements, and none where it came with none", async () => {
    await startAgent();
    await controller.until(() => windowsOf("chat-0").length >= 1, "a window");
    await bringTo(1);
    expect([...controller.ackTraces]).toEqual([null]);
    controller.ackTraces.clear();
    const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    controller.assign("chat-0", 2, SPLIT, 1, { traceparent });
    await controller.until(verified(2), "generation 2 is verified");
    expect(steps(2)).toEqual(["preparing", "ready", "switched", "verified"]);
    expect(controller.ackTraces).toContain(traceparent);
  });

  test("numbers windows without a gap or a repeat, each a valid one that adds up", async () => {
    await startAgent();
    await controller.until(() => windowsOf("chat-0").length >= 5, "five windows");
    const windows = windowsOf("chat-0");
    expect(windows.map(({ seq }) => seq)).toEqual(windows.map((_, index) => (windows[0]?.seq ?? 0) + index));
    for (const window of windows) {
      expect(windowSchema.safeParse(window).success).toBe(true);
      // The engine takes and finishes one request per scrape; a scrape that was too slow makes it two.
      const { finished, arrivals, outputTokens, promptTokens } = window;
      expect(finished).toBeGreaterThan(0);
      expect({ arrivals, outputTokens, promptTokens }).toEqual({
        arrivals: finished,
        outputTokens: 50 * finished,
        promptTokens: 100 * finished,
      });
    }
  });

  test("refuses a generation below the newest, and keeps what it runs", async () => {
    const agent = await startAgent();
    await controller.until(() => controller.registrations.length > 0, "registered");
    await bringTo(5);
    controller.assign("chat-0", 4, { ...SPLIT, kvQuotaPct: 50 });
    await controller.until(() => newest()?.conditions.includes("StaleAssignment") ?? false, "it is told");
    expect(agent.logged("assignment_refused")[0]).toMatchObject({ generation: 4, highest: 5 });
    expect(engine.model.observe()).toMatchObject({ generation: 5, delivered: { kvQuotaPct: 90 } });
    expect(steps(4)).toEqual([]);
    await bringTo(6);
    await controller.until(() => newest()?.conditions.length === 0, "the condition goes");
  });

  test("tells a failure, and tries again when the generation is offered again", async () => {
    engine.model.refusePrepares = { times: 1, code: "prepare_failed" };
    await startAgent();
    controller.assign("chat-0", 1, SPLIT);
    await controller.until(() => steps(1).includes("failed"), "failed");
    expect(controller.acks.at(-1)?.failure).toMatchObject({ code: "prepare_failed", retryable: true });
    controller.assign("chat-0", 1, SPLIT, 2);
    await controller.until(verified(1), "verified at the second attempt");
    expect(controller.acks.at(-1)?.attempt).toBe(2);
  });

  test("a rejected instance does not stop the others, and is registered again later", async () => {
    await addEngine();
    controller.rejecting.set("chat-0", "gone");
    await startAgent();
    await controller.until(() => windowsOf("chat-1").length >= 3, "windows of the other");
    expect(windowsOf("chat-0")).toEqual([]);
    controller.rejecting.clear();
    await controller.until(() => windowsOf("chat-0").length >= 1, "windows of the first");
  });

  test("windows that the controller will not take do not hold up what follows", async () => {
    const agent = await startAgent();
    await controller.until(() => windowsOf("chat-0").length >= 1, "a window");
    controller.rejecting.set("chat-0", "invalid_window");
    const before = controller.reports.length;
    await controller.until(() => controller.reports.length > before + 3, "more reports");
    controller.rejecting.clear();
    const taken = windowsOf("chat-0").length;
    await controller.until(() => windowsOf("chat-0").length > taken, "later windows are taken");
    expect(agent.logged("instance_rejected")).toHaveLength(1);
    expect(controller.registrations).toHaveLength(1);
  });

  test("registers again when the controller has forgotten it", async () => {
    await startAgent();
    await controller.until(() => windowsOf("chat-0").length >= 1, "a window");
    controller.refusing = { status: 404, code: "not_found" };
    const before = controller.registrations.length;
    await new Promise<void>((resolve) => {
      controller.whenRefused(resolve);
    });
    controller.refusing = null;
    await controller.until(() => controller.registrations.length > before, "registered again");
  });
});

describe("an agent whose controller is away", () => {
  test("keeps the split, keeps what it measures within bounds, and hands it over when the controller is back", async () => {
    const agent = await startAgent();
    await controller.until(() => windowsOf("chat-0").length >= 1, "a window");
    await bringTo(3);
    await controller.stop();
    const scrapes = engine.scrapes;
    await controller.until(() => engine.scrapes > scrapes + MAX_BUFFERED_WINDOWS + 5, "more than fits");
    expect(engine.model.observe()).toMatchObject({ generation: 3, delivered: { kvQuotaPct: 90 } });
    const away = agent.logged("controller_unreachable");
    expect(away).toHaveLength(1);
    expect(away[0]?.["msg"]).toMatch(/^controller unreachable since .*; keeping the split$/);
    const before = windowsOf("chat-0").length;
    const lastBefore = controller.lastSeq("chat-0");
    await controller.start();
    await controller.until(() => windowsOf("chat-0").length >= before + MAX_BUFFERED_WINDOWS, "the buffer");
    // The oldest were dropped: there is a gap, and no repeat.
    const [first] = windowsOf("chat-0").slice(before);
    expect(first?.seq).toBeGreaterThan(lastBefore + 1);
    expect(agent.logged("controller_reachable")).toHaveLength(1);
  });

  test("starts without it, and says ready", async () => {
    await controller.stop();
    const agent = await startAgent();
    expect(agent.ready.event).toBe("ready");
    await controller.until(() => engine.scrapes >= 3, "it measures");
    await controller.start();
    await controller.until(() => windowsOf("chat-0").length >= 1, "windows");
  });
});

describe("an agent that is killed", () => {
  test("in the middle of a preparation finishes it in its next life", async () => {
    engine.model.holdPrepare = true;
    const first = await startAgent();
    controller.assign("chat-0", 2, SPLIT);
    await controller.until(() => steps(2).includes("preparing"), "preparing");
    await first.kill();
    await controller.stop();
    engine.model.holdPrepare = false;
    // Not even the controller is needed: the assignment is in the journal.
    await startAgent();
    await controller.until(() => engine.model.observe().generation === 2, "it runs");
    expect(engine.model.calls).toEqual(["prepare 2", "commit 2"]);
    await controller.start();
    await controller.until(verified(2), "verified");
  });

  test("numbers its windows on from where it was, whatever the controller remembers", async () => {
    const first = await startAgent();
    await controller.until(() => windowsOf("chat-0").length >= 2, "windows");
    await first.kill();
    const last = controller.lastSeq("chat-0");
    controller.windows.clear();
    await startAgent();
    await controller.until(() => windowsOf("chat-0").length >= 1, "more windows");
    expect(windowsOf("chat-0")[0]?.seq).toBeGreaterThan(last);
  });

  test("by SIGTERM, or by the end of its parent, goes in order and leaves the engine alone", async () => {
    const first = await startAgent();
    await bringTo(4);
    expect(await first.terminate()).toBe(0);
    const second = await startAgent();
    expect(await second.closeStdin()).toBe(0);
    expect(engine.model.observe().generation).toBe(4);
    expect(engine.model.calls).toEqual(["prepare 4", "commit 4"]);
    expect(await readdir(join(folder, "state"))).toEqual(["chat-0.json"]);
  });
});

describe("an engine", () => {
  test("that was killed and is back gets its last good allocation again", async () => {
    await startAgent();
    await bringTo(7);
    await engine.kill();
    await controller.until(() => newest()?.conditions.includes("DriverUnreachable") ?? false, "it is told");
    expect(newest()?.observed).toBeNull();
    const before = controller.reports.length;
    await engine.revive();
    await controller.until(() => engine.model.observe().generation === 7, "restored");
    const later = (): string[] =>
      controller.reports.slice(before).flatMap((r) => r.instances[0]?.conditions ?? []);
    await controller.until(() => later().includes("EngineRestarted"), "the restart is told");
    expect(later()).toContain("CounterReset");
    await controller.until(() => newest()?.conditions.length === 0, "the conditions go");
    // No window spans the restart.
    for (const { finished } of windowsOf("chat-0")) expect(finished).toBeLessThan(20);
  });

  test("that cannot be read: what its driver knows of it is told all the same", async () => {
    // A daemon that is missing: no worker is started, so that nothing iterates.
    const tool = await installMpsControl(join(folder, "bin"));
    const driver = {
      type: "mps-respawn",
      command: [process.execPath, "-e", "0"],
      resident: { address: join(folder, "resident") },
      smCount: 108,
      mps: { pipeDirectory: join(folder, "pipe"), tool },
    };
    const agent = await AgentProcess.start({
      folder,
      controllerUrl: controller.url,
      engines: [{ instance: "chat-0", metricsUrl: engine.metricsUrl, socket: engine.socketPath, driver }],
    });
    agents.push(agent);
    const conditions = async (): Promise<unknown> => {
      const answer = await fetch(`${agent.ready.statusUrl}/status`);
      const { instances } = (await answer.json()) as { instances: { conditions: string[] }[] };
      return instances[0]?.conditions;
    };
    await expect.poll(conditions, { timeout: 10_000 }).toContain("MpsMissing");
    expect(await conditions()).toContain("DriverUnreachable");
  });

  test("that was restarted while the agent was down is noticed", async () => {
    const first = await startAgent();
    await bringTo(7);
    await first.kill();
    await engine.kill();
    await engine.revive();
    await startAgent();
    await controller.until(() => engine.model.observe().generation === 7, "restored");
    const told = (): boolean =>
      controller.reports.some((r) => r.instances[0]?.conditions.includes("EngineRestarted") ?? false);
    await controller.until(told, "the restart is told");
  });

  test.each(["garbage", "hang", "error"] as const)(
    "whose metrics are %s makes no window, says so, and is bridged by one longer window",
    async (mode) => {
      await addEngine();
      const agent = await startAgent();
      await controller.until(() => windowsOf("chat-0").length >= 2, "windows");
      engine.metricsMode = mode;
      await controller.until(() => newest()?.conditions.includes("ScrapeFailing") ?? false, "it is told");
      const before = windowsOf("chat-0").length;
      const others = windowsOf("chat-1").length;
      await controller.until(() => windowsOf("chat-1").length > others + 5, "the other goes on");
      expect(windowsOf("chat-0").length - before).toBeLessThanOrEqual(1);
      expect(agent.logged("scrape_failing")).toHaveLength(1);
      // The split can still be moved.
      await bringTo(1);
      const last = controller.lastSeq("chat-0");
      engine.metricsMode = "good";
      await controller.until(() => controller.lastSeq("chat-0") > last, "windows again");
      const bridge = windowsOf("chat-0").find(({ seq }) => seq > last);
      expect(bridge?.seq).toBe(last + 1);
      expect(bridge?.durationMs).toBeGreaterThan(500);
      await controller.until(() => newest()?.conditions.length === 0, "the condition goes");
    },
  );
});

test("the status page shows what is asked, what is delivered, and what the operator should set", async () => {
  controller.warnings = ["Start SGLang with --bucket-time-to-first-token 0.3"];
  const agent = await startAgent();
  await bringTo(2);
  const get = async (path: string) => fetch(`${agent.ready.statusUrl}${path}`);
  expect((await get("/healthz")).status).toBe(200);
  expect(await (await get("/status")).json()).toMatchObject({
    agent: "node-a",
    controller: { unreachableSince: null, registered: ["chat-0"] },
    instances: [
      {
        target: { generation: 2, outcome: "verified" },
        observed: { generation: 2 },
        engine: "sglang",
        tpotBasis: "token",
        warnings: controller.warnings,
      },
    ],
  });
  // It told the buckets that the warning is about.
  expect(controller.registrations.at(-1)?.instances).toMatchObject([
    { capabilities: { engine: "sglang" }, buckets: { ttftMs: [100, 300, 1_000], tpotMs: [20, 50, 100] } },
  ]);
  expect(agent.logged("buckets_miss_slo")).toMatchObject([{ msg: controller.warnings[0] }]);
  const metrics = await (await get("/metrics")).text();
  expect(metrics).toContain('fulcrum_agent_applied_generation{instance="chat-0"} 2');
  expect(metrics).toMatch(/fulcrum_agent_rollout_step_seconds_count\{instance="chat-0",step="preparing"} 1/);
  expect((await get("/other")).status).toBe(404);
});
