/** A switch at a named iteration: until it comes it can be taken back, and no group ends parted. */
import { afterEach, describe, expect, test } from "vitest";
import { type WorkerFault, type WorkerSite, WorkerSites, steady } from "../testing/worker-site.js";
import type { Plan, SwitchAt } from "../partition-driver.js";

const sites = new WorkerSites();
afterEach(() => sites.end());

/** Prepared to move decode from 40 % to 30 %, and committed to `ahead` iterations from now (5 ms each). */
async function armed(
  site: WorkerSite,
  ahead: number,
): Promise<{ readonly plan: Plan; readonly at: SwitchAt }> {
  const plan = await site.prepared(1, 60, 30);
  const at = await aheadBy(site, ahead);
  await site.driver.commit(plan, at);
  return { plan, at };
}

async function aheadBy(site: WorkerSite, ahead: number): Promise<SwitchAt> {
  const { iterations } = await site.until((state) => Boolean(state.iterations));
  if (!iterations) throw new Error("unreachable");
  return { prefill: iterations.prefill + ahead, decode: iterations.decode + ahead };
}

/** Until the worker that iterates has been told. */
const told = (site: WorkerSite) =>
  expect.poll(() => site.told("hand_over"), { timeout: 5_000 }).toBeGreaterThan(0);

const ARMED = { generation: 0, phase: "preparing", prepared: { generation: 1, ready: true } };

describe("a switch at a named iteration", () => {
  test("shows as prepared until then, and comes exactly then", async () => {
    const site = await sites.start();
    await site.until(steady(0));
    const { plan, at } = await armed(site, 200);
    expect(await site.driver.observe()).toMatchObject(ARMED);
    await site.driver.commit(plan, at);
    await site.until(steady(1));
    expect(site.stateAt("decode", 2)?.from).toBe(at.decode);
    expect((await site.holder("decode")).smPct).toBe(30);
  });

  test("taken back: who was told goes on, past the iteration, and the instance can be moved again", async () => {
    const site = await sites.start();
    await site.until(steady(0));
    const before = await site.holder("decode");
    const { at } = await armed(site, 200);
    await told(site);
    await site.driver.rollback(1);
    expect(await site.driver.observe()).toMatchObject({ generation: 0, phase: "steady", prepared: null });
    await site.until(() => site.turn("decode").iteration > at.decode + 20);
    expect((await site.holder("decode")).id).toBe(before.id);
    expect(site.turn("decode").turn).toBe(1);
    await site.until(() => site.workers("decode").length === 1);
    await site.switched(2, 60, 30);
  });

  test("other iterations take the place of the first; another preparation takes it back", async () => {
    const site = await sites.start();
    await site.until(steady(0));
    const { plan } = await armed(site, 2_000);
    await told(site);
    const later = await aheadBy(site, 4_000);
    await expect(site.driver.commit(plan, later)).rejects.toMatchObject({ code: "not_ready" });
    await site.until(({ prepared }) => prepared?.ready === true);
    await site.driver.commit(plan, await aheadBy(site, 4_000));
    expect(await site.driver.observe()).toMatchObject(ARMED);
    await site.driver.commit(await site.prepared(2, 60, 20));
    await site.until(steady(2));
    expect((await site.holder("decode")).smPct).toBe(20);
  });

  test("outlives the agent, and the next one can take it back", async () => {
    const site = await sites.start();
    await site.until(steady(0));
    const { at } = await armed(site, 600);
    await told(site);
    site.abandon();
    const next = sites.open(site.folder);
    expect(await next.until(({ prepared }) => prepared?.ready === true)).toMatchObject(ARMED);
    await next.driver.rollback(1);
    await next.until(() => next.turn("decode").iteration > at.decode + 20);
    expect(next.turn("decode").turn).toBe(1);
  });

  test("comes also while no agent lives", async () => {
    const site = await sites.start();
    await site.until(steady(0));
    const { at } = await armed(site, 200);
    await told(site);
    site.abandon();
    await expect.poll(() => site.turn("decode").turn, { timeout: 10_000 }).toBe(2);
    expect(site.stateAt("decode", 2)?.from).toBe(at.decode);
    await sites.open(site.folder).until(steady(1));
  });

  test("a worker that never hands over stays, and the switch is given up", async () => {
    const site = await sites.start([0], {});
    site.faults({ "decode 0": { handOver: "never" } });
    await site.until(steady(0));
    const before = await site.holder("decode");
    await site.driver.commit(await site.prepared(1, 60, 30));
    await site.until(({ failure }) => failure?.code === "hand_over_timeout");
    await site.until(() => site.workers("decode").length === 1);
    expect((await site.holder("decode")).id).toBe(before.id);
  });
});

describe("a group of two ranks", () => {
  async function group(faults: Readonly<Record<string, WorkerFault>>): Promise<WorkerSite> {
    const site = await sites.start([0, 1]);
    site.faults(faults);
    await site.until(steady(0));
    return site;
  }
  const turns = (site: WorkerSite) => [0, 1].map((rank) => site.turn("decode", rank).turn);
  const shares = async (site: WorkerSite) => [
    (await site.holder("decode", 0)).smPct,
    (await site.holder("decode", 1)).smPct,
  ];

  test("of which one says too_late while the other is armed: both stay", async () => {
    const site = await group({ "decode 0 1": { handOver: "too_late" } });
    const { at } = await armed(site, 300);
    await site.until(({ failure }) => failure?.code === "too_late");
    await site.until(() => [0, 1].every((rank) => site.turn("decode", rank).iteration > at.decode + 20));
    expect(turns(site)).toEqual([1, 1]);
    expect(await shares(site)).toEqual([40, 40]);
  });

  test("of which one has switched when it is to be taken back: the other follows", async () => {
    const site = await group({ "decode 0 1": { handOver: "late" } });
    await armed(site, 300);
    await expect.poll(() => turns(site), { timeout: 10_000, interval: 5 }).toEqual([2, 1]);
    await site.until(({ phase }) => phase === "switching");
    await site.driver.rollback(1);
    await site.until(steady(1));
    expect(await shares(site)).toEqual([30, 30]);
  });

  test("of which one switches just before it is told to stay: it goes back", async () => {
    const site = await group({ "decode 0 0": { keep: "too_late" } });
    await armed(site, 2_000);
    await told(site);
    await site.driver.rollback(1);
    await site.until(() => turns(site)[0] === 3);
    expect(turns(site)[1]).toBe(1);
    expect(await shares(site)).toEqual([40, 40]);
    await site.until(() => site.workers("decode").length === 2);
    expect(await site.driver.observe()).toMatchObject({ generation: 0, phase: "steady", failure: null });
  });
});
