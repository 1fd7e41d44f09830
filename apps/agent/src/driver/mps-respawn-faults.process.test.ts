/** Faults around the workers: a disk that is full, a resident or a daemon that is gone, a worker that does not go. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Ack } from "@fulcrum/contracts/agent-api.js";
import { pino } from "pino";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../clock.js";
import { Journal } from "../journal.js";
import { Rollout } from "../rollout.js";
import { FakeMps } from "../testing/vendor/fake-mps.js";
import { type WorkerSite, WorkerSites, makeSiteFolder, siteConfig, steady } from "../testing/worker-site.js";

const sites = new WorkerSites();
afterEach(() => sites.end());

const workers = (site: WorkerSite) => [...site.workers("prefill"), ...site.workers("decode")];

describe("a disk that takes nothing", () => {
  test("full: nothing is prepared or switched, what runs goes on; with room again all is as before", async ({
    skip,
  }) => {
    const workersDir = await mkdtemp(join(tmpdir(), "fulcrum-full-"));
    onTestFinished(() => rm(workersDir, { recursive: true, force: true }));
    const mount = ["-t", "tmpfs", "-o", "size=64k", "fulcrum-test", workersDir];
    if (spawnSync("mount", mount).status !== 0) return skip("a tmpfs cannot be mounted here");
    onTestFinished(() => void spawnSync("umount", ["-l", workersDir]));
    const site = await sites.start([0], { workersDir });
    await site.until(steady(0));
    const plan = await site.prepared(1, 60, 30);
    const before = await site.holder("decode");
    const fill = join(workersDir, "fill");
    for (let bytes = 65_536; bytes > 0; bytes = Math.floor(bytes / 2)) {
      try {
        writeFileSync(fill, "x".repeat(bytes), { flag: "a" });
      } catch {
        // That much does not fit any more.
      }
    }
    await expect(site.driver.commit(plan)).rejects.toMatchObject({ code: "disk_full", retryable: true });
    await expect(site.driver.prepare(await site.plan(2, 60, 20))).rejects.toMatchObject({
      code: "disk_full",
    });
    expect(await site.driver.observe()).toMatchObject({
      generation: 0,
      phase: "preparing",
      conditions: ["WorkerJournalUnwritable"],
    });
    expect((await site.holder("decode")).id).toBe(before.id);
    expect(site.turn("decode").turn).toBe(1);
    rmSync(fill);
    await site.until(({ conditions }) => conditions?.length === 0);
    await site.driver.commit(plan);
    await site.until(steady(1));
  });

  test("unwritable: the same, and what happens meanwhile is written down later", async () => {
    const site = await sites.start();
    await site.until(steady(0));
    const plan = await site.prepared(1, 60, 30);
    const path = join(site.workersDir, "chat~supervisor.json");
    // A folder in the file's place takes no file, whoever asks.
    const kept = readFileSync(path, "utf8");
    rmSync(path);
    mkdirSync(join(path, "in the way"), { recursive: true });
    await expect(site.driver.commit(plan)).rejects.toMatchObject({ code: "file_unwritable" });
    expect((await site.driver.observe()).conditions).toContain("WorkerJournalUnwritable");
    await site.driver.rollback(1);
    expect(await site.driver.observe()).toMatchObject({ phase: "steady", prepared: null });
    rmSync(path, { recursive: true });
    await site.until(({ conditions }) => conditions?.length === 0);
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({
      ...(JSON.parse(kept) as object),
      pending: null,
    });
  });
});

describe("the resident", () => {
  async function withResident(): Promise<WorkerSite> {
    const folder = await makeSiteFolder();
    const up = join(folder, "up");
    const live = `require("fs").writeFileSync(${JSON.stringify(up)},"");setInterval(()=>0,1e6)`;
    const resident = {
      ...siteConfig(folder).resident,
      command: [process.execPath, "-e", live],
      readyPath: up,
    };
    const site = sites.open(folder, [0], { resident });
    onTestFinished(() => {
      try {
        process.kill(pidOf(site), "SIGKILL");
      } catch {
        // It has ended.
      }
    });
    return site;
  }
  const pidOf = (site: WorkerSite): number =>
    (JSON.parse(readFileSync(join(site.workersDir, "chat~resident-0.json"), "utf8")) as { pid: number }).pid;

  test("is started before the workers; when it dies all begin anew, at the allocation that was committed", async () => {
    const site = await withResident();
    await site.until(steady(0));
    await site.switched(1, 60, 30);
    const { bootId } = await site.driver.observe();
    const [old, before] = [workers(site).map(({ id }) => id), pidOf(site)];
    process.kill(before, "SIGKILL");
    const state = await site.until(
      (now) => now.bootId !== bootId && steady(1)(now) && pidOf(site) !== before,
    );
    await site.until(() => !workers(site).some(({ id }) => old.includes(id)));
    expect(state.asked.split).toEqual({ prefillSmPct: 60, decodeSmPct: 30 });
    expect((await site.holder("decode")).smPct).toBe(30);
  });

  test("dies while no agent lives: the next one begins anew with it", async () => {
    const site = await withResident();
    await site.until(steady(0));
    const { bootId } = await site.driver.observe();
    const old = workers(site).map(({ id }) => id);
    const { resident } = siteConfig(site.folder);
    site.abandon();
    process.kill(pidOf(site), "SIGKILL");
    const up = join(site.folder, "up");
    const live = `require("fs").writeFileSync(${JSON.stringify(up)},"");setInterval(()=>0,1e6)`;
    const next = sites.open(site.folder, [0], {
      resident: { ...resident, command: [process.execPath, "-e", live], readyPath: up },
    });
    await next.until((now) => now.bootId !== bootId && steady(0)(now));
    await next.until(() => workers(next).length === 2 && !workers(next).some(({ id }) => old.includes(id)));
  });

  test("is not started while the MPS server is in FAULT, nor is a worker", async () => {
    const site = await withResident();
    await site.until(steady(0));
    const mps = await FakeMps.start(join(site.folder, "mps"));
    await mps.connect(process.pid);
    await mps.fault();
    await site.until(({ conditions }) => conditions?.includes("MpsFault") === true);
    const before = pidOf(site);
    process.kill(before, "SIGKILL");
    await expect.poll(() => workers(site), { timeout: 10_000 }).toEqual([]);
    expect(pidOf(site)).toBe(before);
    await mps.setStatus("ACTIVE");
    await site.until((now) => steady(0)(now) && pidOf(site) !== before);
  });
});

describe("a worker that does not go", () => {
  async function hungHolder(): Promise<{ site: WorkerSite; mps: FakeMps; pid: number }> {
    // The tool needs some time for its answers; a hung one is given up after this.
    const { deadlines } = siteConfig("/");
    const site = await sites.start([0], { deadlines: { ...deadlines, terminateMs: 3_000 } });
    site.faults({ "decode 0": { hang: "hand_over", ignoreSigterm: true } });
    await site.until(steady(0));
    const mps = await FakeMps.start(join(site.folder, "mps"));
    const { pid } = await site.holder("decode");
    await mps.connect(pid, 40);
    return { site, mps, pid };
  }
  /** What was done to it, in order. */
  const steps = async (mps: FakeMps) =>
    (await mps.calls())
      .map(([said]) => said ?? "")
      .filter((said) => /^(leave|SIGTERM|terminate_client)/.test(said));

  test("is told to leave, then SIGTERM, then the daemon ends it, and only then it is killed", async () => {
    const { site, mps, pid } = await hungHolder();
    await site.driver.commit(await site.prepared(1, 60, 30));
    const state = await site.until(steady(1));
    expect(await steps(mps)).toEqual(["leave", "SIGTERM", `terminate_client 6472 ${pid}`]);
    expect(() => process.kill(pid, 0)).toThrow();
    // The daemon had ended its work: nobody else is harmed.
    expect(state.conditions).not.toContain("GpuSuspect");
    expect((await site.holder("decode")).smPct).toBe(30);
  });

  test("and whose daemon hangs is killed, and the GPU is suspect", async () => {
    const { site, mps } = await hungHolder();
    const plan = await site.prepared(1, 60, 30);
    await mps.setMode("hang");
    await site.driver.commit(plan);
    const state = await site.until(steady(1));
    expect(state.conditions).toContain("GpuSuspect");
  });
});

