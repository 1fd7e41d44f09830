import { describe, expect, test } from "vitest";

import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, RUNNING, splitAt, staticPool } from "../support/wire.js";

const MAX_ATTEMPTS = 2;
const fixture = useControllers({
  replicas: 2,
  env: {
    FULCRUM_OFFER_TIMEOUT_MS: "300",
    FULCRUM_PREPARE_TIMEOUT_MS: "300",
    FULCRUM_SWITCH_TIMEOUT_MS: "300",
    FULCRUM_VERIFY_TIMEOUT_MS: "300",
    FULCRUM_MAX_ATTEMPTS: String(MAX_ATTEMPTS),
    FULCRUM_RETRY_BACKOFF_MS: "50",
  },
});
const SOON = { timeout: 20_000, interval: 50 };
const passing = { code: "driver_busy", message: "try later", retryable: true };
const lasting = { code: "driver_gone", message: "no such device", retryable: false };

let made = 0;

/** An instance whose last good allocation is 60 % at generation 1. */
async function aSettledInstance(over: Parameters<typeof registrationEntry>[2] = {}) {
  made += 1;
  const pool = `fail-${made}`;
  const instance = `${pool}-i`;
  await fixture.controller.ask("createPool", { body: staticPool(pool, splitAt(60)) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(instance, pool, over));
  await evaluate(fixture.controller, instance);
  for (const rank of over.ranks ?? [0]) await agent.ack(instance, 1, "verified", { rank });
  await fixture.controller.ask("patchPool", {
    params: { pool },
    body: { policy: { name: "static", params: { allocation: splitAt(70) } } },
    headers: { "if-match": "*" },
  });
  /** Offers 70 % as generation 2. */
  const move = () => evaluate(fixture.controller, instance);
  return { pool, instance, agent, move };
}

/** Oldest first, without the settling one. */
async function rolloutsOf(instance: string) {
  const { items } = await fixture.controller.ask("listReconfigurations", { query: { instance } });
  return items.reverse().filter(({ generation }) => generation > 1);
}

async function stepsOf(id: string): Promise<string[]> {
  const { steps } = await fixture.controller.ask("getReconfiguration", { params: { id } });
  return steps.map(({ step, attempt }) => `${step} ${attempt}`);
}

function instanceOf(instance: string) {
  return fixture.controller.ask("getInstance", { params: { instance } });
}

async function assignmentOf(agent: TestAgent) {
  return (await agent.poll())!.assignments.at(0)!;
}

test("a failure that may pass is offered again, as the next attempt of the same generation", async () => {
  const { instance, agent, move } = await aSettledInstance();
  await move();
  expect(await agent.ack(instance, 2, "failed", { failure: passing })).toBe("applied");
  await expect.poll(async () => (await assignmentOf(agent)).attempt, SOON).toBe(2);
  expect(await assignmentOf(agent)).toMatchObject({ generation: 2, attempt: 2, allocation: splitAt(70) });
  expect(await agent.ack(instance, 2, "ready", { attempt: 1 })).toBe("stale");
  await agent.carryOut(instance, 2, { attempt: 2 });
  const rollout = (await rolloutsOf(instance)).at(0);
  // It came good: what went wrong before is told by its steps.
  expect(rollout).toMatchObject({ state: "verified", attempt: 2, failure: null });
  expect(await stepsOf(rollout!.id)).toEqual([
    "offered 1",
    "failed 1",
    "offered 2",
    "preparing 2",
    "ready 2",
    "switched 2",
    "verified 2",
  ]);
});

test("a silent agent: every attempt times out, then the last good allocation comes back as a new generation", async () => {
  const { instance, agent, move } = await aSettledInstance();
  await move();
  await expect.poll(async () => (await rolloutsOf(instance)).length, SOON).toBe(2);
  const [lost, back] = await rolloutsOf(instance);
  expect(lost).toMatchObject({
    state: "rolled_back",
    attempt: MAX_ATTEMPTS,
    generation: 2,
    failure: "nothing was heard in state offered until the deadline",
  });
  expect(back).toMatchObject({ kind: "rollback", generation: 3, to: splitAt(60), decision: lost?.decision });
  expect(await assignmentOf(agent)).toMatchObject({
    generation: 3,
    allocation: splitAt(60),
    reason: "ROLLBACK",
  });
});

test("an agent that falls silent half way is not waited for either", async () => {
  const { instance, agent, move } = await aSettledInstance();
  await move();
  await agent.ack(instance, 2, "preparing");
  await agent.ack(instance, 2, "ready");
  await expect.poll(async () => (await rolloutsOf(instance))[0]?.state, SOON).toBe("rolled_back");
  const rollout = (await rolloutsOf(instance)).at(0);
  expect(await stepsOf(rollout!.id)).toEqual([
    "offered 1",
    "preparing 1",
    "ready 1",
    "offered 2",
    "rolled_back 2",
  ]);
});

test("a failure that will not pass rolls back at once, and the rollback that is carried out is the new last good", async () => {
  const { instance, agent, move } = await aSettledInstance();
  await move();
  await agent.ack(instance, 2, "failed", { failure: lasting });
  const [lost, back] = await rolloutsOf(instance);
  expect(lost).toMatchObject({ state: "rolled_back", attempt: 1, failure: "driver_gone: no such device" });
  expect(back).toMatchObject({ kind: "rollback", generation: 3 });
  await agent.carryOut(instance, 3);
  const settled = await instanceOf(instance);
  expect(settled.desired).toEqual({ ...splitAt(60), generation: 3 });
  expect(settled.lastGood).toEqual({ ...splitAt(60), generation: 3 });
  expect(settled.conditions).not.toContain("Degraded");
  const { items } = await fixture.controller.ask("listAudit", {
    query: { subject: `instance/${instance}`, limit: 8 },
  });
  expect(items.map(({ action }) => action)).toEqual([
    "reconfiguration.verified",
    "rank.verified",
    "rank.switched",
    "rank.ready",
    "rank.preparing",
    "reconfiguration.rolled_back",
    "rank.failed",
    "decision.applied",
  ]);
});

test("before anything was ever verified, a rollback goes to what the engine was first seen running", async () => {
  await fixture.controller.ask("createPool", { body: staticPool("virgin", splitAt(60)) });
  const agent = new TestAgent(fixture.controller, "virgin-agent");
  await agent.register(registrationEntry("virgin-i", "virgin"));
  await evaluate(fixture.controller, "virgin-i");
  await agent.ack("virgin-i", 1, "failed", { failure: lasting });
  expect(await assignmentOf(agent)).toMatchObject({ generation: 2, allocation: RUNNING });
});

test("a rollback that fails too is left to a person: failed, and the instance is Degraded until one works", async () => {
  const { pool, instance, agent, move } = await aSettledInstance();
  await move();
  await agent.ack(instance, 2, "failed", { failure: lasting });
  await agent.ack(instance, 3, "failed", { failure: lasting });
  const rollouts = await rolloutsOf(instance);
  expect(rollouts.map(({ state, kind }) => [kind, state])).toEqual([
    ["decision", "rolled_back"],
    ["rollback", "failed"],
  ]);
  const degraded = await instanceOf(instance);
  expect(degraded.conditions).toContain("Degraded");
  expect(degraded.rollout).toBeNull();
  expect(degraded.lastGood).toEqual({ ...splitAt(60), generation: 1 });

  // A day later the operator's target is tried again, works, and the condition goes.
  await fixture.controller.ask("patchPool", {
    params: { pool },
    body: { policy: { name: "static", params: { allocation: splitAt(65) } } },
    headers: { "if-match": "*" },
  });
  expect(await evaluate(fixture.controller, instance, Date.now() + 86_400_000)).toBe(true);
  await agent.carryOut(instance, 4);
  expect((await instanceOf(instance)).conditions).not.toContain("Degraded");
});

describe("what a person sets by hand and what is not reached", () => {
  const body = { ttlMs: 600_000, reason: "a trial" };
  const byHand = {
    override: (instance: string) =>
      fixture.controller.ask("overrideInstance", {
        params: { instance },
        body: { ...body, allocation: splitAt(30) },
      }),
    rollback: (instance: string) =>
      fixture.controller.ask("rollbackInstance", { params: { instance }, body: { ...body, generation: 0 } }),
  };
  const holdOf = async (instance: string, id: string) => {
    const { items } = await fixture.controller.ask("listHolds", { query: { instance } });
    return items.find((hold) => hold.id === id);
  };

  test.each(["override", "rollback"] as const)(
    "a silent agent: the hold ends with the reason, and does not pin what nobody chose: %s",
    async (what) => {
      const { instance, agent } = await aSettledInstance();
      const { id } = await byHand[what](instance);
      await expect.poll(async () => (await holdOf(instance, id))?.active, SOON).toBe(false);
      const ended = await holdOf(instance, id);
      expect(ended).toMatchObject({
        endedBy: "controller",
        endReason:
          "not reached: nothing was heard in state offered until the deadline; " +
          "it goes back to prefill 60 %, decode 40 %, KV quota 100 %",
      });
      await agent.carryOut(instance, 3);
      const { desired, pinned } = await instanceOf(instance);
      expect([desired, pinned]).toEqual([{ ...splitAt(60), generation: 3 }, false]);
      const { items } = await fixture.controller.ask("listAudit", {
        query: { subject: `instance/${instance}` },
      });
      expect(items.find(({ action }) => action === "hold.end")).toMatchObject({
        actor: "controller",
        before: { id, active: true },
        after: { id, active: false, endReason: ended!.endReason },
      });
      // The policy is free again, once it has waited as after any rollback.
      expect(await evaluate(fixture.controller, instance, Date.now() + 300_000)).toBe(true);
    },
  );

  test("a failure that will not pass ends it too; a pin beside it stays", async () => {
    const { instance, agent } = await aSettledInstance();
    await fixture.controller.ask("pinInstance", { params: { instance }, body: { reason: "mine" } });
    const { id } = await byHand.override(instance);
    await agent.ack(instance, 2, "failed", { failure: lasting });
    expect((await holdOf(instance, id))?.endReason).toMatch(/^not reached: driver_gone: no such device; /);
    expect(await instanceOf(instance)).toMatchObject({ pinned: true, desired: { generation: 3 } });
  });

  test("one that was reached is held until its end, whatever fails before it is", async () => {
    const { instance, agent } = await aSettledInstance();
    const { id } = await byHand.override(instance);
    await agent.ack(instance, 2, "failed", { failure: passing });
    await expect.poll(async () => (await assignmentOf(agent)).attempt, SOON).toBe(2);
    await agent.carryOut(instance, 2, { attempt: 2 });
    expect(await holdOf(instance, id)).toMatchObject({ active: true, endedBy: null });
  });
});

describe("a group of two ranks", () => {
  const two = { rankCount: 2, ranks: [0, 1] };
  test("is offered again as a whole when one rank fails", async () => {
    const { instance, agent, move } = await aSettledInstance(two);
    await move();
    await agent.ack(instance, 2, "ready", { rank: 0 });
    await agent.ack(instance, 2, "failed", { rank: 1, failure: passing });
    await expect.poll(async () => (await assignmentOf(agent)).attempt, SOON).toBe(2);
    for (const rank of [0, 1]) await agent.carryOut(instance, 2, { rank, attempt: 2 });
    expect((await rolloutsOf(instance))[0]).toMatchObject({ state: "verified" });
  });
  test("keeps its appointment to try again, whatever the other rank says meanwhile", async () => {
    const { instance, agent, move } = await aSettledInstance(two);
    await move();
    for (const rank of [0, 1]) await agent.ack(instance, 2, "preparing", { rank });
    await agent.ack(instance, 2, "failed", { rank: 1, failure: passing });
    const deadlineOf = async () => {
      const [row] = await fixture.controller.source.query(
        "SELECT r.deadline_at FROM reconfigurations r JOIN instances i ON i.id = r.instance_id WHERE i.name = $1 AND r.generation = 2",
        [instance],
      );
      return row.deadline_at.getTime();
    };
    const appointed = await deadlineOf();
    if ((await agent.ack(instance, 2, "ready", { rank: 0 })) === "applied")
      expect(await deadlineOf()).toBe(appointed);
  });
});

test("generations of an instance only ever grow, whatever fails", async () => {
  const { instance, agent, move } = await aSettledInstance();
  const seen: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    await move();
    const { generation } = await assignmentOf(agent);
    await agent.ack(instance, generation, "failed", { failure: lasting });
    const after = await assignmentOf(agent);
    await agent.ack(instance, after.generation, "verified");
    seen.push(generation, after.generation);
  }
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
});

