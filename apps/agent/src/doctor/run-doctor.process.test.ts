import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { FakeEngine } from "../testing/fake-engine.js";
import { FakeMps, installMpsControl, installNvidiaSmi } from "../testing/vendor/fake-mps.js";
import type { DoctorReport } from "./doctor-report.js";
import { runDoctor } from "./run-doctor.js";

const UUID = "GPU-74d43ed3-cdf7-e667-3644-bf5b4f46ed65";
let folder: string;
let bin: string;
let engine: FakeEngine;
let controller: Server;
/** What the controller answers to the key. */
let controllerStatus: number;
let controllerDate: Date | null;
/** What else it serves, by path: status and text. */
let pages: Map<string, [number, string]>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-doctor-"));
  bin = join(folder, "bin");
  await mkdir(bin);
  await mkdir(join(folder, "shm"));
  await mkdir(join(folder, "proc"));
  engine = await FakeEngine.start(join(folder, "engine.sock"));
  controllerStatus = 404;
  controllerDate = null;
  pages = new Map();
  controller = createServer((request, response) => {
    const [status, text] = pages.get(request.url ?? "") ?? [];
    if (status !== undefined) return response.writeHead(status).end(text);
    if (controllerDate) response.setHeader("date", controllerDate.toUTCString());
    response.writeHead(controllerStatus, { "content-type": "application/problem+json" }).end("{}");
  });
  await new Promise<void>((resolve) => {
    controller.listen(0, "127.0.0.1", resolve);
  });
  await writeFile(join(folder, "agent.key"), "key-1\n");
});
afterEach(async () => {
  await engine.stop();
  controller.closeAllConnections();
  controller.close();
  await rm(folder, { recursive: true, force: true });
});

async function configured(over: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const path = join(folder, "agent.yaml");
  const { port } = controller.address() as AddressInfo;
  const instance = {
    instance: "chat-0",
    pool: "chat",
    ranks: [0],
    rankCount: 1,
    reader: { type: "sglang", url: engine.metricsUrl, timeoutMs: 2_000 },
    driver: { type: "engine-sim", socket: engine.socketPath },
  };
  const config = {
    agent: "node-a",
    controller: { url: `http://127.0.0.1:${port}`, keyFile: "./agent.key", requestTimeoutMs: 2_000 },
    stateDir: "./state",
    gpuWatch: {
      nvmlLibrary: join(folder, "none.so"),
      mps: { pipeDirectory: join(folder, "pipe") },
    },
    instances: [instance],
    ...over,
  };
  await writeFile(path, stringify(config));
  return path;
}

const doctor = (configPath: string | null, env: NodeJS.ProcessEnv = {}): Promise<DoctorReport> =>
  runDoctor({
    configPath,
    env: { PATH: `${bin}:${process.env["PATH"] ?? ""}`, ...env },
    processTable: join(folder, "proc"),
    sharedMemory: join(folder, "shm"),
  });

const check = (report: DoctorReport, id: string) => report.checks.find((each) => each.id === id);
const driver = (report: DoctorReport, name: string) => report.drivers.find((each) => each.driver === name);

async function aGpuNode(computeMode = "Exclusive_Process"): Promise<void> {
  const gpu = {
    index: "0",
    uuid: UUID,
    name: "NVIDIA H100 80GB HBM3",
    driver_version: "615.12",
    "memory.total": "81559",
    compute_mode: computeMode,
    compute_cap: "9.0",
  };
  await installNvidiaSmi(bin, { cudaVersion: "13.4", gpus: [gpu] });
  await installMpsControl(bin);
}

/** A daemon as the process table shows it. */
async function running(pipeDirectory: string, flags: readonly string[] = ["-d"]): Promise<void> {
  const process = join(folder, "proc", "4242");
  await mkdir(process, { recursive: true });
  await writeFile(join(process, "cmdline"), ["nvidia-cuda-mps-control", ...flags, ""].join("\0"));
  await writeFile(join(process, "environ"), `PATH=/bin\0CUDA_MPS_PIPE_DIRECTORY=${pipeDirectory}\0`);
}

