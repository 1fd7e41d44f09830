import type { AckOutcome, RankStep } from "@fulcrum/contracts/agent-api.js";
import { openReconfigurations } from "@fulcrum/controller/reconfigurations/open-reconfiguration.js";
import { describe, expect, test } from "vitest";

import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { ack, registrationEntry, RUNNING, splitAt, staticPool } from "../support/wire.js";

// Nothing times out here: what happens is what agents say.
const HOUR = "3600000";
const fixture = useControllers({
  replicas: 2,
  env: {
    FULCRUM_OFFER_TIMEOUT_MS: HOUR,
    FULCRUM_PREPARE_TIMEOUT_MS: HOUR,
    FULCRUM_SWITCH_TIMEOUT_MS: HOUR,
    FULCRUM_VERIFY_TIMEOUT_MS: HOUR,
  },
});

let made = 0;

/** An instance of one rank whose rollout of generation 1, to 60 %, is open. */
async function anOpenRollout(over: Parameters<typeof registrationEntry>[2] = {}) {
  made += 1;
  const pool = `re-${made}`;
  const instance = `${pool}-i`;
  await fixture.controller.ask("createPool", { body: staticPool(pool, splitAt(60)) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(instance, pool, over));
  const open = async () => {
    if (!(await evaluate(fixture.controller, instance))) throw new Error(`${instance}: nothing was decided`);
  };
  return { pool, instance, agent, open };
}

/** Of the newest rollout. */
async function rolloutOf(instance: string) {
  const { items } = await fixture.controller.ask("listReconfigurations", { query: { instance } });
  return fixture.controller.ask("getReconfiguration", { params: { id: items.at(0)!.id } });
}

function stateOf(instance: string) {
  return rolloutOf(instance).then(({ state }) => state);
}

test("one rank: offered, preparing, ready, switched, verified, with the time of each step", async () => {
  const { agent, instance, open } = await anOpenRollout();
  await open();
  expect(await stateOf(instance)).toBe("offered");
  for (const step of ["preparing", "ready", "switched", "verified"] as const) {
    expect(await agent.ack(instance, 1, step, { delivered: step === "verified" ? splitAt(59) : null })).toBe(
      "applied",
    );
    expect(await stateOf(instance)).toBe(step);
  }
  const rollout = await rolloutOf(instance);
  expect(rollout.steps.map(({ step, rank }) => [step, rank])).toEqual([
    ["offered", null],
    ["preparing", 0],
    ["ready", 0],
    ["switched", 0],
    ["verified", 0],
  ]);
  const times = rollout.steps.map(({ at }) => Date.parse(at));
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  // What was asked and what was delivered are two fields.
  expect(rollout.to).toEqual(splitAt(60));
  expect(rollout.steps.at(-1)?.delivered).toEqual(splitAt(59));
  expect(rollout.ranks).toEqual([{ rank: 0, step: "verified" }]);
  expect(rollout.endedAt).not.toBeNull();
  expect(rollout.durationMs).toBe(Date.parse(rollout.endedAt!) - Date.parse(rollout.createdAt));
});

test("a rank may skip steps that it did not notice", async () => {
  const { agent, instance, open } = await anOpenRollout();
  await open();
  expect(await agent.ack(instance, 1, "verified")).toBe("applied");
  expect(await stateOf(instance)).toBe("verified");
});

test("two ranks on two nodes: the group is only as far as the slower one", async () => {
  const { pool, instance, agent, open } = await anOpenRollout({ rankCount: 2, ranks: [0] });
  const second = new TestAgent(fixture.controller, `${pool}-second`);
  await second.register(registrationEntry(instance, pool, { rankCount: 2, ranks: [1] }));
  await open();
  const say = (rank: 0 | 1, step: RankStep) =>
    rank === 0 ? agent.ack(instance, 1, step) : second.ack(instance, 1, step, { rank: 1 }, fixture.other);
  const seen: [0 | 1, RankStep, string][] = [
    [0, "preparing", "offered"],
    [0, "ready", "offered"],
    [1, "preparing", "preparing"],
    [0, "switched", "preparing"],
    [1, "ready", "ready"],
    [0, "verified", "ready"],
    [1, "switched", "switched"],
    [1, "verified", "verified"],
  ];
  for (const [rank, step, state] of seen) {
    expect(await say(rank, step)).toBe("applied");
    expect([rank, step, await stateOf(instance)]).toEqual([rank, step, state]);
  }
  expect((await rolloutOf(instance)).ranks).toEqual([
    { rank: 0, step: "verified" },
    { rank: 1, step: "verified" },
  ]);
  const { agents } = await fixture.controller.ask("getInstance", { params: { instance } });
  expect(agents).toEqual([agent.name, second.name].toSorted());
});

test("both ranks of a group say verified at the same moment through two replicas: it is verified once", async () => {
  for (let round = 0; round < 5; round += 1) {
    const { instance, agent, open } = await anOpenRollout({ rankCount: 2, ranks: [0, 1] });
    await open();
    const outcomes = await Promise.all([
      agent.ack(instance, 1, "verified", { rank: 0 }, fixture.controller),
      agent.ack(instance, 1, "verified", { rank: 1 }, fixture.other),
    ]);
    expect(outcomes).toEqual(["applied", "applied"]);
    expect(await stateOf(instance)).toBe("verified");
    const { items } = await fixture.controller.ask("listAudit", {
      query: { subject: `instance/${instance}`, action: "reconfiguration.verified" },
    });
    expect(items).toHaveLength(1);
  }
});

test("a group with a rank that no agent looks after is never verified", async () => {
  const { instance, agent, open } = await anOpenRollout({ rankCount: 2, ranks: [0] });
  await open();
  expect(await agent.ack(instance, 1, "verified")).toBe("applied");
  expect(await stateOf(instance)).toBe("offered");
});

describe("an acknowledgement that tells nothing new changes nothing", () => {
  const cases: [string, Partial<ReturnType<typeof ack>>, AckOutcome][] = [
    ["a repeated one", { step: "ready" }, "repeat"],
    ["one out of order", { step: "preparing" }, "repeat"],
    ["one of an older generation", { generation: 0, step: "verified" }, "stale"],
    ["one of a generation that was never offered", { generation: 7, step: "verified" }, "stale"],
    ["one of an attempt that is not open", { attempt: 2, step: "verified" }, "stale"],
    ["one of a rank that does not exist", { rank: 5, step: "verified" }, "unknown"],
    ["one of an instance that does not exist", { instance: "ghost", step: "verified" }, "unknown"],
  ];
  test.each(cases)("%s", async (_what, over, outcome) => {
    const { instance, agent, open } = await anOpenRollout();
    await open();
    await agent.ack(instance, 1, "ready");
    const before = await rolloutOf(instance);
    expect(await agent.ack(instance, 1, "ready", over)).toBe(outcome);
    expect(await rolloutOf(instance)).toEqual(before);
  });
  test("one of an agent that does not look after the rank", async () => {
    const { instance, open } = await anOpenRollout();
    await open();
    const stranger = new TestAgent(fixture.controller, "stranger");
    await stranger.register();
    expect(await stranger.ack(instance, 1, "verified")).toBe("unknown");
    expect(await stateOf(instance)).toBe("offered");
  });
  test("one after the rollout has ended", async () => {
    const { instance, agent, open } = await anOpenRollout();
    await open();
    await agent.carryOut(instance, 1);
    const before = await rolloutOf(instance);
    expect(
      await agent.ack(instance, 1, "failed", { failure: { code: "late", message: "", retryable: false } }),
    ).toBe("repeat");
    expect(await rolloutOf(instance)).toEqual(before);
    expect((await fixture.controller.ask("getInstance", { params: { instance } })).desired.generation).toBe(
      1,
    );
  });
});

test("many acknowledgements in one request are each answered, in their order", async () => {
  const one = await anOpenRollout();
  const two = await anOpenRollout();
  await one.open();
  await two.open();
  const acks = [
    ack(two.instance, 1, "preparing"),
    ack(one.instance, 1, "preparing"),
    ack(one.instance, 1, "verified"),
    ack("ghost", 1, "verified"),
    ack(one.instance, 1, "verified"),
  ];
  const { results } = await fixture.controller.ask("acknowledge", {
    body: { agent: one.agent.name, sentAtMs: Date.now(), acks },
  });
  expect(results.map(({ instance, outcome }) => [instance, outcome])).toEqual([
    [two.instance, "unknown"],
    [one.instance, "applied"],
    [one.instance, "applied"],
    ["ghost", "unknown"],
    [one.instance, "repeat"],
  ]);
});

test("acknowledgements of many instances in opposite orders do not stand in each other's way", async () => {
  const pool = "crossed";
  await fixture.controller.ask("createPool", { body: staticPool(pool, splitAt(60)) });
  const instances = Array.from({ length: 16 }, (_, index) => `crossed-${index}`);
  const agent = new TestAgent(fixture.controller, "crossed-agent");
  await agent.register(
    ...instances.map((name) => registrationEntry(name, pool, { rankCount: 2, ranks: [0, 1] })),
  );
  for (const name of instances) await evaluate(fixture.controller, name);
  for (const step of ["preparing", "ready", "switched", "verified"] as const) {
    const request = (names: string[], rank: number) => ({
      agent: agent.name,
      sentAtMs: Date.now(),
      acks: names.map((name) => ack(name, 1, step, { rank })),
    });
    const replies = await Promise.all([
      fixture.controller.call("acknowledge", { body: request(instances, 0) }),
      fixture.other.call("acknowledge", { body: request([...instances].reverse(), 1) }),
    ]);
    expect(replies.map(({ status }) => status)).toEqual([200, 200]);
  }
  const { items } = await fixture.controller.ask("listReconfigurations", { query: { pool, limit: 100 } });
  expect(items.map(({ state }) => state)).toEqual(instances.map(() => "verified"));
});

describe("a rollout that is overtaken", () => {
  test("ends as superseded when a newer generation is made", async () => {
    const { instance, open } = await anOpenRollout();
    await open();
    const { id, to, pool } = await rolloutOf(instance);
    const { items } = await fixture.controller.ask("listInstances", { query: { pool } });
    const poolId = (await fixture.controller.ask("getPool", { params: { pool } })).id;
    const change = (from: number) => ({
      poolId,
      instanceId: items.at(0)!.id,
      decisionId: null,
      kind: "decision" as const,
      reason: "STATIC_TARGET",
      from: { ...to, generation: from },
      to: splitAt(70),
    });
    const make = (from: number) =>
      fixture.controller.source.transaction((manager) =>
        openReconfigurations(manager, [change(from)], 3_600_000),
      );
    // Made from a generation that is not current: nothing happens.
    expect((await make(0)).size).toBe(0);
    expect(await stateOf(instance)).toBe("offered");
    expect((await make(1)).size).toBe(1);
    const first = await fixture.controller.ask("getReconfiguration", { params: { id } });
    expect(first).toMatchObject({ state: "superseded", failure: "superseded by generation 2" });
    expect(await rolloutOf(instance)).toMatchObject({ generation: 2, state: "offered" });
    expect((await make(1)).size).toBe(0);
  });
  test("ends as superseded when its instance is deleted, and its agent has nothing to do any more", async () => {
    const { instance, agent, open } = await anOpenRollout();
    await open();
    await fixture.controller.ask("deleteInstance", { params: { instance } });
    expect(await rolloutOf(instance)).toMatchObject({
      state: "superseded",
      failure: "the instance was deleted",
    });
    expect((await agent.poll())?.assignments).toEqual([]);
    expect(await agent.ack(instance, 1, "verified")).toBe("unknown");
    expect((await fixture.controller.call("getInstance", { params: { instance } })).status).toBe(404);
    // It may come back, as a new instance from generation 0.
    const again = await agent.register(registrationEntry(instance, `re-${made}`));
    expect(again.instances[0]?.assignment).toMatchObject({ generation: 0, allocation: RUNNING });
  });
});

test("rollouts are found by instance, pool and state", async () => {
  const { pool, instance, agent, open } = await anOpenRollout();
  await open();
  await agent.carryOut(instance, 1);
  const find = async (query: Record<string, string>) =>
    (await fixture.controller.ask("listReconfigurations", { query })).items.map(
      ({ generation }) => generation,
    );
  expect(await find({ pool })).toEqual([1]);
  expect(await find({ instance, state: "verified" })).toEqual([1]);
  expect(await find({ instance, state: "offered" })).toEqual([]);
});
