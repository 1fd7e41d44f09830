import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../clock.js";
import { createStagedDriver } from "../create-staged-driver.js";
import type { PartitionDriver } from "../../partition-driver.js";
import { describeStagedDriver, moveTo, planned } from "../../testing/staged-conformance.js";
import { sglangPdmuxDriver } from "./pdmux-config.js";

/** The hook of docs/engines.md; a selection takes effect at the next boundary, which `boundary()` is. */
class FakeHook {
  bootId = "boot-1";
  generation = 0;
  index = 0;
  selected: { generation: number; index: number } | null = null;
  atOnce = true;
  groups: [number, number][] = [
    [132, 0],
    [112, 20],
    [88, 44],
    [56, 76],
    [0, 132],
  ];
  answer: unknown = null;

  boundary(): void {
    if (!this.selected) return;
    ({ generation: this.generation, index: this.index } = this.selected);
    this.selected = null;
  }

  put(body: { generation: number; index: number }): [number, unknown] {
    if (body.generation < this.generation)
      return [409, { code: "stale_generation", message: "below the running one" }];
    this.selected = body;
    if (this.atOnce) this.boundary();
    return [200, this.state()];
  }

  state(): unknown {
    const { bootId, generation, index, groups } = this;
    const [prefillSms, decodeSms] = groups[index] ?? [0, 0];
    return this.answer ?? { bootId, generation, index, prefillSms, decodeSms, groups };
  }
}

