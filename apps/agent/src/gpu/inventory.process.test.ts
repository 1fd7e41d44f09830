import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { installNvidiaSmi, type NvidiaSmiAnswers } from "../testing/vendor/fake-mps.js";
import { buildFakeNvml, hasGcc, tellFakeNvml } from "../testing/vendor/fake-nvml.js";
import { discoverGpus } from "./inventory.js";
import { NvmlError, NvmlLibrary } from "./nvml.js";
import { XidListener } from "./xid-events.js";

const folder = mkdtempSync(join(tmpdir(), "fulcrum-gpu-"));
const orders = join(folder, "orders");
const NO_LIBRARY = join(folder, "no-such-library.so");
const H100 = "GPU-aaaaaaaa-0000-0000-0000-000000000000";
const SMI: NvidiaSmiAnswers = {
  cudaVersion: "12.4",
  gpus: [
    {
      index: "0",
      uuid: H100,
      name: "NVIDIA H100 80GB HBM3",
      driver_version: "550.54.15",
      "memory.total": "81559",
      "memory.used": "4",
      "utilization.gpu": "0",
      compute_mode: "Default",
      compute_cap: "9.0",
      "mig.mode.current": "Disabled",
      "ecc.errors.uncorrected.volatile.total": "0",
    },
  ],
};

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!hasGcc)("NVML (skipped where gcc is missing: the fake library is compiled)", () => {
  let built: ReturnType<typeof buildFakeNvml>;
  beforeAll(() => {
    process.env["FAKE_NVML"] = orders;
    built = buildFakeNvml();
  });
  afterEach(() => tellFakeNvml(orders, null));
  afterAll(() => rmSync(built.folder, { recursive: true, force: true }));

  test("tells every fact, and null where the GPU does not", async () => {
    const found = await discoverGpus({ nvmlLibrary: built.library, timeoutMs: 5_000 });
    expect(found).toMatchObject({
      source: "nvml",
      driverVersion: "615.12",
      nvmlVersion: "13.615.12",
      cudaVersion: { major: 13, minor: 4 },
      problems: [],
      links: [{ from: 0, to: 1, nvlink: true, path: "host_bridge" }],
    });
    expect(found.gpus).toEqual([
      {
        index: 0,
        uuid: H100,
        name: "NVIDIA H100 80GB HBM3",
        computeCapability: { major: 9, minor: 0 },
        smCount: 132,
        memoryTotalBytes: 85_520_809_984,
        memoryUsedBytes: 1_073_741_824,
        utilisationPct: 37,
        migEnabled: false,
        computeMode: "exclusive_process",
        eccErrors: 0,
        activeNvlinks: 3,
        mpsProcesses: [
          { pid: 4711, usedBytes: 5_368_709_120 },
          { pid: 4712, usedBytes: null },
        ],
      },
      {
        index: 1,
        uuid: "GPU-bbbbbbbb-0000-0000-0000-000000000001",
        name: "NVIDIA A100-SXM4-80GB",
        computeCapability: { major: 8, minor: 0 },
        smCount: null,
        memoryTotalBytes: 85_520_809_984,
        memoryUsedBytes: 1_073_741_824,
        utilisationPct: null,
        migEnabled: true,
        computeMode: "default",
        eccErrors: 2,
        activeNvlinks: null,
        mpsProcesses: null,
      },
    ]);
  });

  test("tells each Xid error once", async () => {
    const nvml = await NvmlLibrary.open({ library: built.library, timeoutMs: 5_000 });
    const listener = await XidListener.listen(nvml);
    expect(await listener?.look()).toEqual([]);
    tellFakeNvml(orders, "xid 0 79");
    expect(await listener?.look()).toEqual([{ gpu: H100, xid: 79 }]);
    expect(await listener?.look()).toEqual([]);
    await listener?.close();
    await nvml.close();
  });

  test("a call that hangs holds nobody, and the library is used again when it has come back", async () => {
    const nvml = await NvmlLibrary.open({ library: built.library, timeoutMs: 200 });
    tellFakeNvml(orders, "hang nvmlDeviceGetMemoryInfo");
    const device = Buffer.alloc(8);
    await nvml.must("nvmlDeviceGetHandleByIndex_v2", 0, device);
    const memory = () => nvml.call("nvmlDeviceGetMemoryInfo", device.readBigUInt64LE(), Buffer.alloc(24));
    await expect(memory()).rejects.toMatchObject({ code: "timeout" });
    await expect(nvml.call("nvmlDeviceGetCount_v2", Buffer.alloc(4))).rejects.toThrow(
      "has not come back from nvmlDeviceGetMemoryInfo",
    );
    tellFakeNvml(orders, null);
    await expect.poll(() => memory().catch(() => -1)).toBe(0);
  });

  test("a call that never comes back does not keep the process from ending", async () => {
    tellFakeNvml(orders, "hang nvmlDeviceGetMemoryInfo");
    const script = join(import.meta.dirname, "..", "..", "dist", "gpu", "inventory.js");
    const code =
      `const { discoverGpus } = await import(${JSON.stringify(script)});` +
      `const found = await discoverGpus({ nvmlLibrary: ${JSON.stringify(built.library)},` +
      ` nvidiaSmi: "/nowhere", timeoutMs: 200 });` +
      `process.stdout.write(found.problems[0]); process.exit(5);`;
    const ended = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
      encoding: "utf8",
      timeout: 30_000,
    });
    expect(ended.stdout).toBe("NVML: nvmlDeviceGetMemoryInfo did not come back within 200 ms");
    expect(ended.status).toBe(5);
  });

  test("falls back when NVML will not start, and says why", async () => {
    tellFakeNvml(orders, "init 9");
    const nvidiaSmi = await installNvidiaSmi(folder, SMI);
    const found = await discoverGpus({ nvmlLibrary: built.library, nvidiaSmi, timeoutMs: 10_000 });
    expect(found).toMatchObject({ source: "nvidia-smi", problems: ["NVML: nvmlInit_v2 answered 9"] });
  });

  test("a function that the driver does not have is an answer, not an error", async () => {
    const nvml = await NvmlLibrary.open({ library: built.library, timeoutMs: 5_000 });
    expect(await nvml.can("nvmlDeviceGetSomethingNewer", 0n, Buffer.alloc(4))).toBe(false);
    await nvml.close();
  });
});

