/** Two agents must not steer one resident: the second is refused, and what gets past that is seen and not fought over. */
import { linkSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { claimResident } from "../workers/claim.js";
import { type WorkerSite, WorkerSites, siteConfig, steady } from "../testing/worker-site.js";

const sites = new WorkerSites();
afterEach(() => sites.end());

describe("a resident", () => {
  test("is refused to an agent with a state folder of its own, and not disturbed; free again it is taken", async () => {
    const site = await sites.start();
    await site.until(steady(0));
    const before = [site.turn("prefill").turn, site.turn("decode").turn];
    const { resident } = siteConfig(site.folder);
    const other = await sites.start([0], { resident });
    await expect(other.driver.observe()).rejects.toMatchObject({
      code: "rank_claimed",
      retryable: true,
      message: expect.stringContaining(join(site.folder, "turn-0")) as string,
    });
    await site.until(({ iterations }) => (iterations?.decode ?? 0) > 20);
    expect([site.turn("prefill").turn, site.turn("decode").turn]).toEqual(before);
    expect(readdirSync(other.folder)).not.toContain("workers");
    site.abandon();
    await expect(other.driver.probe()).resolves.toMatchObject({ driver: "mps-respawn" });
  });

  test("that becomes free goes to the agent that waited, which knows what was switched meanwhile", async () => {
    const site = await sites.start();
    await site.until(steady(0));
    const other = sites.open(site.folder);
    await expect(other.driver.observe()).rejects.toMatchObject({ code: "rank_claimed" });
    await site.switched(1, 60, 30);
    const holder = await site.holder("decode");
    site.abandon();
    const state = await other.until(({ phase }) => phase === "steady");
    expect(state).toMatchObject({ generation: 1, asked: { split: { prefillSmPct: 60, decodeSmPct: 30 } } });
    expect((await other.holder("decode")).id).toBe(holder.id);
  });

  test.each(["linux", "darwin"] as const)("is claimed by address and rank, as on %s", async (platform) => {
    const address = `unix:/run/${process.pid}/engine.sock`;
    const first = await claimResident({ address, rank: 0 }, platform);
    await expect(claimResident({ address, rank: 0 }, platform)).rejects.toMatchObject({
      code: "rank_claimed",
    });
    (await claimResident({ address, rank: 1 }, platform)).release();
    (await claimResident({ address: `${address}2`, rank: 0 }, platform)).release();
    first.release();
    (await claimResident({ address, rank: 0 }, platform)).release();
  });
});

/** As a worker of an agent that sees no claim of ours: it makes the next turn. */
function takeTurn(site: WorkerSite): number {
  const folder = join(site.folder, "turn-0");
  const turn = site.turn("decode").turn + 1;
  const { iteration } = site.turn("decode");
  writeFileSync(join(folder, "foreign"), JSON.stringify({ iteration, tokens: iteration, worker: "foreign" }));
  linkSync(join(folder, "foreign"), join(folder, `decode.${turn}`));
  return turn;
}

test("a turn that nobody here gave is told as a condition, and taken back after a pause", async () => {
  const site = await sites.start();
  await site.until(steady(0));
  const holder = await site.holder("decode");
  const turn = takeTurn(site);
  await site.until(({ conditions }) => conditions?.includes("RankContested") === true);
  expect(site.turn("decode")).toMatchObject({ turn, worker: "foreign" });
  await site.until(() => site.turn("decode").turn > turn);
  await expect.poll(() => site.turn("decode").worker).toBe(holder.id);
  const state = await site.until(steady(0));
  expect(state.conditions).toContain("RankContested");
});

test("two agents whose claims do not meet both tell it, and somebody always serves again", async () => {
  const site = await sites.start();
  await site.until(steady(0));
  // By another name for the same folder: as from two containers that share it.
  const alias = join(site.folder, "alias");
  symlinkSync(join(site.folder, "turn-0"), alias);
  const other = await sites.start([0], { resident: { ...siteConfig(site.folder).resident, address: alias } });
  await Promise.all(
    [site, other].map((one) => one.until(({ conditions }) => conditions?.includes("RankContested") === true)),
  );
  const { iteration } = site.turn("decode");
  await expect.poll(() => site.turn("decode").iteration, { timeout: 10_000 }).toBeGreaterThan(iteration + 20);
});