let folder: string;
let hook: FakeHook;
let server: Server;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-pdmux-"));
  hook = new FakeHook();
  server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    request.on("end", () => {
      const [status, body] =
        request.method === "PUT" ? hook.put(JSON.parse(text) as never) : ([200, hook.state()] as const);
      response.writeHead(status).end(JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
});
afterEach(async () => {
  await stopServer();
  await rm(folder, { recursive: true, force: true });
});

function stopServer(): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

const urlOf = (path: string): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;

function driverOf(move: Readonly<Record<string, unknown>>): PartitionDriver {
  const config = sglangPdmuxDriver.parse({
    type: "sglang-pdmux",
    smCount: 132,
    computeCapability: "9.0",
    move,
  });
  return createStagedDriver(config, {
    instance: "chat-0",
    stateDir: join(folder, "state"),
    clock: systemClock,
  });
}

const byHook = (): PartitionDriver => driverOf({ kind: "hook", url: urlOf("/pdmux"), timeoutMs: 300 });
const split = (prefillSmPct: number, decodeSmPct: number) => ({
  split: { prefillSmPct, decodeSmPct },
  kvQuotaPct: 100,
});

describeStagedDriver("SGLang's pdmux with the hook", () =>
  Promise.resolve({
    newDriver: byHook,
    targets: [split(66.67, 33.33), split(42.42, 57.58)] as const,
    verdict: "delivered" as const,
    kill: stopServer,
  }),
);

describe("the hook of pdmux", () => {
  test("selects the nearest group that the engine made, live, and reads its SMs back once it runs", async () => {
    hook.atOnce = false;
    const driver = byHook();
    expect(await driver.probe()).toMatchObject({ live: true, prepareMs: 0, limits: { maxSumPct: 100 } });
    const plan = await planned(driver, 2, split(80, 20));
    expect(plan.asked.split).toEqual({ prefillSmPct: 84.85, decodeSmPct: 15.15 });
    await moveTo(driver, 2, split(80, 20));
    expect(await driver.verify(plan)).toMatchObject({ kind: "pending" });
    hook.boundary();
    expect(await driver.verify(plan)).toMatchObject({ kind: "delivered" });
    hook.index = 3;
    expect(await driver.verify(plan)).toMatchObject({ kind: "not_delivered" });
  });

  test.each<[string, () => void]>([
    ["goes back to its own choice", () => Object.assign(hook, { generation: 0, index: 2 })],
    ["goes back to an older selection", () => Object.assign(hook, { generation: 1 })],
    ["runs other SMs than were selected", () => Object.assign(hook, { index: 3 })],
  ])("shows as generation 0 what was lost when the engine %s, and selects it again", async (_what, drift) => {
    await moveTo(byHook(), 3, split(80, 20));
    drift();
    // Also to an agent that was away meanwhile, and until it runs again.
    const driver = byHook();
    const { bootId } = await driver.observe();
    expect(await driver.observe()).toMatchObject({
      bootId,
      generation: 0,
      phase: "steady",
      conditions: ["AllocationLost"],
    });
    await moveTo(driver, 3, split(80, 20));
    expect(hook).toMatchObject({ generation: 3, index: 1 });
    expect(await driver.observe()).toMatchObject({ generation: 3, conditions: [] });
  });

  test("does not undo the selection of somebody who is ahead", async () => {
    const driver = byHook();
    await moveTo(driver, 3, split(80, 20));
    Object.assign(hook, { generation: 9, index: 3 });
    expect(await driver.observe()).toMatchObject({ generation: 9, conditions: ["AllocationLost"] });
  });

  test("keeps nothing of a lie, and knows after it what it knew before", async () => {
    const driver = byHook();
    const plan = await moveTo(driver, 3, split(80, 20));
    const { bootId, generation, groups } = hook;
    hook.answer = { bootId, generation, index: 1, prefillSms: 999, decodeSms: 44, groups };
    await expect(driver.observe()).rejects.toMatchObject({ code: "bad_answer", silent: true });
    await expect(driver.prepare({ ...plan, generation: 4 })).rejects.toMatchObject({ code: "bad_answer" });
    hook.answer = null;
    const later = byHook();
    await expect(later.prepare({ ...plan, generation: 2 })).rejects.toMatchObject({
      code: "stale_generation",
    });
    expect(await readdir(join(folder, "state", "drivers"))).toEqual(["chat-0.sglang-pdmux.json"]);
  });

  test.each<[string, () => void, RegExp]>([
    [
      "whose groups do not sum to the GPU",
      () => (hook.groups[1] = [100, 20]),
      /sum to driver.smCount 132, got 100 \+ 20/,
    ],
    ["that names no group", () => (hook.index = 9), /index: must name a group/],
    [
      "of more SMs than the GPU has",
      () => (hook.answer = { ...(hook.state() as object), prefillSms: 999 }),
      /prefillSms: .*<=132/,
    ],
    [
      "with a generation that leaves no room above it",
      () => Object.assign(hook, { bootId: "boot-2", generation: 2_147_483_647 }),
      /generation: .*<=2000000000/,
    ],
    ["that answers another shape", () => (hook.answer = { ok: true }), /bootId/],
  ])("%s is a bad answer", async (_what, spoil, message) => {
    spoil();
    await expect(byHook().observe()).rejects.toMatchObject({
      code: "bad_answer",
      message: expect.stringMatching(message) as string,
    });
  });

  test("with groups for one phase only has nothing to move", async () => {
    hook.groups = [
      [132, 0],
      [132, 0],
      [0, 132],
    ];
    await expect(byHook().probe()).rejects.toMatchObject({ code: "nothing_to_move", retryable: false });
  });
});

describe("pdmux without the hook", () => {
  const configFile = () => join(folder, "pdmux.yaml");
  const byRestart = (): PartitionDriver =>
    driverOf({
      kind: "restart",
      configFile: configFile(),
      restart: {
        allowRestart: true,
        command: ["true"],
        healthUrl: urlOf("/health"),
        healthPollMs: 10,
        minIntervalMs: 0,
      },
    });

  test("writes the groups, restarts, and says that it cannot read them back", async () => {
    const driver = byRestart();
    expect(await driver.probe()).toMatchObject({ live: false, limits: { maxSumPct: 100 } });
    const plan = await moveTo(driver, 6, split(54.5, 42.4));
    expect(plan.adjusted).toEqual(["prefillSmPct 54.5 -> 54.55", "decodeSmPct 42.4 -> 45.45"]);
    expect(await readFile(configFile(), "utf8")).toContain("# fulcrum generation 6");
    expect(await driver.verify(plan)).toMatchObject({ kind: "unverified" });
    driver.close();
  });

  test("does not overwrite a file of another GPU", async () => {
    await writeFile(configFile(), "sm_group_num: 3\nmanual_divisions: [[60, 48, 1]]\n");
    await expect(byRestart().observe()).rejects.toMatchObject({ code: "bad_file" });
  });

  test("says what in the file is not of this GPU, or no generation", async () => {
    await writeFile(configFile(), "sm_group_num: 3\nmanual_divisions: [[60, 48, 1]]\n");
    await expect(byRestart().observe()).rejects.toThrow(
      "manual_divisions must sum to driver.smCount 132, got 60 + 48",
    );
    await writeFile(
      configFile(),
      "# fulcrum generation 4000000000\nsm_group_num: 3\nmanual_divisions: [[88, 44, 1]]\n",
    );
    await expect(byRestart().observe()).rejects.toThrow(
      "the generation must be 0..2000000000, got 4000000000",
    );
  });

  const yaml = spawnSync("python3", ["-c", "import yaml"]).status === 0;
  test.skipIf(!yaml)("writes what Python's YAML reads", async () => {
    const driver = byRestart();
    await moveTo(driver, 1, split(50, 50));
    const program = "import json,sys,yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    const { stdout } = spawnSync("python3", ["-c", program, configFile()], { encoding: "utf8" });
    expect(JSON.parse(stdout)).toMatchObject({ sm_group_num: 3, manual_divisions: [[64, 68, 1]] });
    driver.close();
  });
});
