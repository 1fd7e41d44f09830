import { mkdtemp, rm } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../clock.js";
import { createStagedDriver } from "../create-staged-driver.js";
import type { PartitionDriver } from "../../partition-driver.js";
import { describeStagedDriver, moveTo, planned, until } from "../../testing/staged-conformance.js";
import { admissionCapDriver } from "./admission-cap-config.js";
import { FakeGateway } from "../../testing/fake-gateway.js";

let stateDir: string;
let gateway: FakeGateway;

beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "fulcrum-cap-"));
  gateway = await FakeGateway.start();
});
afterEach(async () => {
  await gateway.stop();
  await rm(stateDir, { recursive: true, force: true });
});

const driverOf = (more: Readonly<Record<string, unknown>> = {}): PartitionDriver =>
  createStagedDriver(
    admissionCapDriver.parse({ type: "admission-cap", url: gateway.url, timeoutMs: 300, ...more }),
    {
      instance: "chat-0",
      stateDir,
      clock: systemClock,
    },
  );
const quota = (kvQuotaPct: number) => ({ split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct });

describeStagedDriver("the admission cap", () =>
  Promise.resolve({
    newDriver: () => driverOf(),
    targets: [quota(40), quota(70)] as const,
    verdict: "delivered" as const,
    kill: () => gateway.stop(),
  }),
);

describe("an admission cap", () => {
  test("is a share of the pool in tokens, with the generation as its revision; 100 % is none", async () => {
    const driver = driverOf();
    await moveTo(driver, 3, quota(40));
    await moveTo(driver, 4, quota(100));
    expect(gateway.puts).toEqual([
      { revision: 3, maxAdmittedPromptTokens: 40_000 },
      { revision: 4, maxAdmittedPromptTokens: null },
    ]);
    expect((await driver.probe()).limits).toMatchObject({ minSmPct: 100, maxSmPct: 100, minKvQuotaPct: 5 });
  });

  test("is deferred while more is in flight than it allows", async () => {
    const driver = driverOf();
    gateway.inFlightPromptTokens = 60_000;
    const plan = await moveTo(driver, 1, quota(40));
    expect(await driver.verify(plan)).toEqual({
      kind: "pending",
      why: "deferred: 60000 prompt tokens in flight, cap 40000",
    });
    gateway.inFlightPromptTokens = 39_000;
    expect((await driver.verify(plan)).kind).toBe("delivered");
  });

  test("is lost when the gateway begins anew, and seen to be", async () => {
    const driver = driverOf();
    await moveTo(driver, 3, quota(40));
    gateway.restart();
    expect(await driver.observe()).toMatchObject({
      generation: 0,
      phase: "steady",
      delivered: { kvQuotaPct: 100 },
    });
    await moveTo(driver, 3, quota(40));
    expect(gateway.maxAdmittedPromptTokens).toBe(40_000);
  });

  test("that the gateway dropped is seen as lost, and is set again under the same revision", async () => {
    const driver = driverOf();
    await moveTo(driver, 3, quota(40));
    gateway.maxAdmittedPromptTokens = null;
    expect(await driver.observe()).toMatchObject({
      generation: 0,
      delivered: { kvQuotaPct: 100 },
      conditions: ["AllocationLost"],
    });
    await moveTo(driver, 3, quota(40));
    expect(gateway.maxAdmittedPromptTokens).toBe(40_000);
    expect(await driver.observe()).toMatchObject({ generation: 3, conditions: [] });
  });

  test("of a newer controller is not overwritten", async () => {
    const driver = driverOf();
    const plan = await planned(driver, 3, quota(40));
    await driver.prepare(plan);
    gateway.revision = 9;
    gateway.maxAdmittedPromptTokens = 70_000;
    await expect(driver.commit(plan)).rejects.toMatchObject({ code: "stale_revision", retryable: false });
    expect(gateway.maxAdmittedPromptTokens).toBe(70_000);
  });

  test("whose answer was lost is told again and not twice applied", async () => {
    const driver = driverOf();
    const plan = await planned(driver, 3, quota(40));
    await driver.prepare(plan);
    gateway.loseAnswers = true;
    await expect(driver.commit(plan)).rejects.toMatchObject({ code: "unreachable", silent: true });
    gateway.loseAnswers = false;
    await until(driverOf(), 3);
    expect(gateway.puts).toEqual([{ revision: 3, maxAdmittedPromptTokens: 40_000 }]);
  });

  test("that the gateway did not take is an error, not a delivery", async () => {
    const driver = driverOf();
    const plan = await planned(driver, 3, quota(40));
    await driver.prepare(plan);
    gateway.takesNothing = true;
    await expect(driver.commit(plan)).rejects.toMatchObject({ code: "not_taken" });
    expect((await driver.observe()).generation).toBe(0);
  });

  test("needs the size of the pool from the gateway or from the configuration", async () => {
    gateway.kvTokens = null;
    await expect(driverOf().probe()).rejects.toMatchObject({
      code: "kv_tokens_unknown",
      message: expect.stringContaining("set driver.kvTokens") as string,
    });
    await moveTo(driverOf({ kvTokens: 1_000 }), 1, quota(40));
    expect(gateway.maxAdmittedPromptTokens).toBe(400);
  });
});

describe("a gateway that misbehaves", () => {
  test.each<[string, (response: ServerResponse) => void, string]>([
    ["hangs", () => undefined, "timeout"],
    [
      "answers half and dies",
      (response) => void response.write('{"rev', () => response.destroy()),
      "unreachable",
    ],
    ["answers what is not JSON", (response) => void response.end("hello"), "bad_answer"],
    ["answers another shape", (response) => void response.end('{"revision":-1}'), "bad_answer"],
    [
      "has a revision that leaves no room above it",
      (response) =>
        void response.end(
          '{"bootId":"b","revision":2147483647,"maxAdmittedPromptTokens":null,"inFlightPromptTokens":0,"kvTokens":9}',
        ),
      "bad_answer",
    ],
    ["answers without end", (response) => void response.end("x".repeat(300_000)), "bad_answer"],
    ["answers 500", (response) => void response.writeHead(500).end("{}"), "unreachable"],
    ["sends elsewhere", (response) => void response.writeHead(302, { location: "/x" }).end(), "unreachable"],
  ])("%s: an error with a name, and it is heard again", async (_what, misbehave, code) => {
    const driver = driverOf();
    gateway.misbehave = misbehave;
    await expect(driver.observe()).rejects.toMatchObject({ code, silent: true });
    gateway.misbehave = null;
    expect((await driver.observe()).generation).toBe(0);
  });

  test("has no such cap: its status is the code", async () => {
    gateway.misbehave = (response) => void response.writeHead(404).end();
    await expect(driverOf().observe()).rejects.toMatchObject({ code: "http_404", silent: false });
  });
});