describe("the doctor", () => {
  test("finds a node ready whose daemon, controller and engine answer", async () => {
    await aGpuNode();
    const mps = await FakeMps.start(join(folder, "pipe"), { device: UUID });
    await running(join(folder, "pipe"));
    await mps.connect(7);
    const report = await doctor(await configured());
    expect(report.checks.filter(({ status }) => status === "fail")).toEqual([]);
    expect(report.usable).toBe(true);
    expect(check(report, "mps")).toMatchObject({ status: "ok", says: expect.stringContaining("1 clients") });
    expect(check(report, "engine chat-0")?.status).toBe("ok");
    expect(check(report, "controller")?.status).toBe("ok");
    expect(driver(report, "mps-respawn")).toMatchObject({ works: true });
    expect(driver(report, "sglang-pdmux")).toMatchObject({ works: true });
    expect(driver(report, "kvcached")?.reason).toContain("no kvcached segment");
  });

  test("tells a daemon in another pipe directory, with what to write", async () => {
    await aGpuNode();
    await running("/run/elsewhere");
    const report = await doctor(await configured());
    expect(check(report, "mps")).toMatchObject({
      status: "warn",
      says: expect.stringContaining("but a daemon runs in /run/elsewhere"),
      fix: "set mps.pipeDirectory: /run/elsewhere in the agent's configuration",
    });
    expect(driver(report, "mps-respawn")?.works).toBe(false);
  });

  test("says how to start a daemon that is not there", async () => {
    await aGpuNode();
    const report = await doctor(await configured());
    expect(check(report, "mps")?.fix).toBe(
      `CUDA_MPS_PIPE_DIRECTORY=${join(folder, "pipe")} nvidia-cuda-mps-control -d`,
    );
  });

  test("sees what a daemon was started with: FAULT, static partitions, compute mode, our environment", async () => {
    await aGpuNode("Default");
    const mps = await FakeMps.start(join(folder, "pipe"));
    await mps.connect(7);
    await running(join(folder, "pipe"), ["-d", "-S"]);
    const path = await configured();
    let report = await doctor(path, { CUDA_MPS_PIPE_DIRECTORY: "/run/other" });
    expect(driver(report, "mps-respawn")?.reason).toContain("static partitions");
    expect(check(report, "compute-mode")?.fix).toBe("sudo nvidia-smi -i 0 -c EXCLUSIVE_PROCESS");
    expect(check(report, "mps-environment")?.says).toContain("/run/other");
    await mps.fault();
    report = await doctor(path);
    expect(check(report, "mps")?.says).toContain("FAULT");
  });

  test("asks the environment's daemon without a configuration, else the one that runs", async () => {
    await aGpuNode();
    await running("/run/elsewhere");
    expect((await doctor(null)).facts.mps).toMatchObject({
      pipeDirectory: "/run/elsewhere",
      pipeFrom: "running daemon",
    });
    const report = await doctor(null, { CUDA_MPS_PIPE_DIRECTORY: "/run/mine" });
    expect(report.facts.mps).toMatchObject({ pipeDirectory: "/run/mine", pipeFrom: "environment" });
    expect(report.usable).toBe(true);
  });

  test.each<[string, () => Promise<void> | void, string, RegExp]>([
    ["the controller refuses the key", () => void (controllerStatus = 401), "controller", /refuses the key/],
    ["something else answers", () => void (controllerStatus = 502), "controller", /answered 502/],
    ["the key is missing", () => rm(join(folder, "agent.key")), "controller", /keyFile: ENOENT/],
    ["nobody is at the controller's address", () => void controller.close(), "controller", /ECONNREFUSED/],
    ["the engine is gone", () => engine.stop(), "engine chat-0", /ECONNREFUSED/],
    ["the engine's metrics fail", () => void (engine.metricsMode = "error"), "engine chat-0", /answered 500/],
    [
      "a file is where the state folder should be",
      () => writeFile(join(folder, "state"), ""),
      "state-folder",
      /is not a folder/,
    ],
    [
      "shared memory is not there",
      () => rm(join(folder, "shm"), { recursive: true }),
      "shared-memory",
      /ENOENT/,
    ],
  ])("finds a node not ready when %s", async (_what, spoil, id, says) => {
    const path = await configured();
    await spoil();
    const report = await doctor(path);
    expect(check(report, id)).toMatchObject({ status: "fail", says: expect.stringMatching(says) });
    expect(report.usable).toBe(false);
    expect(report.fixes[0]?.check).toBe(id);
    expect(report.fixes[0]?.command).not.toBe("");
  });

  const page = (text: string, status = 200): string => {
    pages.set("/metrics", [status, text]);
    const { port } = controller.address() as AddressInfo;
    return `http://127.0.0.1:${port}/metrics`;
  };
  const instanceOf = (over: Readonly<Record<string, unknown>>) => ({
    instances: [
      {
        instance: "chat-0",
        pool: "chat",
        ranks: [0],
        rankCount: 1,
        reader: { type: "sglang", url: engine.metricsUrl, timeoutMs: 2_000 },
        driver: { type: "engine-sim", socket: engine.socketPath },
        ...over,
      },
    ],
  });

  test("reads a page as the agent would: another program's is none of vLLM", async () => {
    const url = page("node_cpu_seconds_total 5\n");
    const report = await doctor(await configured(instanceOf({ reader: { type: "vllm", url } })));
    expect(check(report, "engine chat-0")).toMatchObject({
      status: "fail",
      says: expect.stringContaining("vllm:num_requests_running is not exposed: is this a vLLM server?"),
      fix: expect.stringContaining("set reader.type to the engine"),
    });
  });

  test("tells a gauge that had to be left out", async () => {
    const url = page("vllm:num_requests_running 1\nvllm:num_requests_waiting -1\n");
    const report = await doctor(await configured(instanceOf({ reader: { type: "vllm", url } })));
    expect(check(report, "engine chat-0")).toMatchObject({
      status: "warn",
      says: expect.stringContaining("vllm:num_requests_waiting must be 0..2^53, got -1"),
    });
  });

  const RESTART = { command: ["true"], healthUrl: "http://127.0.0.1:1/health" };
  test.each<[string, () => Record<string, unknown>, RegExp, RegExp]>([
    [
      "a gateway that is not there",
      () => ({ type: "admission-cap", url: "http://127.0.0.1:1/dead" }),
      /127\.0\.0\.1:1\/dead.*ECONNREFUSED|127\.0\.0\.1:1\/dead/,
      /docs\/engines\.md "The admission cap"/,
    ],
    [
      "a hook that answers something else",
      () => ({
        type: "sglang-pdmux",
        smCount: 132,
        computeCapability: "9.0",
        move: { kind: "hook", url: page("{}") },
      }),
      /bootId/,
      /docs\/engines\.md "The hook/,
    ],
    [
      "a segment that is not there",
      () => ({ type: "kvcached", segment: "chat-0", folder: join(folder, "shm"), layers: 32 }),
      /there is no kvcached segment .*chat-0/,
      /KVCACHED_IPC_NAME=chat-0/,
    ],
    [
      "an engine that moves by a restart and is not well",
      () => ({ type: "semi-pd-static", envFile: join(folder, "a.env"), restart: RESTART }),
      /127\.0\.0\.1:1\/health/,
      /curl -sSi/,
    ],
  ])("finds %s, and says what to do", async (_what, driverOf, says, fix) => {
    await aGpuNode();
    await FakeMps.start(join(folder, "pipe"), { device: UUID });
    const report = await doctor(await configured(instanceOf({ driver: driverOf() })));
    expect(check(report, "driver chat-0")).toMatchObject({
      status: "fail",
      says: expect.stringMatching(says),
      fix: expect.stringMatching(fix),
    });
  });

  test("tells that a restart is not allowed, and a file that says no split", async () => {
    const envFile = join(folder, "a.env");
    const restart = { ...RESTART, healthUrl: page("") };
    const path = await configured(instanceOf({ driver: { type: "semi-pd-static", envFile, restart } }));
    expect(check(await doctor(path), "driver chat-0")).toMatchObject({
      status: "warn",
      fix: "set driver.restart.allowRestart: true",
    });
    await writeFile(envFile, "SEMI_PD_PREFILL_SM_PERCENTILE=x\n");
    expect(check(await doctor(path), "driver chat-0")).toMatchObject({
      status: "fail",
      says: expect.stringContaining("SEMI_PD_PREFILL_SM_PERCENTILE must be a whole number"),
    });
  });

  test("looks for kvcached where the configuration says, also where it is the quota of another driver", async () => {
    const place = { segment: "chat-0", folder: join(folder, "elsewhere"), layers: 32 };
    await mkdir(place.folder);
    const bytes = Buffer.alloc(24);
    bytes.writeBigInt64LE(8_589_934_592n, 0);
    await writeFile(join(place.folder, "chat-0"), bytes);
    const driven = await doctor(await configured(instanceOf({ driver: { type: "kvcached", ...place } })));
    expect(check(driven, "driver chat-0")?.status).toBe("ok");
    expect(driven.facts.segments).toMatchObject([{ name: join(place.folder, "chat-0"), problem: null }]);
    const respawn = {
      type: "mps-respawn",
      command: ["worker"],
      resident: { address: "unix:/run/r.sock" },
      smCount: 132,
      mps: { pipeDirectory: join(folder, "pipe") },
      quota: { type: "kvcached", ...place },
    };
    const path = await configured(instanceOf({ driver: respawn }));
    expect(check(await doctor(path), "quota chat-0")?.status).toBe("ok");
    await rm(join(place.folder, "chat-0"));
    expect(check(await doctor(path), "quota chat-0")?.status).toBe("fail");
  });

  test("changes nothing: it makes no state folder, and leaves every folder as it was", async () => {
    const path = await configured();
    const before = [await stat(folder), await stat(join(folder, "shm"))].map(({ mtimeMs }) => mtimeMs);
    const report = await doctor(path);
    expect(check(report, "state-folder")?.status).toBe("ok");
    expect(await readdir(folder)).not.toContain("state");
    const after = [await stat(folder), await stat(join(folder, "shm"))].map(({ mtimeMs }) => mtimeMs);
    expect(after).toEqual(before);
  });

  test("tells a configuration that is not valid, and looks at the node all the same", async () => {
    const path = await configured({ windowMs: 1 });
    const report = await doctor(path);
    expect(check(report, "config")).toMatchObject({
      status: "fail",
      says: expect.stringContaining("windowMs"),
    });
    expect(report.facts.sharedMemory.problem).toBeNull();
  });

  test("tells a clock that is off", async () => {
    controllerDate = new Date(Date.now() - 60_000);
    const report = await doctor(await configured());
    expect(check(report, "clock")).toMatchObject({
      status: "warn",
      says: expect.stringContaining("ahead of"),
    });
    expect(report.usable).toBe(true);
  });

  test("finds kvcached's segments, and what only looks like one", async () => {
    await aGpuNode();
    const segment = Buffer.alloc(24);
    segment.writeBigInt64LE(8_589_934_592n, 0);
    segment.writeBigInt64LE(1_073_741_824n, 8);
    await writeFile(join(folder, "shm", "kvcached_vLLM_1"), segment);
    await writeFile(join(folder, "shm", "kvcached_odd"), "short");
    const report = await doctor(null);
    expect(report.facts.segments).toMatchObject([
      { name: "kvcached_odd", problem: expect.stringContaining("5 bytes") },
      { name: "kvcached_vLLM_1", limitBytes: 8_589_934_592, usedBytes: 1_073_741_824, problem: null },
    ]);
    expect(driver(report, "kvcached")).toMatchObject({ works: true });
  });

  test("a driver that is configured and cannot work makes the node not ready", async () => {
    const rocm = join(bin, "rocm-smi");
    await writeFile(rocm, "#!/bin/sh\n");
    await chmod(rocm, 0o755);
    const report = await doctor(null);
    // /dev/kfd decides; the tool alone is no GPU.
    expect(report.facts.rocm.smi).toBe(rocm);
    expect(driver(report, "rocm-cu-mask")?.works).toBe(report.facts.rocm.kfd);
  });
});
