import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../clock.js";
import { createStagedDriver } from "../create-staged-driver.js";
import type { DriverError, PartitionDriver } from "../../partition-driver.js";
import { semiPdStaticDriver } from "../semi-pd-static/semi-pd-config.js";
import { describeStagedDriver, moveTo, planned, until } from "../../testing/staged-conformance.js";

const ENGINE = fileURLToPath(new URL("fixtures/fake-engine.mjs", import.meta.url));

let folder: string;
let port: number;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-restart-"));
  port = await freePort();
  const envFile = join(folder, "semi-pd.env");
  await writeFile(join(folder, "engine.json"), JSON.stringify({ port, smCount: 108, envFile, loadMs: 30 }));
});
afterEach(async () => {
  control("stop");
  await rm(folder, { recursive: true, force: true });
});

const control = (action: string) => spawnSync(process.execPath, [ENGINE, action, folder]);
const setFault = (fault: string) => writeFile(join(folder, "fault"), fault);
const linesOf = async (file: string): Promise<string[]> =>
  existsSync(join(folder, file)) ? (await readFile(join(folder, file), "utf8")).trim().split(/ *\n/) : [];

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

interface Setup {
  readonly restart?: Readonly<Record<string, unknown>>;
  readonly config?: Readonly<Record<string, unknown>>;
}

function driverOf({ restart = {}, config = {} }: Setup = {}): PartitionDriver {
  const command = (action: string) => [process.execPath, ENGINE, action, folder];
  const parsed = semiPdStaticDriver.parse({
    type: "semi-pd-static",
    envFile: join(folder, "semi-pd.env"),
    logFile: join(folder, "engine.log"),
    smCount: 108,
    restart: {
      allowRestart: true,
      drain: { command: command("drain"), timeoutMs: 10_000 },
      command: command("restart"),
      healthUrl: `http://127.0.0.1:${port}/health`,
      healthPollMs: 20,
      healthTimeoutMs: 2_000,
      minIntervalMs: 0,
      ...restart,
    },
    ...config,
  });
  return createStagedDriver(parsed, {
    instance: "chat-0",
    stateDir: join(folder, "state"),
    clock: systemClock,
  });
}

async function startEngine(): Promise<void> {
  control("restart");
  await expect
    .poll(
      () =>
        fetch(`http://127.0.0.1:${port}/health`).then(
          ({ status }) => status,
          () => 0,
        ),
      { timeout: 10_000 },
    )
    .toBe(200);
}

const split = (prefillSmPct: number, decodeSmPct: number) => ({
  split: { prefillSmPct, decodeSmPct },
  kvQuotaPct: 100,
});

/** The commit that follows a move that failed is answered with why. */
async function failureOf(driver: PartitionDriver, generation: number): Promise<unknown> {
  const plan = await planned(driver, generation, split(60, 40));
  await driver.prepare(plan);
  await driver.commit(plan);
  await expect
    .poll(() => driver.observe().catch(() => null), { timeout: 30_000, interval: 20 })
    .toMatchObject({ prepared: { generation, ready: true } });
  return driver.commit(plan).catch((error: unknown) => error);
}

describeStagedDriver("an engine that is restarted", async () => {
  await startEngine();
  return {
    newDriver: () => driverOf(),
    targets: [split(60, 40), split(70, 30)],
    verdict: "delivered",
    kill: () => Promise.resolve(void control("stop")),
  };
});