test("losing everything in the queue only delays: the rollout still ends", async () => {
  const { instance, move } = await aSettledInstance();
  const { source } = fixture.controller;
  const count = async (what: string) => {
    const [row] = await source.query(`SELECT count(*)::int AS count FROM bullmq.${what}`);
    return row.count;
  };
  const watches = () => count("job WHERE name = 'watch' AND state = 'delayed'");
  // Other tests' rollouts end; then the one watch is this rollout's.
  await expect.poll(watches, SOON).toBe(0);
  await move();
  await expect.poll(watches, { timeout: 5_000, interval: 5 }).toBe(1);
  await source.query("DELETE FROM bullmq.job");
  await source.query("DELETE FROM bullmq.scheduler");
  await expect.poll(async () => (await rolloutsOf(instance))[0]?.state, SOON).toBe("rolled_back");
  // And what comes by the clock, housekeeping, is back.
  await expect.poll(() => count("scheduler"), SOON).toBe(1);
}, 60_000);

describe("an engine that stands still after a verified change", () => {
  const stalled = { entry: { conditions: ["NoProgress"] } };

  test("gets back what it ran before, once, and the change waits", async () => {
    const { instance, agent, move } = await aSettledInstance();
    await move();
    await agent.carryOut(instance, 2);
    const answer = await agent.report(instance, stalled);
    expect(answer.assignments).toMatchObject([{ instance, generation: 3, allocation: splitAt(60) }]);
    await agent.report(instance, stalled);
    const rollouts = await rolloutsOf(instance);
    expect(rollouts).toMatchObject([
      { generation: 2, kind: "decision", state: "rolled_back", failure: expect.stringContaining("no token") },
      { generation: 3, kind: "rollback", state: "offered", to: splitAt(60) },
    ]);
    await agent.carryOut(instance, 3);
    await agent.report(instance, stalled);
    expect(await instanceOf(instance)).toMatchObject({ desired: { generation: 3 } });
  });

  test("of a person's pin nothing is taken back", async () => {
    const { instance, agent, move } = await aSettledInstance();
    await move();
    await agent.carryOut(instance, 2);
    await fixture.controller.ask("pinInstance", { params: { instance }, body: { reason: "a trial" } });
    await agent.report(instance, stalled);
    expect(await instanceOf(instance)).toMatchObject({ desired: { generation: 2 } });
  });
});