test("a new worker that dies after the switch: the old one, still warm, takes over until there is another", async () => {
  const site = await sites.start([0], { keepWarmMs: 60_000 });
  await site.until(steady(0));
  const old = await site.holder("decode");
  await site.switched(1, 60, 30);
  const { id, pid } = await site.holder("decode");
  process.kill(pid, "SIGKILL");
  await expect.poll(() => site.turn("decode").worker, { timeout: 10_000, interval: 5 }).toBe(old.id);
  await expect
    .poll(() => site.holder("decode"), { timeout: 10_000 })
    .toMatchObject({ smPct: 30, generation: 1 });
  expect((await site.holder("decode")).id).not.toBe(id);
});

test("a worker that runs without a cap reaches the controller under that name, through the rollout", async () => {
  const site = await sites.start();
  site.faults({ "decode 1": { smCount: 108 } });
  await site.until(steady(0));
  const { driver, folder } = site;
  const log = pino({ level: "silent" });
  const acks: Ack[] = [];
  const rollout = new Rollout({
    instance: "chat",
    ranks: [0],
    driver,
    journal: await Journal.open(folder, "chat", log),
    clock: systemClock,
    log,
    deadlines: { prepareMs: 20_000, switchMs: 20_000, verifyMs: 20_000 },
    pollMs: 20,
    idleMs: 20,
    observe: () => driver.observe(),
    capabilities: () => driver.probe(),
    emit: (added) => acks.push(...added),
    stepTook: () => undefined,
  });
  const allocation = { split: { prefillSmPct: 60, decodeSmPct: 30 }, kvQuotaPct: 100 };
  rollout.offer({ instance: "chat", generation: 1, attempt: 1, allocation, reason: "test", issuedAtMs: 0 });
  while (!acks.some(({ step }) => step === "failed")) await sleep(await rollout.pass());
  expect(acks.map(({ step }) => step)).toEqual(["preparing", "failed"]);
  expect(acks.at(-1)?.failure).toMatchObject({ code: "uncapped", retryable: true });
  expect((await site.holder("decode")).smPct).toBe(40);
});

test("20 switches leave nothing behind: no process, no file, no descriptor", async () => {
  const site = await sites.start([0], { keepWarmMs: 0 });
  await site.until(steady(0));
  const settled = async (generation: number): Promise<readonly number[]> => {
    await site.until((state) => steady(generation)(state) && workers(site).length === 2);
    return [readdirSync(site.workersDir).length, openDescriptors(), childCount()];
  };
  await site.switched(1, 50, 40);
  const before = await settled(1);
  for (let generation = 2; generation <= 21; generation += 1) {
    await site.switched(generation, generation % 2 === 0 ? 60 : 50, 40);
  }
  // What has just ended is noticed within a look or two.
  await expect.poll(() => settled(21), { timeout: 10_000 }).toEqual(before);
  expect(site.turn("prefill").turn).toBe(22);
});

/** 0 where there is no /proc. */
function openDescriptors(): number {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return 0;
  }
}

/** Children of this process, zombies too; 0 where there is no /proc. */
function childCount(): number {
  try {
    return readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ").length;
  } catch {
    return 0;
  }
}
