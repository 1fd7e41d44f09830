/** The agent with staged drivers: what an engine or a gateway lost is applied again, with nobody asking for it. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { stringify } from "yaml";
import { Agent } from "../../agent.js";
import { parseConfig } from "../../config.js";
import { FakeController } from "../../testing/fake-controller.js";
import { FakeEngine } from "../../testing/fake-engine.js";
import { FakeGateway } from "../../testing/fake-gateway.js";
import { FakeSegment, shmFolder } from "../../testing/fake-kvcached-segment.js";
import { readSegment } from "../kvcached/segment.js";

const GIB = 2 ** 30;
const HALF = { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 50 };
let folder: string;
let shm: string;
let controller: FakeController;
let engine: FakeEngine;
let gateway: FakeGateway;
let agent: Agent | null;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-restore-"));
  shm = await shmFolder();
  controller = new FakeController();
  await controller.start();
  engine = await FakeEngine.start(join(folder, "engine.sock"));
  gateway = await FakeGateway.start();
  agent = null;
});
afterEach(async () => {
  await agent?.stop();
  await controller.stop();
  await engine.stop();
  await gateway.stop();
  await rm(folder, { recursive: true, force: true });
  await rm(shm, { recursive: true, force: true });
});

async function startAgent(driver: Readonly<Record<string, unknown>>): Promise<void> {
  await writeFile(join(folder, "agent.key"), "test-key\n");
  const instance = { instance: "chat-0", pool: "chat", ranks: [0], rankCount: 1 };
  const text = stringify({
    agent: "node-a",
    controller: { url: controller.url, keyFile: "./agent.key", longPollMs: 2_000, reregisterMs: 300 },
    stateDir: "./state",
    windowMs: 100,
    pollMs: 20,
    instances: [{ ...instance, reader: { type: "sglang", url: engine.metricsUrl, timeoutMs: 300 }, driver }],
  });
  agent = await Agent.create(parseConfig(text, join(folder, "agent.yaml")), pino({ level: "silent" }));
  agent.start();
}

const observed = () => controller.reports.at(-1)?.instances[0]?.observed;

async function bringTo(generation: number): Promise<void> {
  controller.assign("chat-0", generation, HALF);
  const verified = (): boolean =>
    controller.acks.some((ack) => ack.generation === generation && ack.step === "verified");
  await controller.until(verified, `generation ${generation} is verified`);
}

/** Seen by the controller, as a report of the time after. */
async function untilRestored(generation: number): Promise<void> {
  const before = controller.reports.length;
  const isBack = (): boolean =>
    controller.reports.length > before + 1 &&
    observed()?.generation === generation &&
    Math.round(observed()?.kvQuotaPct ?? 0) === 50;
  await controller.until(isBack, `generation ${generation} runs again`);
}

test("the limit of a kvcached engine that was killed and took its old file over", async () => {
  const segment = new FakeSegment(shm, "chat-0");
  await segment.start(8 * GIB);
  await startAgent({ type: "kvcached", segment: "chat-0", folder: shm, layers: 32 });
  await bringTo(5);
  for (const total of [8 * GIB, 10 * GIB]) {
    await segment.write([total, 0, 0]);
    const limit = async (): Promise<number> =>
      (await readSegment({ path: segment.path, lockTimeoutMs: 1_000 })).limitBytes;
    await expect.poll(limit, { timeout: 10_000 }).toBe(total / 2);
    await untilRestored(5);
  }
});

test("the cap that a gateway dropped without beginning anew", async () => {
  await startAgent({ type: "admission-cap", url: gateway.url, timeoutMs: 1_000 });
  await bringTo(3);
  gateway.maxAdmittedPromptTokens = null;
  await expect.poll(() => gateway.maxAdmittedPromptTokens, { timeout: 10_000 }).toBe(50_000);
  await untilRestored(3);
});

test("a gateway that tells what cannot be is not registered, and is once it tells the truth", async () => {
  gateway.revision = 2_147_483_647;
  await startAgent({ type: "admission-cap", url: gateway.url, timeoutMs: 1_000 });
  const scrapes = engine.scrapes;
  await controller.until(() => engine.scrapes > scrapes + 5, "the agent measures");
  expect(controller.registrations.flatMap(({ instances }) => instances)).toEqual([]);
  gateway.revision = 0;
  const registered = (): boolean => controller.registrations.some(({ instances }) => instances.length === 1);
  await controller.until(registered, "it is registered");
});
