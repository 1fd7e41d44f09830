import { mkdtemp, rm, writeFile, appendFile } from "node:fs/promises";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { MpsControl } from "../mps/mps-control.js";
import { ServerLogTail } from "../mps/server-log.js";
import { FakeMps, installMpsControl } from "../testing/vendor/fake-mps.js";
import { buildFakeNvml, hasGcc, tellFakeNvml } from "../testing/vendor/fake-nvml.js";
import { VirtualClock } from "../testing/virtual-clock.js";
import { XID_TOLD_MS } from "./fault-memory.js";
import { NodeWatch } from "./node-watch.js";

const FIRST = "GPU-aaaaaaaa-0000-0000-0000-000000000000";
const SECOND = "GPU-bbbbbbbb-0000-0000-0000-000000000001";
let folder: string;
let clock: VirtualClock;
let logged: Record<string, unknown>[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-watch-"));
  clock = new VirtualClock();
  logged = [];
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const log = pino(
  {},
  { write: (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>) },
);
const events = () => logged.map(({ event }) => event);

async function watchOf(nvmlLibrary = join(folder, "none.so")): Promise<NodeWatch> {
  const tool = await installMpsControl(join(folder, "bin"));
  const pipeDirectory = join(folder, "pipe");
  return new NodeWatch({
    intervalMs: 1_000,
    nvmlLibrary,
    nvmlTimeoutMs: 5_000,
    mps: new MpsControl({ pipeDirectory, clientLimit: 48, timeoutMs: 10_000, tool }),
    mpsLog: new ServerLogTail(join(folder, "server.log")),
    clock,
    log,
  });
}

describe("the watch over a node", () => {
  test("tells MPS FAULT on every instance with a GPU while it lasts", async () => {
    const mps = await FakeMps.start(join(folder, "pipe"));
    const watch = await watchOf();
    await mps.connect(1);
    await watch.look();
    expect(watch.conditionsOf([FIRST])).toEqual([]);
    await mps.fault();
    await watch.look();
    expect(watch.conditionsOf([FIRST])).toEqual(["MpsFault"]);
    expect(watch.conditionsOf([SECOND])).toEqual(["MpsFault"]);
    expect(watch.conditionsOf([])).toEqual([]);
    // A daemon that stops answering has not recovered.
    await mps.setMode("garbage");
    await watch.look();
    expect(watch.conditionsOf([FIRST])).toEqual(["MpsFault"]);
    await mps.setMode("ok");
    await mps.exit(1);
    await watch.look();
    expect(watch.conditionsOf([FIRST])).toEqual([]);
    expect(events().filter((event) => event === "mps_fault")).toHaveLength(1);
    expect(events()).toContain("mps_recovered");
  });

  test("a node without GPU and MPS is no trouble, and says so once", async () => {
    const watch = await watchOf();
    await watch.look();
    await clock.sleep(1_000);
    await watch.look();
    expect(watch.conditionsOf([FIRST])).toEqual([]);
    expect(logged.filter(({ source }) => source === "mps")).toMatchObject([{ event: "node_watch_blind" }]);
  });

  test("logs whom the MPS server blames", async () => {
    const path = join(folder, "server.log");
    await writeFile(path, "");
    const watch = await watchOf();
    await watch.look();
    const lines = [
      "Volta MPS: Server is handling a fatal GPU error.",
      "Volta MPS: status of client {7, 1} is ACTIVE",
    ];
    await appendFile(path, `${lines.join("\n")}\n`);
    await watch.look();
    expect(logged.find(({ event }) => event === "mps_server_log")).toMatchObject({ activeClients: [7] });
  });

  test("ends when it is told to", async () => {
    const watch = await watchOf();
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    stop.abort();
    await running;
  });
});

describe.skipIf(!hasGcc)("Xid errors (skipped where gcc is missing: the fake NVML is compiled)", () => {
  const built = hasGcc ? buildFakeNvml() : null;
  afterAll(() => built && rmSync(built.folder, { recursive: true, force: true }));

  test("are told on the instances of that GPU, for ten minutes", async () => {
    const orders = join(folder, "orders");
    process.env["FAKE_NVML"] = orders;
    const watch = await watchOf(built?.library);
    await watch.look();
    tellFakeNvml(orders, "xid 1 79");
    await watch.look();
    expect(watch.conditionsOf([SECOND])).toEqual(["GpuXid"]);
    expect(watch.conditionsOf([FIRST, SECOND])).toEqual(["GpuXid"]);
    expect(watch.conditionsOf([FIRST])).toEqual([]);
    expect(logged.find(({ event }) => event === "gpu_xid")).toMatchObject({ gpu: SECOND, xid: 79 });
    await clock.sleep(XID_TOLD_MS - 1);
    expect(watch.conditionsOf([SECOND])).toEqual(["GpuXid"]);
    await clock.sleep(1);
    expect(watch.conditionsOf([SECOND])).toEqual([]);
  });
});
