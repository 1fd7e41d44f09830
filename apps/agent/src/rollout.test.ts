import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Ack, Assignment } from "@fulcrum/contracts/agent-api.js";
import { pino } from "pino";
import { Journal } from "./journal.js";
import { Rollout } from "./rollout.js";
import { describeCountingDriver, describeDriver } from "./testing/driver-conformance.js";
import { EngineModel } from "./testing/engine-model.js";
import { InMemoryDriver } from "./testing/in-memory-driver.js";
import { VirtualClock } from "./testing/virtual-clock.js";

const inMemory = () => {
  const engine = new EngineModel();
  const driver = new InMemoryDriver(engine);
  const kill = (): Promise<void> => {
    driver.silent = true;
    return Promise.resolve();
  };
  return Promise.resolve({ driver, engine, kill });
};
describeDriver("in memory", inMemory);
describeCountingDriver("in memory", inMemory);

const log = pino({ level: "silent" });
const DEADLINES = { prepareMs: 10_000, switchMs: 5_000, verifyMs: 2_000 };
let folder: string;
let engine: EngineModel;
let driver: InMemoryDriver;
let clock: VirtualClock;
let journal: Journal;
let rollout: Rollout;
let acks: Ack[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-rollout-"));
  engine = new EngineModel();
  driver = new InMemoryDriver(engine);
  clock = new VirtualClock();
  acks = [];
  rollout = await agentLife();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A new process of the agent on the same folder. */
async function agentLife(ranks: readonly number[] = [0]): Promise<Rollout> {
  journal = await Journal.open(folder, "chat-0", log);
  return new Rollout({
    instance: "chat-0",
    ranks,
    driver,
    journal,
    clock,
    log,
    deadlines: DEADLINES,
    pollMs: 100,
    idleMs: 1_000,
    observe: () => driver.observe(),
    capabilities: () => driver.probe(),
    emit: (added) => acks.push(...added),
    stepTook: () => undefined,
  });
}

function assignment(generation: number, attempt = 1, prefillSmPct = 60): Assignment {
  const allocation = { split: { prefillSmPct, decodeSmPct: 40 }, kvQuotaPct: 90 };
  return { instance: "chat-0", generation, attempt, allocation, reason: "test", issuedAtMs: 0 };
}

/** Passes until the engine runs what it should, or until `passes` are over. */
async function passes(most = 20): Promise<void> {
  for (let i = 0; i < most; i += 1) {
    const againMs = await rollout.pass();
    if (rollout.settled) return;
    await clock.sleep(againMs);
  }
}

const told = () =>
  acks.map(({ generation, attempt, step, failure }) =>
    [`${generation}/${attempt} ${step}`, ...(failure ? [failure.code] : [])].join(" "),
  );

describe("a rollout", () => {
  test("tells every step in order, per rank, with what was read back", async () => {
    rollout = await agentLife([0, 1]);
    rollout.offer(assignment(1));
    await passes();
    const ofRank = (rank: number) => acks.filter((ack) => ack.rank === rank).map((ack) => ack.step);
    expect(ofRank(0)).toEqual(["preparing", "ready", "switched", "verified"]);
    expect(ofRank(1)).toEqual(ofRank(0));
    expect(acks[0]?.delivered?.split).toEqual({ prefillSmPct: 100, decodeSmPct: 100 });
    expect(acks.at(-1)?.delivered).toEqual({
      split: { prefillSmPct: 59.26, decodeSmPct: 38.89 },
      kvQuotaPct: 90,
    });
    expect(rollout.targets.current?.outcome).toBe("verified");
  });

  test("of generation 0 is what the engine started with: nothing is touched", async () => {
    rollout.offer(assignment(0));
    await passes();
    expect(engine.calls).toEqual([]);
    expect(told()).toEqual(["0/1 verified"]);
  });

  test("refuses a generation below any that it has seen, even in an earlier life", async () => {
    rollout.offer(assignment(5));
    await passes();
    expect(rollout.offer(assignment(4))).toBe("refused");
    rollout = await agentLife();
    expect(rollout.offer(assignment(4, 9))).toBe("refused");
    await passes();
    expect((await driver.observe()).generation).toBe(5);
  });

  test("is superseded while it prepares: the old is dropped, only the new is finished", async () => {
    engine.holdPrepare = true;
    rollout.offer(assignment(1));
    await passes(3);
    rollout.offer(assignment(2, 1, 70));
    engine.holdPrepare = false;
    await passes();
    expect(engine.calls).toEqual(["prepare 1", "abort 1", "prepare 2", "commit 2"]);
    expect(told()).toEqual(["1/1 preparing", "2/1 preparing", "2/1 ready", "2/1 switched", "2/1 verified"]);
  });

  test("is superseded while it switches: the switch ends before the next one begins", async () => {
    engine.holdSwitch = true;
    rollout.offer(assignment(1));
    await passes(6);
    expect((await driver.observe()).phase).toBe("switching");
    rollout.offer(assignment(2));
    await passes(3);
    expect(engine.calls).toEqual(["prepare 1", "commit 1"]);
    engine.holdSwitch = false;
    await passes();
    expect((await driver.observe()).generation).toBe(2);
  });

  test("an offer that is repeated is done once, and its end is told again only now and then", async () => {
    rollout.offer(assignment(1));
    await passes();
    for (let i = 0; i < 12; i += 1) {
      expect(rollout.offer(assignment(1))).toBe("repeat");
      await clock.sleep(1_000);
    }
    expect(engine.calls).toEqual(["prepare 1", "commit 1"]);
    expect(told().slice(3)).toEqual(["1/1 verified", "1/1 verified", "1/1 verified"]);
  });
});

describe("a rollout of a group", () => {
  const open = { switchAt: { prefill: 130, decode: 230 } };
  const waiting = (attempt = 1): Assignment => ({ ...assignment(1, attempt), commit: null });
  const opened = (attempt = 1): Assignment => ({ ...assignment(1, attempt), commit: open });
  beforeEach(() => (engine.iterations = { prefill: 100, decode: 200 }));

  test("waits with what is prepared however long, says how far it is, and switches at the agreed iterations", async () => {
    rollout.offer(waiting());
    await passes(10);
    await clock.sleep(10 * DEADLINES.prepareMs);
    await passes(10);
    expect(engine.calls).toEqual(["prepare 1"]);
    expect(told()).toEqual(["1/1 preparing", "1/1 ready"]);
    expect(acks[1]?.iterations).toMatchObject({ prefill: 100, decode: 200 });
    expect(rollout.offer(opened())).toBe("accepted");
    expect(rollout.offer(opened())).toBe("repeat");
    await passes(10);
    await clock.sleep(10 * DEADLINES.switchMs);
    await passes(10);
    expect(engine.calls).toEqual(["prepare 1", "commit 1 at 130/230"]);
    expect(told().at(-1)).toBe("1/1 armed");
    engine.iterate(30);
    await passes();
    expect(told().slice(-2)).toEqual(["1/1 switched", "1/1 verified"]);
  });

  test("does not take the word back for an answer that was long under way", async () => {
    rollout.offer(waiting());
    await passes(5);
    rollout.offer(opened());
    expect(rollout.offer(waiting())).toBe("repeat");
    await passes(5);
    expect(told().at(-1)).toBe("1/1 armed");
  });

  test("that is past the agreed iterations says so and has nothing left that could switch alone", async () => {
    rollout.offer(waiting());
    await passes(5);
    engine.iterate(30);
    rollout.offer(opened());
    await passes(5);
    expect(told().at(-1)).toBe("1/1 failed too_late");
    expect(await driver.observe()).toMatchObject({ generation: 0, phase: "steady", prepared: null });
  });

  test("takes back what was armed when it is withdrawn, before it offers itself again", async () => {
    rollout.offer(waiting());
    await passes(5);
    rollout.offer(opened());
    await passes(5);
    rollout.offer(waiting(2));
    await passes(5);
    engine.iterate(1_000);
    await passes(5);
    expect(engine.calls).toEqual(["prepare 1", "commit 1 at 130/230", "abort 1", "prepare 1"]);
    expect(told().slice(-2)).toEqual(["1/2 preparing", "1/2 ready"]);
    expect((await driver.observe()).generation).toBe(0);
  });

  test("is not forgotten with a life of the agent: neither that it must wait nor what it was told", async () => {
    rollout.offer(waiting());
    await passes(5);
    await journal.flush();
    rollout = await agentLife();
    await passes(5);
    expect(engine.calls).toEqual(["prepare 1"]);
    rollout.offer(opened());
    await passes(3);
    await journal.flush();
    rollout = await agentLife();
    await passes(3);
    engine.iterate(30);
    await passes();
    expect(told().at(-1)).toBe("1/1 verified");
    expect(engine.calls.filter((call) => call.startsWith("prepare"))).toEqual(["prepare 1"]);
  });

  test("goes back alone once nobody follows the group", async () => {
    rollout.offer(waiting());
    await passes(5);
    expect(rollout.offer(assignment(1))).toBe("accepted");
    await passes();
    expect(told().at(-1)).toBe("1/1 verified");
  });
});

test("what cannot be read back ends as verified, with nothing delivered, and says so in every life", async () => {
  engine.unreadable = true;
  rollout.offer(assignment(1));
  await passes();
  expect(told().at(-1)).toBe("1/1 verified");
  expect(acks.at(-1)?.delivered).toBeNull();
  expect(journal.state.target?.readBackMissing).toBe(true);
  await journal.flush();
  rollout = await agentLife();
  await passes();
  acks.length = 0;
  rollout.offer(assignment(1));
  expect(acks.at(-1)).toMatchObject({ step: "verified", delivered: null });
  engine.unreadable = false;
  rollout.offer(assignment(2));
  await passes();
  expect(acks.at(-1)?.delivered).not.toBeNull();
  expect(journal.state.target?.readBackMissing ?? false).toBe(false);
});

test("a switch that does not come in time is dropped, should no worker have begun it", async () => {
  engine.holdSwitch = true;
  rollout.offer(assignment(1));
  await passes(200);
  expect(told().at(-1)).toBe("1/1 failed switch_timeout");
  expect(engine.calls).toEqual(["prepare 1", "commit 1", "abort 1"]);
});

describe("a rollout fails", () => {
  test.each<[string, () => void, string, boolean]>([
    ["when the preparation hangs", () => (engine.holdPrepare = true), "prepare_timeout", true],
    ["when the preparation is lost", () => (engine.losePrepares = 1), "prepare_lost", true],
    ["when the switch hangs", () => (engine.holdSwitch = true), "switch_timeout", true],
    [
      "when the engine refuses",
      () => (engine.refusePrepares = { times: 1, code: "prepare_failed" }),
      "prepare_failed",
      true,
    ],
    [
      "for good when the engine says that it never can",
      () => (engine.refusePrepares = { times: 1, code: "out_of_bounds" }),
      "out_of_bounds",
      false,
    ],
    ["when the engine stays away", () => (driver.silent = true), "unreachable", true],
  ])("%s", async (_what, breakIt, code, retryable) => {
    breakIt();
    rollout.offer(assignment(1));
    await passes(200);
    expect(acks.at(-1)).toMatchObject({ step: "failed", generation: 1, failure: { code, retryable } });
    const count = acks.length;
    await passes(50);
    expect(acks.length).toBe(count);
  });

  test("when something else is delivered than was asked", async () => {
    engine.misdeliver = { split: { prefillSmPct: 100, decodeSmPct: 38.89 }, kvQuotaPct: 90 };
    rollout.offer(assignment(1));
    await passes();
    expect(told()).toEqual(["1/1 preparing", "1/1 ready", "1/1 switched", "1/1 failed not_delivered"]);
    expect(acks.at(-1)?.delivered).toEqual(engine.misdeliver);
  });

  test("and leaves the running split alone; a higher attempt of the same generation tries again", async () => {
    rollout.offer(assignment(1));
    await passes();
    engine.losePrepares = 1;
    rollout.offer(assignment(2));
    await passes(10);
    expect(await driver.observe()).toMatchObject({ generation: 1, phase: "steady", prepared: null });
    rollout.offer(assignment(2, 2));
    await passes();
    expect((await driver.observe()).generation).toBe(2);
    expect(told().slice(4)).toEqual([
      "2/1 preparing",
      "2/1 failed prepare_lost",
      "2/2 preparing",
      "2/2 ready",
      "2/2 switched",
      "2/2 verified",
    ]);
  });

  test("in one life, and an earlier attempt is not tried again in the next: its failure is told again", async () => {
    engine.losePrepares = 1;
    rollout.offer(assignment(1));
    await passes(10);
    rollout = await agentLife();
    rollout.offer(assignment(1));
    await passes(5);
    expect(told()).toEqual(["1/1 preparing", "1/1 failed prepare_lost", "1/1 failed prepare_lost"]);
  });
});

describe("an agent that was killed", () => {
  test.each<[string, number]>([
    ["before the preparation", 0],
    ["in the middle of the preparation", 2],
    ["in the middle of the switch", 4],
    ["at any later point", 6],
  ])("%s finishes in its next life, without the controller", async (_what, steps) => {
    engine.holdPrepare = steps === 2;
    engine.holdSwitch = steps === 4;
    rollout.offer(assignment(3));
    await passes(steps);
    await journal.flush();
    rollout = await agentLife();
    engine.holdPrepare = false;
    engine.holdSwitch = false;
    await passes();
    expect((await driver.observe()).generation).toBe(3);
    expect(told().at(-1)).toBe("3/1 verified");
    expect(engine.calls.filter((call) => call.startsWith("prepare")).length).toBeLessThanOrEqual(1);
  });

  test("after the end tells it again when it is offered again", async () => {
    rollout.offer(assignment(3));
    await passes();
    rollout = await agentLife();
    await passes();
    acks.length = 0;
    rollout.offer(assignment(3));
    expect(told()).toEqual(["3/1 verified"]);
  });
});

describe("an engine that began anew", () => {
  test("gets its last good allocation back without being asked", async () => {
    rollout.offer(assignment(4));
    await passes();
    acks.length = 0;
    engine.restart();
    await passes();
    expect(await driver.observe()).toMatchObject({ generation: 4, delivered: { kvQuotaPct: 90 } });
    expect(told()).toEqual(["4/1 verified"]);
  });

  test("gets the last that was good, not the last that was asked", async () => {
    rollout.offer(assignment(4));
    await passes();
    engine.losePrepares = 1;
    rollout.offer(assignment(5, 1, 80));
    await passes(10);
    engine.restart();
    await passes();
    const actual = await driver.observe();
    expect(actual.generation).toBe(4);
    expect(actual.asked.split.prefillSmPct).toBe(60);
  });

  test("in the middle of a rollout has the rollout begun anew", async () => {
    engine.holdPrepare = true;
    rollout.offer(assignment(4));
    await passes(3);
    engine.restart();
    engine.holdPrepare = false;
    await passes();
    expect((await driver.observe()).generation).toBe(4);
    expect(told().at(-1)).toBe("4/1 verified");
  });

  test("and cannot be restored is tried again, ever more slowly, telling nobody", async () => {
    rollout.offer(assignment(4));
    await passes();
    acks.length = 0;
    engine.restart();
    engine.refusePrepares = { times: 6, code: "prepare_failed" };
    const before = clock.monotonicMs();
    await passes(2_000);
    expect((await driver.observe()).generation).toBe(4);
    // 1 + 2 + 4 + 8 + 16 + 30 s of back-off, each spread over 50..100 %.
    expect(clock.monotonicMs() - before).toBeGreaterThan(30_000);
    expect(told()).toEqual(["4/1 verified"]);
  });

  test("while the agent's journal was lost is restored although the controller has stopped following", async () => {
    engine.refusePrepares = { times: 1, code: "prepare_failed" };
    rollout.offer(assignment(4));
    await passes(5);
    expect(told()).toEqual(["4/1 failed prepare_failed"]);
    rollout.targets.leftAlone(4, 1);
    await passes();
    expect((await driver.observe()).generation).toBe(4);
  });
});
