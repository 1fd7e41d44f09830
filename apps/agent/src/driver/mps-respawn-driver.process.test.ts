import { rmSync } from "node:fs";
import { join } from "node:path";
import { KvPool } from "@fulcrum/kv-pool/pool.js";
import { afterEach, describe, expect, test } from "vitest";
import { FakeMps } from "../testing/vendor/fake-mps.js";
import { type WorkerSite, WorkerSites, makeSiteFolder, steady } from "../testing/worker-site.js";

const sites = new WorkerSites();
const start = (...of: Parameters<typeof sites.start>): Promise<WorkerSite> => sites.start(...of);
afterEach(() => sites.end());

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
    const folder = await makeSiteFolder();
    const path = join(folder, "pool");
    const pool = KvPool.create(path, { blocks: 1_000, tokensPerBlock: 16, bytesPerBlock: 0 });
    const site = sites.open(folder, [0], { quota: { type: "kv-pool", path } });
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
      const site = await start();
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
    const next = sites.open(site.folder);
    await next.until(steady(1));
    await next.until(() => next.workers("decode").length === 1 && next.workers("prefill").length === 1);
    expect(next.workers("prefill")[0]).toMatchObject({ smPct: 50 });
  });

  test("an agent that begins anew without its journal learns from the workers what they run", async () => {
    const site = await start();
    await site.until(steady(0));
    await site.switched(3, 50, 30);
    const workers = [await site.holder("prefill"), await site.holder("decode")];
    site.abandon();
    rmSync(join(site.workersDir, "chat~supervisor.json"));
    const next = sites.open(site.folder);
    const state = await next.until(steady(3));
    expect(state.asked.split).toEqual({ prefillSmPct: 50, decodeSmPct: 30 });
    expect([await next.holder("prefill"), await next.holder("decode")]).toEqual(workers);
  });

  test("a second agent is refused, and the first is not disturbed", async () => {
    const site = await start();
    await site.until(steady(0));
    const second = sites.open(site.folder);
    await expect(second.driver.observe()).rejects.toMatchObject({ code: "rank_claimed", retryable: true });
    await site.switched(1, 60, 30);
  });
});