describe("without NVML", () => {
  const discover = async (answers: NvidiaSmiAnswers, timeoutMs = 10_000) =>
    discoverGpus({ nvmlLibrary: NO_LIBRARY, nvidiaSmi: await installNvidiaSmi(folder, answers), timeoutMs });

  test("nvidia-smi tells what it can", async () => {
    const found = await discover(SMI);
    expect(found).toMatchObject({
      source: "nvidia-smi",
      driverVersion: "550.54.15",
      cudaVersion: { major: 12, minor: 4 },
      gpus: [
        {
          uuid: H100,
          computeCapability: { major: 9, minor: 0 },
          smCount: null,
          memoryTotalBytes: 81_559 * 1_048_576,
          utilisationPct: 0,
          migEnabled: false,
          computeMode: "default",
          eccErrors: 0,
        },
      ],
    });
    expect(found.problems[0]).toMatch(/^NVML: .*no-such-library/);
  });

  test("what nvidia-smi does not know is null", async () => {
    const found = await discover({ gpus: [{ index: "0", uuid: H100, name: "NVIDIA GB10" }] });
    expect(found.gpus[0]).toMatchObject({ memoryTotalBytes: null, eccErrors: null, computeMode: null });
    expect(found.cudaVersion).toBeNull();
  });

  test.each<[string, Partial<NvidiaSmiAnswers>, RegExp]>([
    ["is there without a driver", { mode: "no_driver" }, /ended with 9: NVIDIA-SMI has failed/],
    ["answers garbage", { mode: "garbage" }, /it answered "no comma here/],
    ["hangs", { mode: "hang" }, /did not end within/],
  ])("an nvidia-smi that %s is told as a problem", async (_what, over, why) => {
    const found = await discover({ ...SMI, ...over }, over.mode === "hang" ? 300 : 10_000);
    expect(found).toMatchObject({ source: "none", gpus: [] });
    expect(found.problems[1]).toMatch(why);
  });

  test("a node without any tool is an ordinary node", async () => {
    const found = await discoverGpus({
      nvmlLibrary: NO_LIBRARY,
      nvidiaSmi: join(folder, "nowhere", "nvidia-smi"),
      timeoutMs: 5_000,
    });
    expect(found).toMatchObject({ source: "none", gpus: [] });
    expect(found.problems).toHaveLength(2);
  });

  test("a library that is none is told as missing", async () => {
    await expect(NvmlLibrary.open({ library: NO_LIBRARY, timeoutMs: 100 })).rejects.toBeInstanceOf(NvmlError);
  });
});
