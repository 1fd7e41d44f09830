import { AssignmentService } from "@fulcrum/controller/assignments/assignment.service.js";
import { describe, expect, test } from "vitest";

import { startController, type TestController } from "../support/controller.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, RUNNING, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });
/** Longer than a test may take: a poll that is not woken fails it. */
const LONG_MS = 60_000;
const SOON = { timeout: 10_000, interval: 20 };

let made = 0;

async function anInstance() {
  made += 1;
  const pool = `as-${made}`;
  await fixture.controller.ask("createPool", { body: staticPool(pool, splitAt(60)) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(`${pool}-i`, pool));
  return { agent, instance: `${pool}-i` };
}

/** A poll that is held by the replica until something changes. */
async function heldPoll(agent: TestAgent, via: TestController, options: { signal?: AbortSignal } = {}) {
  const before = (await agent.poll({ via }))!;
  const service = via.app.get(AssignmentService);
  const others = service.waitingPolls;
  const answer = agent.poll({ via, etag: before.etag, waitMs: LONG_MS, ...options });
  answer.catch(() => {});
  await expect.poll(() => service.waitingPolls, SOON).toBe(others + 1);
  return { answer, before };
}

test("without an ETag a poll is answered at once, however long it would wait", async () => {
  const { agent, instance } = await anInstance();
  const answer = await agent.poll({ waitMs: LONG_MS });
  expect(answer?.assignments).toMatchObject([{ instance, generation: 0, attempt: 1, allocation: RUNNING }]);
});

test("with the current ETag a poll waits and ends with 304", async () => {
  const { agent } = await anInstance();
  const first = (await agent.poll())!;
  expect(await agent.poll({ etag: first.etag, waitMs: 50 })).toBeNull();
  expect((await agent.poll({ etag: '"something-old"', waitMs: LONG_MS }))?.etag).toBe(first.etag);
});

test.each(["controller", "other"] as const)(
  "a decision wakes a poll that the %s replica holds",
  async (which) => {
    const { agent, instance } = await anInstance();
    const { answer } = await heldPoll(agent, fixture[which]);
    await evaluate(fixture.controller, instance);
    expect((await answer)?.assignments).toMatchObject([{ instance, generation: 1, allocation: splitAt(60) }]);
  },
);

test("a change for one agent leaves another's poll alone", async () => {
  const one = await anInstance();
  const two = await anInstance();
  const held = await heldPoll(one.agent, fixture.other);
  const moved = await heldPoll(two.agent, fixture.other);
  await evaluate(fixture.controller, two.instance);
  expect((await moved.answer)?.assignments[0]?.generation).toBe(1);
  expect(fixture.other.app.get(AssignmentService).waitingPolls).toBe(1);
  await evaluate(fixture.controller, one.instance);
  expect((await held.answer)?.assignments[0]?.generation).toBe(1);
});

test("a report's own answer carries the new assignment, until the agent says that it runs", async () => {
  const { agent, instance } = await anInstance();
  const first = await agent.report(instance);
  expect(first.assignments).toMatchObject([{ instance, generation: 1, allocation: splitAt(60) }]);
  const again = await agent.report(instance, { via: fixture.other });
  expect(again.assignments).toMatchObject([{ instance, generation: 1 }]);
  const done = await agent.report(instance, { entry: { observed: { ...splitAt(60), generation: 1 } } });
  expect(done.assignments).toEqual([]);
});

test("an agent that gives up its poll is forgotten", async () => {
  const { agent } = await anInstance();
  const abort = new AbortController();
  const { answer } = await heldPoll(agent, fixture.controller, { signal: abort.signal });
  abort.abort();
  await expect(answer).rejects.toThrow();
  await expect.poll(() => fixture.controller.app.get(AssignmentService).waitingPolls, SOON).toBe(0);
});

test("an agent that never registered is told so", async () => {
  const reply = await fixture.controller.call("getAssignments", { query: { agent: "nobody" } });
  expect([reply.status, reply.problem?.detail]).toEqual([404, "Agent nobody has not registered."]);
});

test.each([-1, 60_001, "soon"])("a wait of %s is refused", async (waitMs) => {
  const reply = await fixture.controller.call("getAssignments", { query: { agent: "nobody", waitMs } });
  expect([reply.status, reply.problem?.errors?.[0]?.field]).toEqual([400, "waitMs"]);
});

test("a replica that holds as many polls as it may answers the next at once, with what is current", async () => {
  const { agent, instance } = await anInstance();
  const service = fixture.controller.app.get(AssignmentService);
  Object.assign(service, { waitingCount: 10_000 });
  const first = await agent.poll({ waitMs: LONG_MS });
  expect(first?.assignments).toMatchObject([{ instance, generation: 0 }]);
  expect(await agent.poll({ etag: first!.etag, waitMs: LONG_MS })).toBeNull();
  await evaluate(fixture.controller, instance);
  expect((await agent.poll({ etag: first!.etag, waitMs: LONG_MS }))?.assignments[0]?.generation).toBe(1);
  Object.assign(service, { waitingCount: 0 });
});

describe("the connection that wakes come through", () => {
  const wakes = async () => {
    const [row] = await fixture.controller.source.query(
      `SELECT count(*)::int AS count FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'fulcrum-wake'`,
    );
    return row.count;
  };
  test("comes back when it is cut; a change in between is not missed, nor one after", async () => {
    const { agent, instance } = await anInstance();
    const during = await heldPoll(agent, fixture.other);
    await fixture.controller.source.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'fulcrum-wake'`,
    );
    await evaluate(fixture.controller, instance);
    expect((await during.answer)?.assignments[0]?.generation).toBe(1);
    await expect.poll(wakes, SOON).toBe(2);

    const next = await anInstance();
    const after = await heldPoll(next.agent, fixture.other);
    await evaluate(fixture.controller, next.instance);
    expect((await after.answer)?.assignments[0]?.generation).toBe(1);
  });
});

test("closing a replica lets its polls go at once, with what they had", async () => {
  const third = await startController(fixture.database.url);
  const { agent } = await anInstance();
  const { answer } = await heldPoll(agent, third);
  await third.close();
  // Woken to look once more: nothing is new.
  expect(await answer).toBeNull();
});
