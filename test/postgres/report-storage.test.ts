import { expect, test } from "vitest";

import type { TestController } from "../support/controller.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import {
  instanceReport,
  poolBody,
  registrationEntry,
  report,
  splitAt,
  staticPool,
  wireWindow,
  WORK,
} from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });
const HOUR_MS = 3_600_000;

async function aFleet(pool: string, count: number, body = poolBody(pool)): Promise<TestAgent> {
  await fixture.controller.ask("createPool", { body });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(...names(pool, count).map((name) => registrationEntry(name, pool)));
  return agent;
}

function names(pool: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${pool}-${index}`);
}

/** Sequence numbers as the API shows them, oldest first. */
async function seqsOf(instance: string): Promise<number[]> {
  const { items } = await fixture.controller.ask("listWindows", {
    params: { instance },
    query: { limit: 500 },
  });
  return items.map(({ window }) => window.seq).reverse();
}

/** Which of `count` things goes to which replica: every other one. */
function replica(index: number): TestController {
  return index % 2 === 0 ? fixture.controller : fixture.other;
}

test("the same report again stores nothing twice, and tells where the instance is", async () => {
  const agent = await aFleet("again", 1);
  const body = report(agent.name, [instanceReport("again-0", [wireWindow(1), wireWindow(2)])]);
  const answers = [
    await fixture.controller.ask("report", { body }),
    await fixture.other.ask("report", { body }),
  ];
  expect(answers.map(({ accepted }) => accepted)).toEqual([
    [{ instance: "again-0", lastSeq: 2 }],
    [{ instance: "again-0", lastSeq: 2 }],
  ]);
  expect(await seqsOf("again-0")).toEqual([1, 2]);
});

test("what the workers did is kept with its window, and an agent that tells none of it is taken as well", async () => {
  const agent = await aFleet("work", 1);
  const windows = [
    wireWindow(1),
    wireWindow(2, { work: null }),
    wireWindow(3, { work: { ...WORK, overlapShare: null } }),
  ];
  const body = report(agent.name, [instanceReport("work-0", windows)]);
  expect((await fixture.controller.ask("report", { body })).rejected).toEqual([]);
  const { items } = await fixture.other.ask("listWindows", { params: { instance: "work-0" } });
  expect(items.map(({ window }) => window.work)).toEqual([{ ...WORK, overlapShare: null }, null, undefined]);
});

test("a report that repeats the last windows adds only the new ones", async () => {
  const agent = await aFleet("overlap", 1);
  for (const seqs of [[1], [1, 2], [1, 2, 3], [2, 3, 4], [1]]) {
    const windows = seqs.map((seq) => wireWindow(seq));
    await fixture.controller.ask("report", {
      body: report(agent.name, [instanceReport("overlap-0", windows)]),
    });
  }
  expect(await seqsOf("overlap-0")).toEqual([1, 2, 3, 4]);
});

test("the same windows at once through two replicas are stored once each", async () => {
  const agent = await aFleet("once", 1);
  for (let round = 0; round < 10; round += 1) {
    const windows = [1, 2, 3].map((step) => wireWindow(round * 3 + step));
    const body = report(agent.name, [instanceReport("once-0", windows)]);
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) => replica(index).ask("report", { body })),
    );
    for (const { accepted } of answers)
      expect(accepted).toEqual([{ instance: "once-0", lastSeq: round * 3 + 3 }]);
  }
  expect(await seqsOf("once-0")).toEqual(Array.from({ length: 30 }, (_, index) => index + 1));
});

test("replicas that take the same many instances in opposite order do not stand in each other's way", async () => {
  // Every report is due for a decision, so windows, decisions and their memory are written by both at once.
  const body = staticPool("order", splitAt(60), { mode: "observe" });
  const agent = await aFleet("order", 40, body);
  const instances = names("order", 40);
  // As after a few days: rows no longer lie in the order in which they were made.
  for (const table of ["instances SET attempt = 1", "instance_signals SET last_seq = 0"]) {
    const by = table.startsWith("instances") ? "id" : "instance_id";
    for (const name of instances.toSorted((a, b) => a.localeCompare(b)).reverse())
      await fixture.controller.source.query(
        `UPDATE ${table} WHERE ${by} = (SELECT id FROM instances WHERE name = $1)`,
        [name],
      );
  }
  for (let round = 1; round <= 8; round += 1) {
    await fixture.controller.source.query("UPDATE instance_signals SET evaluated_at = NULL");
    const entries = instances.map((name) => instanceReport(name, [wireWindow(round)]));
    const replies = await Promise.all(
      Array.from({ length: 6 }, (_, index) => {
        const ordered = index % 2 === 0 ? entries : [...entries].reverse();
        return replica(index).call("report", { body: report(agent.name, ordered) });
      }),
    );
    expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 200));
  }
  for (const name of instances) expect(await seqsOf(name)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
});

test("a pool deleted while reports, registrations and acknowledgements arrive: nobody sees a failure", async () => {
  for (let round = 0; round < 5; round += 1) {
    const pool = `doomed-${round}`;
    const agent = await aFleet(pool, 20, staticPool(pool, splitAt(60)));
    const instances = names(pool, 20);
    await agent.report(instances.at(0)!);
    const entriesAt = (seq: number) => instances.map((name) => instanceReport(name, [wireWindow(seq)]));
    const traffic = Array.from({ length: 12 }, async (_, index) => {
      const via = replica(index);
      const statuses: number[] = [];
      for (let seq = 2; seq < 6; seq += 1) {
        const reply = await via.call("report", { body: report(agent.name, entriesAt(seq)) });
        statuses.push(reply.status);
        await agent.ack(instances.at((index + seq) % 20)!, 1, "preparing", {}, via);
      }
      return statuses;
    });
    const registering = agent.register(registrationEntry(`${pool}-late`, pool)).catch((error: Error) => {
      // Too late: the pool is gone. Anything else is a failure.
      expect(error.message).toContain("unknown_pool");
    });
    const deleted = fixture.other.call("deletePool", { params: { pool } });
    expect((await deleted).status).toBe(204);
    for (const status of (await Promise.all(traffic)).flat()) expect([200, 422]).toContain(status);
    await registering;

    const reply = await fixture.controller.call("report", { body: report(agent.name, entriesAt(9)) });
    expect(reply.status).toBe(422);
    expect(reply.problem?.detail).toContain(
      `${instances[0]} is not registered by this agent, or was deleted`,
    );
    const left = await fixture.controller.ask("listInstances", { query: { pool, limit: 500 } });
    expect(left.items).toEqual([]);
    const [open] = await fixture.controller.source.query(
      "SELECT count(*)::int AS count FROM reconfigurations WHERE ended_at IS NULL",
    );
    expect(open).toEqual({ count: 0 });
    expect((await agent.poll())?.assignments).toEqual([]);
  }
});

test.each([
  ["behind", -HOUR_MS],
  ["ahead", HOUR_MS],
])(
  "an agent whose clock is an hour %s gets its windows stored in the controller's time",
  async (name, offMs) => {
    const pool = `clock-${name}`;
    const agent = await aFleet(pool, 1);
    const agentNowMs = Date.now() + offMs;
    const sent = wireWindow(1, { endAtMs: agentNowMs, startAtMs: agentNowMs - 5_000 });
    const answer = await fixture.controller.ask("report", {
      body: report(agent.name, [instanceReport(`${pool}-0`, [sent])], agentNowMs),
    });
    expect(Math.abs(answer.clockSkewMs + offMs)).toBeLessThan(60_000);
    const { items } = await fixture.controller.ask("listWindows", { params: { instance: `${pool}-0` } });
    const { window } = items.at(0)!;
    expect(Math.abs(window.endAtMs - Date.now())).toBeLessThan(60_000);
    expect(window.endAtMs - window.startAtMs).toBe(5_000);
    const instance = await fixture.controller.ask("getInstance", { params: { instance: `${pool}-0` } });
    expect(instance.conditions).not.toContain("StaleSignal");
    const { conditions } = await fixture.controller.ask("getAgent", { params: { agent: agent.name } });
    expect(conditions).toEqual(["ClockSkew"]);
  },
);

test("what the agent says it runs, and the conditions it names, are shown beside what was asked", async () => {
  const agent = await aFleet("seen", 1);
  const observed = { ...splitAt(55), generation: 0 };
  await agent.report("seen-0", { entry: { observed, conditions: ["ReaderLost", "DriverFallback"] } });
  const instance = await fixture.other.ask("getInstance", { params: { instance: "seen-0" } });
  expect(instance.observed).toEqual(observed);
  expect(instance.desired.split).toEqual({ prefillSmPct: 50, decodeSmPct: 50 });
  const told = (conditions: readonly string[]) => conditions.filter((c) => !c.endsWith("BoundInsideBucket"));
  expect(told(instance.conditions)).toEqual(["ReaderLost", "DriverFallback"]);
  await agent.report("seen-0", { entry: { observed: null, conditions: [] } });
  const after = await fixture.other.ask("getInstance", { params: { instance: "seen-0" } });
  expect(told(after.conditions)).toEqual([]);
  // A read-back that failed leaves what was last read, with its time.
  expect(after.observed).toEqual(observed);
});

test("an agent cannot report for an instance that another agent looks after", async () => {
  await aFleet("foreign", 1);
  const thief = new TestAgent(fixture.controller, "foreign-thief");
  await thief.register();
  const body = report(thief.name, [instanceReport("foreign-0", [wireWindow(1)])]);
  const reply = await fixture.controller.call("report", { body, key: await thief.key() });
  expect(reply.status).toBe(422);
  expect(reply.problem?.detail).toContain("is not registered by this agent");
  expect(await seqsOf("foreign-0")).toEqual([]);
});

test("of a group of ranks the lowest rank's agent measures; the other's windows are let go", async () => {
  await fixture.controller.ask("createPool", { body: poolBody("group") });
  const [first, second] = ["group-a", "group-b"].map((name) => new TestAgent(fixture.controller, name));
  await first!.register(registrationEntry("group-0", "group", { ranks: [0], rankCount: 2 }));
  await second!.register(registrationEntry("group-0", "group", { ranks: [1], rankCount: 2 }));
  for (const [agent, seq] of [
    [second!, 7],
    [first!, 1],
    [second!, 8],
  ] as const) {
    const { accepted } = await fixture.controller.ask("report", {
      body: report(agent.name, [instanceReport("group-0", [wireWindow(seq)])]),
    });
    expect(accepted).toEqual([{ instance: "group-0", lastSeq: seq }]);
  }
  expect(await seqsOf("group-0")).toEqual([1]);
});
