/** The barrier of groups under several agents (docs/operations.md), as agents and two replicas meet it. */
import type { Ack, RankStep } from "@fulcrum/contracts/agent-api.js";
import { describe, expect, test } from "vitest";

import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, splitAt, staticPool } from "../support/wire.js";

// Only the gate's own deadlines pass here.
const HOUR = "3600000";
const fixture = useControllers({
  replicas: 2,
  env: {
    FULCRUM_OFFER_TIMEOUT_MS: HOUR,
    FULCRUM_PREPARE_TIMEOUT_MS: HOUR,
    FULCRUM_SWITCH_TIMEOUT_MS: HOUR,
    FULCRUM_VERIFY_TIMEOUT_MS: HOUR,
    FULCRUM_MAX_ATTEMPTS: "2",
    FULCRUM_RETRY_BACKOFF_MS: "50",
  },
});
const SOON = { timeout: 20_000, interval: 50 };
const failure = { code: "too_late", message: "", retryable: true };
const at = (prefill: number, decode: number, prefillPerS = 0, decodePerS = 0): Partial<Ack> => ({
  iterations: { prefill, decode, prefillPerS, decodePerS },
});

let made = 0;

/** A group of two ranks under two agents, whose rollout of generation 1 is open. Rank 1 speaks to the other replica. */
async function aGroup(over: { readonly waits?: readonly [boolean, boolean] } = {}) {
  const { waits = [true, true] } = over;
  made += 1;
  const pool = `gate-${made}`;
  const instance = `${pool}-i`;
  await fixture.controller.ask("createPool", { body: staticPool(pool, splitAt(60)) });
  const replicas = [fixture.controller, fixture.other];
  const agents = [0, 1].map((rank) => new TestAgent(fixture.controller, `${pool}-agent-${rank}`));
  for (const [rank, agent] of agents.entries()) {
    const barrier = waits[rank] ? { barrier: true } : {};
    await agent.register(registrationEntry(instance, pool, { rankCount: 2, ranks: [rank], ...barrier }));
  }
  await evaluate(fixture.controller, instance);
  const say = (rank: 0 | 1, step: RankStep, more: Partial<Ack> = {}) =>
    agents[rank]!.ack(instance, 1, step, { rank, ...more }, replicas[rank]);
  const offered = async (rank: 0 | 1) => (await agents[rank]!.poll())!.assignments[0]!;
  const rollout = async () => {
    const { items } = await fixture.controller.ask("listReconfigurations", { query: { instance } });
    return fixture.controller.ask("getReconfiguration", { params: { id: items.at(0)!.id } });
  };
  return { pool, instance, agents, say, offered, rollout };
}

test("until both are ready each is told to wait; then both are told the same iterations, ahead of either", async () => {
  const { instance, agents, say, offered, rollout } = await aGroup();
  expect((await offered(0)).commit).toBeNull();
  await say(0, "ready", at(1_000, 50_000, 4, 40));
  expect((await offered(0)).commit).toBeNull();
  const { etag } = (await agents[0]!.poll())!;
  const woken = agents[0]!.poll({ etag, waitMs: 10_000 });
  await say(1, "ready", at(1_001, 49_990, 20, 30));
  const assignment = (await woken)!.assignments[0]!;
  const { switchAt } = assignment.commit!;
  // 3 s ahead at the least rates (40/s, 100/s), which both exceed those told; what the furthest did since it told counts
  // at its own rate, for at most 3 s.
  expect(switchAt!.prefill).toBeGreaterThanOrEqual(1_001 + 120);
  expect(switchAt!.prefill).toBeLessThanOrEqual(1_001 + 120 + 60);
  expect(switchAt!.decode).toBeGreaterThanOrEqual(50_000 + 300);
  expect(switchAt!.decode).toBeLessThanOrEqual(50_000 + 300 + 120);
  expect(await offered(1)).toEqual(assignment);
  // It comes with a report and with a registration too.
  const reported = await agents[0]!.report(instance);
  expect(reported.assignments[0]).toEqual(assignment);
  expect((await rollout()).state).toBe("ready");
  for (const step of ["armed", "switched", "verified"] as const)
    for (const rank of [0, 1] as const) expect(await say(rank, step)).toBe("applied");
  expect((await rollout()).state).toBe("verified");
  expect((await offered(0)).commit).toBeUndefined();
});