describe("a split that moves by a restart", () => {
  test("says that it is not live and what the last restarts took, drains first, and reads the SMs back", async () => {
    await startEngine();
    const driver = driverOf();
    expect(await driver.probe()).toMatchObject({
      driver: "semi-pd-static",
      live: false,
      prepareMs: null,
      smCount: 108,
    });
    const plan = await moveTo(driver, 7, split(60, 40));
    expect(await driver.verify(plan)).toEqual({
      kind: "delivered",
      delivered: { split: { prefillSmPct: 59.26, decodeSmPct: 38.89 }, kvQuotaPct: 100 },
    });
    expect(await linesOf("drains")).toHaveLength(1);
    expect((await linesOf("starts")).at(-1)).toContain(
      "SEMI_PD_PREFILL_SM_PERCENTILE=60 SEMI_PD_DECODE_SM_PERCENTILE=40 FULCRUM_GENERATION=7",
    );
    expect((await driver.probe()).prepareMs).toBeGreaterThan(0);
    driver.close();
  });

  test("is unverified where the engine's log is not read", async () => {
    await startEngine();
    const driver = driverOf({ config: { logFile: undefined } });
    const plan = await moveTo(driver, 1, split(60, 40));
    expect(await driver.verify(plan)).toMatchObject({ kind: "unverified" });
    driver.close();
  });

  test("is not delivered when the engine runs without its cap: no MPS daemon, or the wrong one", async () => {
    await startEngine();
    const driver = driverOf();
    await setFault("lies");
    const plan = await moveTo(driver, 1, split(60, 40));
    expect(await driver.verify(plan)).toMatchObject({
      kind: "not_delivered",
      message: expect.stringContaining("prefillSmPct asked 60, delivered 100") as string,
    });
    driver.close();
  });

  test("does not restart anything until it is allowed, and says which setting that is", async () => {
    await startEngine();
    const driver = driverOf({ restart: { allowRestart: false } });
    const plan = await planned(driver, 1, split(60, 40));
    await expect(driver.prepare(plan)).rejects.toMatchObject({
      code: "restart_not_allowed",
      retryable: false,
      message: expect.stringContaining("driver.restart.allowRestart") as string,
    });
    expect(await linesOf("starts")).toHaveLength(1);
    driver.close();
  });

  test("waits between two restarts", async () => {
    await startEngine();
    const driver = driverOf({ restart: { minIntervalMs: 3_600_000 } });
    await moveTo(driver, 1, split(60, 40));
    await expect(driver.prepare(await planned(driver, 2, split(70, 30)))).rejects.toMatchObject({
      code: "restart_too_soon",
      retryable: true,
    });
    driver.close();
  });
});

