import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KvPool } from "@fulcrum/kv-pool/pool.js";
import { afterEach, describe, expect, test } from "vitest";
import { FakeMps, installMpsControl } from "../testing/vendor/fake-mps.js";
import { WorkerSite, siteConfig } from "../testing/worker-site.js";

const WORKER_HOST = fileURLToPath(new URL("../../dist/testing/worker-host.js", import.meta.url));
const sites: WorkerSite[] = [];
afterEach(async () => {
  // All agents first: one that still lives would start anew what is ended.
  for (const site of sites) site.abandon();
  for (const site of sites.splice(0)) await site.end();
});

async function makeFolder(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "fulcrum-workers-"));
  await FakeMps.start(join(folder, "mps"));
  await installMpsControl(folder);
  return folder;
}

async function start(
  ranks: readonly number[] = [0],
  change: ConstructorParameters<typeof WorkerSite>[2] = {},
): Promise<WorkerSite> {
  const site = new WorkerSite(await makeFolder(), ranks, change);
  sites.push(site);
  return site;
}

const steady = (generation: number) => (state: { generation: number; phase: string }) =>
  state.generation === generation && state.phase === "steady";

describe("mps-respawn", () => {
  test("starts workers at the start-up split and reads back what they see", async () => {
    const site = await start();
    const state = await site.until(steady(0));
    // 60 % and 40 % of 54 TPCs of 2 SMs, rounded down: 64 and 42 of 108.
    expect(state.delivered.split).toEqual({ prefillSmPct: 59.26, decodeSmPct: 38.89 });
  });

  test("replaces only the worker whose share changes, beside the old one, and then lets the old one go", async () => {
    const site = await start();
    await site.until(steady(0));
    const [prefill] = site.workers("prefill");
    const [decode] = site.workers("decode");
    const plan = await site.prepared(1, 60, 30);
    expect(site.workers("decode")).toHaveLength(2);
    expect((await site.holder("decode")).id).toBe(decode?.id);
    await site.driver.commit(plan);
    await site.until(steady(1));
    expect(await site.driver.verify(plan)).toMatchObject({ kind: "delivered" });
    expect(site.workers("prefill")).toEqual([prefill]);
    await site.until(() => site.workers("decode").length === 1);
    expect(site.workers("decode")[0]).toMatchObject({ generation: 1, smPct: 30 });
    expect(site.turn("decode").iteration).toBeGreaterThan(0);
  });

  test("goes back within the warm time to the worker that is still there", async () => {
    const site = await start([0], { keepWarmMs: 60_000 });
    await site.until(steady(0));
    const [old] = site.workers("decode");
    await site.switched(1, 60, 30);
    await site.switched(2, 60, 40);
    expect((await site.holder("decode")).id).toBe(old?.id);
  });

  test("activates a standby worker without a start", async () => {
    const site = await start([0], { standby: { prefill: [], decode: [20, 30] } });
    await site.until((state) => steady(0)(state) && site.workers("decode").length === 3);
    const known = site.workers("decode").map(({ id }) => id);
    await site.switched(1, 60, 30);
    expect(known).toContain((await site.holder("decode")).id);
  });

  test("all ranks of a group switch at the end of one iteration", async () => {
    const site = await start([0, 1]);
    await site.until(steady(0));
    const before = [0, 1].map((rank) => site.turn("prefill", rank).turn);
    await site.switched(1, 50, 40);
    expect([0, 1].map((rank) => site.turn("prefill", rank).turn)).not.toEqual(before);
    expect(site.workers("prefill").filter(({ smPct }) => smPct === 50)).toHaveLength(2);
  });

  test("does not commit to an iteration that is past", async () => {
    const site = await start();
    await site.until(({ iterations }) => (iterations?.decode ?? 0) > 5);
    const plan = await site.prepared(1, 60, 30);
    await expect(site.driver.commit(plan, { prefill: 1, decode: 1 })).rejects.toMatchObject({
      code: "too_late",
    });
  });

  test("the naive way stops both roles before it starts their successors", async () => {
    const site = await start([0], { switching: "naive" });
    await site.until(steady(0));
    expect((await site.driver.probe()).live).toBe(false);
    const old = [...site.workers("prefill"), ...site.workers("decode")].map(({ id }) => id);
    await site.switched(1, 60, 30);
    const now = [...site.workers("prefill"), ...site.workers("decode")].map(({ id }) => id);
    expect(now.filter((id) => old.includes(id))).toEqual([]);
  });
});

