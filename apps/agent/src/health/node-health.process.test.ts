import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AgentProcess } from "../testing/agent-process.js";
import { FakeController } from "../testing/fake-controller.js";
import { FakeEngine } from "../testing/fake-engine.js";
import { FakeMps, installMpsControl } from "../testing/vendor/fake-mps.js";

const GPU = "GPU-74d43ed3-cdf7-e667-3644-bf5b4f46ed65";
const SPLIT = { split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 90 };
let folder: string;
let controller: FakeController;
let engines: FakeEngine[];
let agents: AgentProcess[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-health-"));
  controller = new FakeController();
  await controller.start();
  engines = [
    await FakeEngine.start(join(folder, "engine-0.sock")),
    await FakeEngine.start(join(folder, "engine-1.sock")),
  ];
  agents = [];
});
afterEach(async () => {
  for (const agent of agents) await agent.kill();
  for (const engine of engines) await engine.stop();
  await controller.stop();
  await rm(folder, { recursive: true, force: true });
});

async function startAgent(
  gpus: readonly (readonly (number | string)[])[],
  config: Readonly<Record<string, unknown>> = {},
): Promise<AgentProcess> {
  const agent = await AgentProcess.start({
    folder,
    controllerUrl: controller.url,
    config,
    engines: engines.map(({ metricsUrl, socketPath }, i) => ({
      instance: `chat-${i}`,
      metricsUrl,
      socket: socketPath,
      gpus: gpus[i] ?? [],
    })),
  });
  agents.push(agent);
  return agent;
}

const told = (i: number) =>
  controller.reports.at(-1)?.instances.find(({ instance }) => instance === `chat-${i}`)?.conditions;
const verified = (instance: string, generation: number) => () =>
  controller.acks.some(
    (ack) => ack.instance === instance && ack.generation === generation && ack.step === "verified",
  );

describe("the agent tells", () => {
  test("that requests run and no token comes, of that instance, until one comes", async () => {
    const agent = await startAgent([], { noProgressMs: 1_000 });
    await controller.until(() => told(0) !== undefined, "reports");
    engines[0]!.metricsMode = "stalled";
    await controller.until(() => told(0)?.includes("NoProgress") ?? false, "the deadlock is told");
    expect(told(1)).not.toContain("NoProgress");
    expect(agent.logged("no_progress")).toHaveLength(1);
    engines[0]!.metricsMode = "good";
    await controller.until(() => told(0)?.length === 0, "the condition goes");
  });

  test("a fault of the MPS server on the instances that use a GPU", async () => {
    const pipeDirectory = join(folder, "pipe");
    const mps = await FakeMps.start(pipeDirectory, { device: GPU });
    const tool = await installMpsControl(join(folder, "bin"));
    await mps.connect(4_711);
    const gpuWatch = { intervalMs: 100, mps: { pipeDirectory, tool } };
    const agent = await startAgent([[GPU], []], { gpuWatch });
    await controller.until(() => told(0) !== undefined && told(1) !== undefined, "reports");
    await mps.fault();
    await controller.until(() => told(0)?.includes("MpsFault") ?? false, "the fault is told");
    expect(told(1)).not.toContain("MpsFault");
    await mps.exit(4_711);
    await controller.until(() => told(0)?.length === 0, "the condition goes");
    expect(agent.logged("mps_fault")).toHaveLength(1);
  });
});

describe("two instances", () => {
  test("of one GPU are moved one after the other", async () => {
    // An index and nothing that could tell its UUID: they are still the same GPU.
    await startAgent([[0], [0]], { gpuWatch: { nvmlLibrary: "/no/such/library.so", intervalMs: 60_000 } });
    engines[0]!.model.holdPrepare = true;
    controller.assign("chat-0", 1, SPLIT);
    await controller.until(() => engines[0]!.model.calls.length > 0, "the first prepares");
    controller.assign("chat-1", 1, SPLIT);
    const looks = engines[1]!.scrapes;
    await controller.until(() => engines[1]!.scrapes > looks + 10, "ten windows pass");
    expect(engines[1]!.model.calls).toEqual([]);
    engines[0]!.model.holdPrepare = false;
    await controller.until(verified("chat-0", 1), "the first is done");
    await controller.until(verified("chat-1", 1), "then the second");
  });

  test("of two GPUs do not wait for each other", async () => {
    await startAgent([[GPU], [GPU.replace("74", "75")]], { gpuWatch: { intervalMs: 60_000 } });
    engines[0]!.model.holdPrepare = true;
    controller.assign("chat-0", 1, SPLIT);
    await controller.until(() => engines[0]!.model.calls.length > 0, "the first prepares");
    controller.assign("chat-1", 1, SPLIT);
    await controller.until(verified("chat-1", 1), "the second is done meanwhile");
  });
});
