import { chmod, mkdtemp, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../clock.js";
import { createStagedDriver } from "../create-staged-driver.js";
import type { PartitionDriver } from "../../partition-driver.js";
import { describeStagedDriver, moveTo, planned, until } from "../../testing/staged-conformance.js";
import { kvcachedDriver } from "./kvcached-config.js";
import { changeLimit, findSegments, readSegment } from "./segment.js";
import { FakeSegment, shmFolder } from "../../testing/fake-kvcached-segment.js";

const GIB = 2 ** 30;
const BUNDLE = 2 ** 27;

let folder: string;
let stateDir: string;

beforeEach(async () => {
  folder = await shmFolder();
  stateDir = await mkdtemp(join(tmpdir(), "fulcrum-kvcached-state-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
  await rm(stateDir, { recursive: true, force: true });
});

function driverOf(segment: string, more: Readonly<Record<string, unknown>> = {}): PartitionDriver {
  const config = kvcachedDriver.parse({
    type: "kvcached",
    segment,
    folder,
    layers: 32,
    lockTimeoutMs: 300,
    ...more,
  });
  return createStagedDriver(config, { instance: segment.replace("*", "x"), stateDir, clock: systemClock });
}

async function engine(name: string, totalBytes: number): Promise<FakeSegment> {
  const segment = new FakeSegment(folder, name);
  await segment.start(totalBytes);
  return segment;
}

const quota = (kvQuotaPct: number) => ({ split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct });
const limitOf = async (name: string): Promise<number> =>
  (await readSegment({ path: join(folder, name), lockTimeoutMs: 300 })).limitBytes;

describeStagedDriver("kvcached", async () => {
  const segment = await engine("kvcached_a", 4 * GIB);
  return {
    newDriver: () => driverOf("kvcached_a"),
    targets: [quota(50), quota(75)],
    verdict: "delivered",
    kill: () => segment.stop(),
  };
});

describe("a kvcached quota", () => {
  test("is a share of the start-up total, also for an agent that starts later; the whole is one bundle short", async () => {
    await engine("kvcached_a", 4 * GIB);
    const first = driverOf("kvcached_a");
    expect(await first.probe()).toMatchObject({
      live: true,
      prepareMs: 0,
      limits: { minSmPct: 100, maxSmPct: 100, minKvQuotaPct: 3.125, maxKvQuotaPct: 96.875 },
    });
    await moveTo(first, 1, quota(50));
    expect(await limitOf("kvcached_a")).toBe(2 * GIB);
    const later = driverOf("kvcached_a");
    const plan = await planned(later, 2, quota(100));
    expect(plan.adjusted).toEqual(["kvQuotaPct 100 -> 96.875"]);
    await moveTo(later, 2, quota(100));
    expect(await limitOf("kvcached_a")).toBe(4 * GIB - BUNDLE);
    expect(await later.verify(plan)).toMatchObject({ kind: "delivered", delivered: { kvQuotaPct: 96.875 } });
  });

  test("shrinks to one bundle above what is in use, says that it is deferred, and goes on as it drains", async () => {
    const segment = await engine("kvcached_a", 4 * GIB);
    const driver = driverOf("kvcached_a");
    await driver.observe();
    await segment.write([4 * GIB, 3 * GIB, 0]);
    const plan = await moveTo(driver, 1, quota(25));
    expect(await limitOf("kvcached_a")).toBe(3 * GIB + BUNDLE);
    expect(await driver.verify(plan)).toMatchObject({
      kind: "pending",
      why: "deferred: 3 GiB in use, limit 3.125 GiB, asked 1 GiB",
    });
    await segment.write([3 * GIB + BUNDLE, 2 * GIB, 0]);
    expect((await driver.verify(plan)).kind).toBe("pending");
    expect(await limitOf("kvcached_a")).toBe(2 * GIB + BUNDLE);
    await segment.write([2 * GIB + BUNDLE, GIB / 2, 0]);
    expect((await driver.verify(plan)).kind).toBe("delivered");
    expect(await limitOf("kvcached_a")).toBe(GIB);
  });

  test("goes below what is in use when a drain is asked, and is delivered once it has drained", async () => {
    const segment = await engine("kvcached_a", 4 * GIB);
    const driver = driverOf("kvcached_a", { drain: true });
    await driver.observe();
    await segment.write([4 * GIB, 3 * GIB, 0]);
    const plan = await moveTo(driver, 1, quota(25));
    expect(await limitOf("kvcached_a")).toBe(GIB);
    expect((await driver.verify(plan)).kind).toBe("pending");
    await segment.write([GIB, GIB, 0]);
    expect((await driver.verify(plan)).kind).toBe("delivered");
  });

  test("that somebody else lowered is seen as lost, and is applied again over the pool as it was", async () => {
    const segment = await engine("kvcached_a", 4 * GIB);
    const driver = driverOf("kvcached_a");
    const plan = await moveTo(driver, 1, quota(50));
    const before = await driver.observe();
    await segment.write([GIB, BUNDLE, 0]);
    const after = await driver.observe();
    expect(after).toMatchObject({ generation: 0, delivered: { kvQuotaPct: 25 } });
    expect(after.bootId).not.toBe(before.bootId);
    await moveTo(driver, 1, quota(50));
    expect(await driver.verify(plan)).toMatchObject({ kind: "delivered" });
    expect(await limitOf("kvcached_a")).toBe(2 * GIB);
  });

  test.each<[string, number]>([
    ["as large a pool", 4 * GIB],
    ["a larger pool", 8 * GIB],
    ["a smaller pool", 3 * GIB],
    ["a pool below what was written", GIB],
  ])("is lost with an engine that was killed and left its file to the next, of %s", async (_what, total) => {
    const segment = await engine("kvcached_a", 4 * GIB);
    const driver = driverOf("kvcached_a");
    await moveTo(driver, 5, quota(50));
    await segment.write([2 * GIB, GIB, BUNDLE]);
    const before = await driver.observe();
    const { ino } = await stat(segment.path);
    // What kvcached writes when it starts, into the file that is there.
    await segment.write([total, 0, 0]);
    expect((await stat(segment.path)).ino).toBe(ino);
    // An agent that was away meanwhile sees it too.
    const later = driverOf("kvcached_a");
    const after = await later.observe();
    expect(after).toMatchObject({ generation: 0, phase: "steady", delivered: { kvQuotaPct: 100 } });
    expect(after.bootId).not.toBe(before.bootId);
    expect((await later.observe()).bootId).toBe(after.bootId);
    await moveTo(later, 5, quota(50));
    expect(await limitOf("kvcached_a")).toBe(total / 2);
    await segment.write([total / 2, total / 2, 0]);
    expect(await later.observe()).toMatchObject({ generation: 5, bootId: after.bootId });
  });

  test("of a start-up total that is configured holds at once, also for a segment that is known already", async () => {
    await engine("kvcached_a", GIB);
    expect((await driverOf("kvcached_a").observe()).delivered.kvQuotaPct).toBe(100);
    const driver = driverOf("kvcached_a", { startTotalBytes: 4 * GIB });
    expect((await driver.observe()).delivered.kvQuotaPct).toBe(25);
    await moveTo(driver, 1, quota(50));
    expect(await limitOf("kvcached_a")).toBe(2 * GIB);
    await new FakeSegment(folder, "kvcached_a").write([2 * GIB, 5 * GIB, 0]);
    await expect(driver.observe()).rejects.toMatchObject({
      code: "bad_answer",
      message: expect.stringContaining("(driver.startTotalBytes)") as string,
    });
  });

  test("is lost with the engine: the new segment is seen as a new engine at generation 0, with its own total", async () => {
    const segment = await engine("kvcached_a", 4 * GIB);
    const driver = driverOf("kvcached_a");
    await moveTo(driver, 3, quota(50));
    const before = await driver.observe();
    await segment.start(8 * GIB);
    const after = await driver.observe();
    expect(after).toMatchObject({ generation: 0, phase: "steady", delivered: { kvQuotaPct: 100 } });
    expect(after.bootId).not.toBe(before.bootId);
    await moveTo(driver, 3, quota(50));
    expect(await limitOf("kvcached_a")).toBe(4 * GIB);
  });
});

describe("a move between two engines of one GPU", () => {
  const share = { budgetBytes: 8 * GIB };
  const donor = () => driverOf("kvcached_a", { share: { ...share, peers: ["kvcached_b"] } });
  const taker = () => driverOf("kvcached_b", { share: { ...share, peers: ["kvcached_a"] } });

  test("grows the one only once the other has given, also under agents that are killed in between", async () => {
    const a = await engine("kvcached_a", 6 * GIB);
    const b = await engine("kvcached_b", 6 * GIB);
    await donor().observe();
    await taker().observe();
    await b.write([2 * GIB, BUNDLE, 0]);
    await a.write([6 * GIB, 5 * GIB, 0]);

    const aDown = await moveTo(donor(), 1, quota(50));
    const grow = taker();
    const bUp = await planned(grow, 1, quota(75));
    await grow.prepare(bUp);
    expect((await grow.observe()).prepared).toEqual({ generation: 1, ready: false });
    await expect(grow.commit(bUp)).rejects.toMatchObject({
      code: "not_ready",
      message: expect.stringContaining(
        "4.5 GiB do not fit yet: of 8 GiB the others hold 5.125 GiB",
      ) as string,
    });
    expect(await limitOf("kvcached_b")).toBe(2 * GIB);

    // Requests of A finish; both agents begin anew.
    await a.write([5 * GIB + BUNDLE, 2 * GIB, BUNDLE]);
    expect((await donor().verify(aDown)).kind).toBe("delivered");
    const again = taker();
    expect((await again.observe()).prepared).toEqual({ generation: 1, ready: true });
    await again.commit(bUp);
    await until(again, 1);
    expect([await limitOf("kvcached_a"), await limitOf("kvcached_b")]).toEqual([3 * GIB, 4.5 * GIB]);
  });

  test("is undone by dropping the growth: nothing was written to the taker", async () => {
    await engine("kvcached_a", 6 * GIB);
    const b = await engine("kvcached_b", 6 * GIB);
    const grow = taker();
    await grow.observe();
    await b.write([GIB, BUNDLE, 0]);
    await grow.prepare(await planned(grow, 1, quota(75)));
    await grow.rollback(1);
    expect(await grow.observe()).toMatchObject({ generation: 0, phase: "steady", prepared: null });
    expect(await limitOf("kvcached_b")).toBe(GIB);
  });
});

describe("a segment that is not as it should be", () => {
  test.each<[string, (segment: FakeSegment) => Promise<void>, string, RegExp]>([
    ["is gone", (segment) => segment.stop(), "unreachable", /there is no kvcached segment/],
    [
      "is too short",
      (segment) => truncate(segment.path, 16),
      "bad_answer",
      /has 16 bytes, a kvcached segment 24/,
    ],
    ["is too long", (segment) => segment.write([1, 2, 3, 4]), "bad_answer", /has 32 bytes/],
    ["has not been filled yet", (segment) => segment.write([0, 0, 0]), "bad_answer", /total must be 1\.\./],
    [
      "has a negative use",
      (segment) => segment.write([GIB, -1, 0]),
      "bad_answer",
      /used must be 0\..*got -1/,
    ],
    [
      "uses more than there is",
      (segment) => segment.write([GIB, 9 * GIB, 0]),
      "bad_answer",
      /used must be at most/,
    ],
    ["holds text", (segment) => writeFile(segment.path, "x".repeat(24)), "bad_answer", /total must be/],
  ])("%s", async (_what, spoil, code, message) => {
    const segment = await engine("kvcached_a", 4 * GIB);
    const driver = driverOf("kvcached_a");
    await driver.observe();
    await spoil(segment);
    await expect(driver.observe()).rejects.toMatchObject({
      code,
      silent: true,
      message: expect.stringMatching(message) as string,
    });
  });

  test("is a link: not followed", async () => {
    await writeFile(join(folder, "elsewhere"), Buffer.alloc(24));
    await symlink(join(folder, "elsewhere"), join(folder, "kvcached_a"));
    await expect(driverOf("kvcached_a").observe()).rejects.toMatchObject({ code: "file_unwritable" });
  });

  test.skipIf(process.getuid?.() === 0)("may not be written: root may, so only others see this", async () => {
    const segment = await engine("kvcached_a", 4 * GIB);
    await chmod(segment.path, 0o444);
    await expect(driverOf("kvcached_a").observe()).rejects.toMatchObject({ code: "permission_denied" });
  });

  test("is below two bundles: the configured layers are wrong", async () => {
    await engine("kvcached_a", BUNDLE);
    await expect(driverOf("kvcached_a").probe()).rejects.toMatchObject({
      code: "nothing_to_move",
      message: expect.stringContaining("check layers") as string,
    });
  });

  test("a limit of 0 is never written", async () => {
    const { path } = await engine("kvcached_a", GIB);
    await expect(changeLimit({ path, lockTimeoutMs: 300 }, () => 0)).rejects.toMatchObject({
      code: "out_of_bounds",
    });
    expect(await limitOf("kvcached_a")).toBe(GIB);
  });
});

describe("finding segments", () => {
  test("names those that are none, and takes a pattern that fits one", async () => {
    await engine("kvcached_SGLang_41", 4 * GIB);
    await writeFile(join(folder, "kvcached_old"), "x");
    const found = await findSegments(folder, "kvcached_", 300);
    expect(found.map(({ name, fault }) => [name, fault === null])).toEqual([
      ["kvcached_SGLang_41", true],
      ["kvcached_old", false],
    ]);
    await moveTo(driverOf("kvcached_SGLang_*"), 1, quota(50));
    expect(await limitOf("kvcached_SGLang_41")).toBe(2 * GIB);
    await engine("kvcached_SGLang_42", 4 * GIB);
    await expect(driverOf("kvcached_SGLang_*").observe()).rejects.toMatchObject({
      code: "ambiguous_segment",
      message: expect.stringContaining("kvcached_SGLang_41, kvcached_SGLang_42") as string,
    });
  });
});
