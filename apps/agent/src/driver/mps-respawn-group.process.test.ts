/** Ranks of a group under one agent: they leave off at one iteration, or it is told that they did not. */
import { afterEach, describe, expect, test } from "vitest";
import {
  type WorkerFault,
  type WorkerSite,
  WorkerSites,
  siteConfig,
  steady,
} from "../testing/worker-site.js";

const sites = new WorkerSites();
afterEach(() => sites.end());

/** `handOverMs`: how long an iteration may stand still, and a worker take to hand over. */
async function group(
  faults: Readonly<Record<string, WorkerFault>>,
  handOverMs = 30_000,
): Promise<WorkerSite> {
  const site = await sites.start([0, 1], { deadlines: { ...siteConfig("/").deadlines, handOverMs } });
  site.faults(faults);
  await site.until(steady(0));
  return site;
}
const turns = (site: WorkerSite) => [0, 1].map((rank) => site.turn("decode", rank).turn);
/** The last iteration of the old workers. */
const leftOff = (site: WorkerSite) => [0, 1].map((rank) => site.stateAt("decode", 2, rank)?.from);
const told = (site: WorkerSite, count: number) =>
  expect.poll(() => site.told("hand_over"), { timeout: 10_000 }).toBeGreaterThanOrEqual(count);

describe("ranks whose workers stand still", () => {
  const STILL = { "decode 0": { stillAt: 60 } } as const;

  test("before the agreed iteration: the switch is given up and says where, all stay; it can be tried again", async () => {
    const site = await group(STILL, 3_000);
    await site.until(() => [0, 1].every((rank) => site.turn("decode", rank).iteration === 60));
    const before = [await site.holder("decode", 0), await site.holder("decode", 1)];
    await site.driver.commit(await site.prepared(1, 60, 30));
    const { failure } = await site.until((state) => Boolean(state.failure));
    expect(failure).toMatchObject({ generation: 1, code: "iteration_not_reached", retryable: true });
    expect(failure?.message).toMatch(/rank [01] \(w-.*\) stands still at iteration 60 /);
    expect(await site.driver.observe()).toMatchObject({ generation: 0, phase: "steady", prepared: null });
    await site.until(() => site.workers("decode").length === 2);
    expect([await site.holder("decode", 0), await site.holder("decode", 1)]).toEqual(before);
    expect(turns(site)).toEqual([1, 1]);
    await site.prepared(2, 60, 30);
  });

  test("the switch is taken back on request, told or not", async () => {
    const site = await group(STILL, 3_000);
    await site.driver.commit(await site.prepared(1, 60, 30));
    await site.driver.rollback(1);
    expect(await site.driver.observe()).toMatchObject({ phase: "steady", failure: null });
    await site.driver.commit(await site.prepared(2, 60, 30));
    await told(site, 2);
    await site.driver.rollback(2);
    await site.until(steady(0));
    await site.until(() => site.workers("decode").length === 2);
    expect(turns(site)).toEqual([1, 1]);
  });
});

test("a rank whose connection breaks as it is told is told the same iteration again", async () => {
  const site = await group({ "decode 0 1": { cut: true } });
  await site.driver.commit(await site.prepared(1, 60, 30));
  const state = await site.until(steady(1));
  expect(state).toMatchObject({ failure: null, conditions: [] });
  expect(turns(site)).toEqual([2, 2]);
  const [first, second] = leftOff(site);
  expect(first).toBeGreaterThan(0);
  expect(second).toBe(first);
});

test("an agent that is gone after it told them: the next one has it from the disk, and they meet", async () => {
  const site = await group({ "decode 0 1": { cut: true } });
  await site.driver.commit(await site.prepared(1, 60, 30));
  // One was told, and the other's connection broke.
  await told(site, 1);
  site.abandon();
  const next = sites.open(site.folder, [0, 1]);
  expect(await next.until(steady(1))).toMatchObject({ failure: null });
  const [first, second] = leftOff(next);
  expect(second).toBe(first);
});

test("ranks that leave off at different iterations: it is done, and told as a failure until the next switch", async () => {
  const site = await group({ "decode 0 1": { handOver: "late" } });
  const plan = await site.prepared(1, 60, 30);
  await site.driver.commit(plan);
  const state = await site.until(steady(1));
  const [first, second] = leftOff(site);
  expect(state.conditions).toContain("RanksParted");
  expect(state.failure).toMatchObject({ generation: 1, code: "ranks_parted" });
  expect(state.failure?.message).toContain(
    `rank 0 handed over after iteration ${first}, rank 1 handed over after iteration ${second}`,
  );
  expect(await site.driver.verify(plan)).toMatchObject({
    kind: "not_delivered",
    message: expect.stringContaining("ranks_parted") as string,
  });
  const after = await site.switched(2, 60, 20);
  expect(after).toMatchObject({ failure: null, conditions: [] });
});