describe("the KV quota in the block pool", () => {
  test("changes alone, without replacing a worker, and is read back", async () => {
    const folder = await makeFolder();
    const path = join(folder, "pool");
    const pool = KvPool.create(path, { blocks: 1_000, tokensPerBlock: 16, bytesPerBlock: 0 });
    const site = new WorkerSite(folder, [0], { quota: { type: "kv-pool", path } });
    sites.push(site);
    await site.until(steady(0));
    const workers = [...site.workers("prefill"), ...site.workers("decode")];
    const { driver } = site;
    const split = { prefillSmPct: 60, decodeSmPct: 40 };
    const plan = driver.plan({ generation: 1, split, kvQuotaPct: 70 }, await driver.probe());
    await driver.prepare(plan);
    await site.until(({ prepared }) => prepared?.ready === true);
    await driver.commit(plan);
    await site.until(steady(1));
    expect(await driver.verify(plan)).toMatchObject({ kind: "delivered", delivered: { kvQuotaPct: 70 } });
    expect(pool.usage().prefill.quotaBlocks).toBe(700);
    expect([...site.workers("prefill"), ...site.workers("decode")]).toEqual(workers);
    pool.close();
  });
});

describe("what may go wrong while it prepares", () => {
  test.each([
    ["never gets ready", { attachMs: 60_000 }, "attach_timeout"],
    ["dies while it attaches", { die: "attach" }, "worker_died"],
    ["hangs while it attaches", { hang: "attach" }, "attach_timeout"],
    ["runs without a cap", { smCount: 108 }, "uncapped"],
    ["sees other SMs than its share", { smCount: 20 }, "wrong_share"],
    ["dies as soon as it is ready", { die: "ready" }, "worker_died"],
  ] as const)(
    "a worker that %s: given up with its reason, the old one goes on",
    async (_what, fault, code) => {
      const site = await start();
      await site.until(steady(0));
      const before = await site.holder("decode");
      site.faults({ "decode 1": fault });
      await site.driver.prepare(await site.plan(1, 60, 30));
      const state = await site.until(({ failure }) => failure !== null && failure !== undefined);
      expect(state).toMatchObject({
        generation: 0,
        phase: "steady",
        prepared: null,
        failure: { generation: 1, code },
      });
      await site.until(() => site.workers("decode").length === 1);
      expect((await site.holder("decode")).id).toBe(before.id);
      // The same instance can be moved again.
      site.faults({});
      await site.switched(2, 60, 30);
    },
  );

  test("a daemon that is missing, in FAULT or full is a refusal with its name", async () => {
    const site = await start();
    await site.until(steady(0));
    const mps = await FakeMps.start(join(site.folder, "mps"));
    await mps.stop();
    const plan = await site.plan(1, 60, 30);
    await expect(site.driver.prepare(plan)).rejects.toMatchObject({ code: "mps_missing" });
    await mps.setMode("ok");
    await mps.connect(process.pid);
    await mps.fault();
    await expect(site.driver.prepare(plan)).rejects.toMatchObject({ code: "mps_fault" });
    expect((await site.driver.observe()).conditions).toContain("MpsFault");
    await mps.setStatus("ACTIVE");
    for (let pid = 1; pid < 48; pid += 1) await mps.connect(pid);
    await expect(site.driver.prepare(plan)).rejects.toMatchObject({ code: "mps_client_limit" });
  });
});

describe("the resident", () => {
  const resident = (folder: string) => ({
    ...siteConfig(folder).resident,
    // Makes its path and lives until it is killed.
    command: [
      process.execPath,
      "-e",
      `require("fs").writeFileSync("${folder}/up","");setInterval(()=>0,1e6)`,
    ],
    readyPath: join(folder, "up"),
  });
  const pidOf = (site: WorkerSite): number =>
    (JSON.parse(readFileSync(join(site.workersDir, "chat-resident-0.json"), "utf8")) as { pid: number }).pid;

  test("is started before the workers; when it dies all begin anew, at the allocation that was committed", async () => {
    const folder = await makeFolder();
    const site = new WorkerSite(folder, [0], { resident: resident(folder) });
    sites.push(site);
    await site.switched(1, 60, 30);
    const { bootId } = await site.driver.observe();
    const [workers, before] = [[...site.workers("prefill"), ...site.workers("decode")], pidOf(site)];
    process.kill(before, "SIGKILL");
    const state = await site.until(
      (now) => now.bootId !== bootId && steady(1)(now) && pidOf(site) !== before,
    );
    await site.until(
      () =>
        !workers.some(({ id }) =>
          [...site.workers("prefill"), ...site.workers("decode")].some((w) => w.id === id),
        ),
    );
    expect(state.asked.split).toEqual({ prefillSmPct: 60, decodeSmPct: 30 });
    expect((await site.holder("decode")).smPct).toBe(30);
    process.kill(pidOf(site), "SIGKILL");
  });
});