test("the last two ready at the same moment through two replicas: the gate opens once, with both in it", async () => {
  for (let round = 0; round < 8; round += 1) {
    const { say, offered, rollout } = await aGroup();
    await Promise.all([say(0, "ready", at(100, 100)), say(1, "ready", at(5_000, 6_000))]);
    const [first, second] = [await offered(0), await offered(1)];
    expect(first.commit?.switchAt).toEqual({ prefill: 5_120, decode: 6_300 });
    expect(second).toEqual(first);
    const { steps } = await rollout();
    expect(steps.filter(({ step }) => step === "gate_opened")).toHaveLength(1);
  }
});

test("one rank fails at the moment at which the other is ready: never does one go while the other has failed", async () => {
  for (let round = 0; round < 8; round += 1) {
    const { say, offered, rollout } = await aGroup();
    await say(1, "preparing");
    await Promise.all([
      say(0, "ready", at(100, 100)),
      say(1, "failed", { failure: { ...failure, retryable: false } }),
    ]);
    expect((await rollout()).kind).toBe("rollback");
    expect(await offered(0)).toMatchObject({ generation: 2, reason: "ROLLBACK" });
  }
});

describe("the open gate", () => {
  test("is closed with a new attempt, at once and for both, when an engine says that it is too late", async () => {
    const { agents, say, offered, rollout } = await aGroup();
    await say(0, "ready", at(100, 100));
    await say(1, "ready", at(100, 100));
    await say(0, "armed");
    const { etag } = (await agents[0]!.poll())!;
    const woken = agents[0]!.poll({ etag, waitMs: 10_000 });
    await say(1, "failed", { failure });
    expect((await woken)!.assignments[0]).toMatchObject({ generation: 1, attempt: 2, commit: null });
    expect(await offered(1)).toMatchObject({ generation: 1, attempt: 2, commit: null });
    // What was on its way is of an attempt that is over.
    expect(await say(0, "armed")).toBe("stale");
    await say(0, "ready", { attempt: 2, ...at(200, 200) });
    await say(1, "ready", { attempt: 2, ...at(210, 190) });
    expect((await offered(0)).commit?.switchAt).toEqual({ prefill: 330, decode: 500 });
    expect((await rollout()).attempt).toBe(2);
  });

  test("is closed when an engine is not heard to have the iteration in time, and in the end all goes back", async () => {
    const { say, offered, rollout } = await aGroup();
    for (const attempt of [1, 2]) {
      await expect.poll(async () => (await offered(0)).attempt, SOON).toBe(attempt);
      for (const rank of [0, 1] as const) await say(rank, "ready", { attempt, ...at(100, 100) });
      await say(0, "armed", { attempt });
    }
    await expect.poll(async () => (await rollout()).kind, SOON).toBe("rollback");
    // One may have switched after all, so the way back has a gate too.
    expect(await offered(0)).toMatchObject({ generation: 2, commit: null });
  });

  test("stays open while all wait for an iteration that comes late: taking it back could part them", async () => {
    const { instance, say, offered } = await aGroup();
    for (const rank of [0, 1] as const) await say(rank, "ready", at(100, 100));
    for (const rank of [0, 1] as const) await say(rank, "armed");
    const [row] = await fixture.controller.source.query(
      `SELECT r.deadline_at FROM reconfigurations r JOIN instances i ON i.id = r.instance_id WHERE i.name = $1`,
      [instance],
    );
    expect(row.deadline_at.getTime() - Date.now()).toBeGreaterThan(3_600_000);
    expect((await offered(0)).attempt).toBe(1);
  });

  test("when nobody was there to call them back in time, what the ranks have done is heard first", async () => {
    const { instance, say, rollout } = await aGroup();
    for (const rank of [0, 1] as const) await say(rank, "ready", at(100, 100));
    // As if the controller had been away since, for ten seconds.
    await fixture.controller.source.query(
      `UPDATE instances SET gate = jsonb_set(gate, '{openedAtMs}', to_jsonb((gate->>'openedAtMs')::float8 - 1e4)) WHERE name = $1`,
      [instance],
    );
    await fixture.controller.source.query(
      `UPDATE reconfigurations r SET deadline_at = deadline_at - interval '10 s' FROM instances i WHERE i.id = r.instance_id AND i.name = $1`,
      [instance],
    );
    const deadlineMs = async () => {
      const [row] = await fixture.controller.source.query(
        `SELECT r.deadline_at FROM reconfigurations r JOIN instances i ON i.id = r.instance_id WHERE i.name = $1`,
        [instance],
      );
      return row.deadline_at.getTime();
    };
    await expect.poll(deadlineMs, SOON).toBeGreaterThan(Date.now() + 60_000);
    for (const rank of [0, 1] as const) expect(await say(rank, "verified")).toBe("applied");
    expect(await rollout()).toMatchObject({ state: "verified", attempt: 1 });
  });

  test("names no iteration when an engine does not count, or when one has switched already", async () => {
    const uncounted = await aGroup();
    await uncounted.say(0, "ready", at(100, 100));
    await uncounted.say(1, "ready");
    expect((await uncounted.offered(0)).commit).toEqual({ switchAt: null });
    const parted = await aGroup();
    await parted.say(0, "verified");
    expect((await parted.offered(1)).commit).toBeNull();
    await parted.say(1, "ready", at(100, 100));
    expect((await parted.offered(1)).commit).toEqual({ switchAt: null });
  });
});