describe("a restart that goes wrong", () => {
  test.each<[string, string, RegExp]>([
    [
      "the new engine dies at once",
      "dies-once",
      /was not well within 2000 ms.*started with the old split again/,
    ],
    [
      "the new engine never answers",
      "hangs-once",
      /was not well within 2000 ms.*started with the old split again/,
    ],
    ["the command is refused", "refuses-once", /ended with 5: unit not found; .*old split again/],
  ])("%s: the old split runs again, and the reason is told", async (_what, fault, message) => {
    await startEngine();
    const driver = driverOf();
    await setFault(fault);
    expect(await failureOf(driver, 4)).toMatchObject({
      code: "restart_failed",
      retryable: false,
      message: expect.stringMatching(message) as string,
    });
    expect(await driver.observe()).toMatchObject({ generation: 0, phase: "steady", prepared: null });
    // There was no file before: the engine runs its own defaults again.
    expect((await linesOf("starts")).at(-1)).toBe("start");
    await moveTo(driver, 5, split(70, 30));
    driver.close();
  });

  test("the engine comes up with neither split: it says that it may be down", async () => {
    await startEngine();
    const driver = driverOf({ restart: { healthTimeoutMs: 300 } });
    await setFault("dies");
    const plan = await planned(driver, 1, split(60, 40));
    await driver.prepare(plan);
    await driver.commit(plan);
    const told = () =>
      driver.observe().then(
        ({ phase }) => phase,
        (error: DriverError) => error,
      );
    await expect.poll(told, { timeout: 20_000 }).toMatchObject({
      code: "unreachable",
      message: expect.stringMatching(
        /and with the old split: .*: the engine may be down \(now .*refused/i,
      ) as string,
    });
    await rm(join(folder, "fault"));
    driver.close();
  });

  test("the drain fails: nothing is restarted, and the file is the old one", async () => {
    await startEngine();
    const mine = "# mine\nSEMI_PD_PREFILL_SM_PERCENTILE=70\nOTHER=x\n";
    await writeFile(join(folder, "semi-pd.env"), mine);
    const driver = driverOf({
      restart: { drain: { url: `http://127.0.0.1:${port + 1}/drain`, timeoutMs: 200 } },
    });
    expect(await failureOf(driver, 1)).toMatchObject({ code: "drain_failed", retryable: true });
    expect(await linesOf("starts")).toHaveLength(1);
    expect(await readFile(join(folder, "semi-pd.env"), "utf8")).toBe(mine);
    driver.close();
  });

  test("the engine cannot be told to serve again: that is tried until it can, and the move stands", async () => {
    await startEngine();
    const resume = { command: ["test", "-e", join(folder, "may-resume")] };
    const driver = driverOf({ restart: { resume } });
    const plan = await planned(driver, 1, split(60, 40));
    await driver.prepare(plan);
    await driver.commit(plan);
    const look = () =>
      driver.observe().then(
        ({ phase }) => phase,
        (error: { code: string }) => error.code,
      );
    await expect.poll(look, { timeout: 20_000 }).toBe("resume_failed");
    await writeFile(join(folder, "may-resume"), "");
    await until(driver, 1);
    expect((await driver.verify(plan)).kind).toBe("delivered");
    driver.close();
  });

  test("the command hangs: it is ended with all it started", async () => {
    await startEngine();
    const hang = ["sh", "-c", "echo $$ > hang.pid; sleep 600"];
    const driver = driverOf({
      restart: { command: ["env", "-C", folder, ...hang], commandTimeoutMs: 300, healthTimeoutMs: 300 },
    });
    // The engine was never stopped, so that going back finds it well once the command, hanging too, has been ended.
    expect(await failureOf(driver, 1)).toMatchObject({
      message: expect.stringContaining("took longer than 300 ms") as string,
    });
    const pid = Number(await readFile(join(folder, "hang.pid"), "utf8"));
    await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false);
    driver.close();
  });

  test("the agent dies while the engine loads: the next one only waits for it", async () => {
    await startEngine();
    await writeFile(
      join(folder, "engine.json"),
      JSON.stringify({ port, smCount: 108, envFile: join(folder, "semi-pd.env"), loadMs: 800 }),
    );
    const first = driverOf();
    const plan = await planned(first, 3, split(60, 40));
    await first.prepare(plan);
    await first.commit(plan);
    await expect
      .poll(() => readFile(join(folder, "state/drivers/chat-0.restart.json"), "utf8").catch(() => ""), {
        timeout: 10_000,
      })
      .toContain("waiting");
    first.close();
    const second = driverOf();
    expect(await second.observe()).toMatchObject({ generation: 0, phase: "switching" });
    await until(second, 3);
    expect(await linesOf("starts")).toHaveLength(2);
    expect((await second.verify(plan)).kind).toBe("delivered");
    second.close();
  });

  test("the file cannot be written: nothing is drained or restarted", async () => {
    await startEngine();
    // Nobody can make a file there.
    const driver = driverOf({ config: { envFile: "/proc/fulcrum-semi-pd.env" } });
    expect(await failureOf(driver, 1)).toMatchObject({ code: "file_unwritable" });
    expect([await linesOf("drains"), await linesOf("starts")]).toEqual([[], ["start"]]);
    driver.close();
  });

  test("the log is cut and goes on: what is read is of the engine that runs", async () => {
    await startEngine();
    const driver = driverOf();
    await moveTo(driver, 1, split(60, 40));
    await writeFile(join(folder, "engine.log"), "");
    await appendFile(join(folder, "engine.log"), "[2026-11-23 10:00:01 PREFILL TP0] Available SMs: 10\n");
    expect((await driver.observe()).delivered.split).toEqual({ prefillSmPct: 9.26, decodeSmPct: 38.89 });
    driver.close();
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