describe("what may go wrong while it switches", () => {
  test.each([
    ["the new worker dies when it is armed", { die: "armed" }],
    ["the new worker hangs when it is armed", { hang: "armed" }],
    ["the new worker dies in its first iteration", { die: "iterating" }],
    ["the new worker hangs in its first iteration", { hang: "iterating" }],
  ] as const)("%s: the role ends in an allocation that was asked", async (_what, fault) => {
    const site = await start();
    await site.until(steady(0));
    site.faults({ "decode 1": fault });
    await site.driver.commit(await site.prepared(1, 60, 30));
    await site.until(({ phase }) => phase === "steady");
    site.faults({});
    const { iteration } = site.turn("decode");
    await site.until(
      ({ conditions }) =>
        site.turn("decode").iteration > iteration + 20 && !conditions?.includes("WorkerLost"),
    );
    expect([30, 40]).toContain((await site.holder("decode")).smPct);
  });

  test.each([
    ["dies", { die: "hand_over" }],
    ["hangs", { hang: "hand_over" }],
  ] as const)(
    "an old worker that %s while it hands over: the new one takes the turn",
    async (_what, fault) => {
      const site = new WorkerSite(await makeFolder());
      sites.push(site);
      site.faults({ "decode 0": fault });
      await site.until(steady(0));
      await site.switched(1, 60, 30);
      expect((await site.holder("decode")).smPct).toBe(30);
    },
  );

  test("a worker that holds the turn and is killed is replaced; the iterations go on from what was left", async () => {
    const site = await start();
    await site.until(steady(0));
    await site.until(() => site.turn("decode").iteration > 20);
    const { iteration, worker } = site.turn("decode");
    process.kill(site.workers("decode")[0]!.pid, "SIGKILL");
    await site.until(
      () => site.turn("decode").worker !== worker && site.turn("decode").iteration > iteration,
    );
  });

  test("an agent that is gone in the middle of it: the next one finishes", async () => {
    const site = await start();
    await site.until(steady(0));
    await site.driver.commit(await site.prepared(1, 50, 30));
    site.abandon();
    const next = new WorkerSite(site.folder);
    sites.push(next);
    await next.until(steady(1));
    await next.until(() => next.workers("decode").length === 1 && next.workers("prefill").length === 1);
    expect(next.workers("prefill")[0]).toMatchObject({ smPct: 50 });
  });

  test("an agent that is killed in the middle of it: its workers live, and the next agent finishes", async () => {
    const folder = await makeFolder();
    const host = spawn(process.execPath, [WORKER_HOST, folder], { stdio: ["ignore", "pipe", "inherit"] });
    await once(host.stdout, "data");
    host.kill("SIGKILL");
    await once(host, "exit");
    const site = new WorkerSite(folder);
    sites.push(site);
    await site.until(steady(1));
    expect((await site.holder("prefill")).smPct).toBe(50);
    expect((await site.holder("decode")).smPct).toBe(30);
    expect(site.turn("decode").turn).toBe(2);
  });

  test("an agent that begins anew without its journal learns from the workers what they run", async () => {
    const site = await start();
    await site.switched(3, 50, 30);
    const workers = [await site.holder("prefill"), await site.holder("decode")];
    site.abandon();
    rmSync(join(site.workersDir, "chat-supervisor.json"));
    const next = new WorkerSite(site.folder);
    sites.push(next);
    const state = await next.until(steady(3));
    expect(state.asked.split).toEqual({ prefillSmPct: 50, decodeSmPct: 30 });
    expect([await next.holder("prefill"), await next.holder("decode")]).toEqual(workers);
  });

  test("a second agent is refused, and the first is not disturbed", async () => {
    const site = await start();
    await site.until(steady(0));
    const second = new WorkerSite(site.folder);
    await expect(second.driver.observe()).rejects.toMatchObject({ code: "rank_claimed", retryable: true });
    second.abandon();
    await site.switched(1, 60, 30);
  });
});