test("a rank that never gets ready: the way back has no gate, for nothing has moved", async () => {
  const { say, offered, rollout } = await aGroup();
  await say(0, "ready", at(100, 100));
  await say(1, "failed", { failure: { code: "gone", message: "", retryable: false } });
  expect((await rollout()).kind).toBe("rollback");
  for (const rank of [0, 1] as const) {
    const back = await offered(rank);
    expect(back.generation).toBe(2);
    expect(back).not.toHaveProperty("commit");
  }
});

describe("there is no gate", () => {
  test("where one agent moves all ranks", async () => {
    await fixture.controller.ask("createPool", { body: staticPool("alone", splitAt(60)) });
    const agent = new TestAgent(fixture.controller, "alone-agent");
    await agent.register(
      registrationEntry("alone-i", "alone", { rankCount: 2, ranks: [0, 1], barrier: true }),
    );
    await evaluate(fixture.controller, "alone-i");
    expect((await agent.poll())!.assignments[0]).not.toHaveProperty("commit");
  });

  test("where one of the agents would not wait; it is not sent a field that it does not know", async () => {
    const { offered } = await aGroup({ waits: [true, false] });
    expect(await offered(0)).not.toHaveProperty("commit");
    expect(await offered(1)).not.toHaveProperty("commit");
  });

  test("but there is one while a rank has no agent yet", async () => {
    await fixture.controller.ask("createPool", { body: staticPool("half", splitAt(60)) });
    const agent = new TestAgent(fixture.controller, "half-agent");
    await agent.register(registrationEntry("half-i", "half", { rankCount: 2, ranks: [0], barrier: true }));
    await evaluate(fixture.controller, "half-i");
    await agent.ack("half-i", 1, "ready", at(1, 1));
    expect((await agent.poll())!.assignments[0]!.commit).toBeNull();
  });
});
