import { expect, test } from "vitest";

import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import {
  instanceReport,
  poolBody,
  registration,
  registrationEntry,
  report,
  splitAt,
  wireWindow,
} from "../support/wire.js";

const fixture = useControllers();

async function aPool(name: string): Promise<void> {
  await fixture.controller.ask("createPool", { body: poolBody(name) });
}

async function assignmentOf(instance: string) {
  return fixture.controller.ask("getInstance", { params: { instance } });
}

test("an instance that was deleted comes back above the generation that its agent has reached", async () => {
  await aPool("back");
  const agent = new TestAgent(fixture.controller, "back-agent");
  const running = splitAt(60);
  const answer = await agent.register(registrationEntry("back-0", "back", { generation: 8, running }));
  const assignment = answer.instances[0]!.assignment;
  // The agent refuses anything below 8, and 8 itself it has settled already.
  expect(assignment).toMatchObject({ generation: 9, allocation: running, reason: "ADOPTED" });
  await agent.carryOut("back-0", 9, { delivered: running });
  const instance = await assignmentOf("back-0");
  expect(instance).toMatchObject({ lastGood: { generation: 9 }, rollout: null });
  const { items } = await fixture.controller.ask("listReconfigurations", { query: { instance: "back-0" } });
  expect(items).toMatchObject([{ kind: "adoption", state: "verified", generation: 9 }]);
  const audit = await fixture.controller.ask("listAudit", { query: { action: "instance.adopt" } });
  expect(audit.items[0]).toMatchObject({ subject: "instance/back-0", after: { generation: 9 } });
});

test("registering again at the generation that is known changes nothing", async () => {
  await aPool("calm");
  const agent = new TestAgent(fixture.controller, "calm-agent");
  await agent.register(registrationEntry("calm-0", "calm", { generation: 3 }));
  const before = await assignmentOf("calm-0");
  await agent.register(registrationEntry("calm-0", "calm", { generation: before.desired.generation }));
  await agent.register(registrationEntry("calm-0", "calm", { generation: 0 }));
  expect((await assignmentOf("calm-0")).desired).toEqual(before.desired);
});

test("a refused registration leaves no trace in what another agent looks after", async () => {
  await aPool("mine");
  const owner = new TestAgent(fixture.controller, "mine-owner");
  await owner.register(registrationEntry("mine-0", "mine"));
  const before = await assignmentOf("mine-0");
  const entry = registrationEntry("mine-0", "mine", { generation: 5 });
  const limits = { ...entry.capabilities.limits, maxSmPct: 20, maxSumPct: 40 };
  const answer = await fixture.controller.ask("register", {
    body: registration("mine-thief", [{ ...entry, capabilities: { ...entry.capabilities, limits } }]),
  });
  expect(answer.rejected).toMatchObject([{ instance: "mine-0", code: "rank_taken", field: "ranks" }]);
  expect(await assignmentOf("mine-0")).toEqual(before);
});

test("a stranger's report without windows does not change what is observed", async () => {
  await aPool("seen");
  const owner = new TestAgent(fixture.controller, "seen-owner");
  await owner.register(registrationEntry("seen-0", "seen"));
  await owner.report("seen-0");
  const before = await assignmentOf("seen-0");
  const thief = new TestAgent(fixture.controller, "seen-thief");
  await thief.register();
  const observed = { ...splitAt(7), generation: 2_147_483_647 };
  const forged = instanceReport("seen-0", [], { observed, conditions: ["Pwned"] });
  const reply = await fixture.controller.call("report", {
    body: report(thief.name, [forged]),
    key: await thief.key(),
  });
  expect(reply.status).toBe(422);
  const { observed: still, conditions } = await assignmentOf("seen-0");
  expect({ still, conditions }).toEqual({ still: before.observed, conditions: before.conditions });
});

test.each([
  {
    name: "a rank named twice",
    over: { ranks: [0, 0], rankCount: 2 },
    status: 400,
    field: "instances.0.ranks",
  },
  {
    name: "a generation past its bound",
    over: { generation: 2 ** 31 },
    status: 400,
    field: "instances.0.generation",
  },
])("$name is refused, and the field named", async ({ over, status, field }) => {
  const body = registration("odd-agent", [registrationEntry("odd-0", "odd", over)]);
  const reply = await fixture.controller.call("register", { body });
  expect(reply.status).toBe(status);
  expect(reply.problem?.errors?.map((error) => error.field)).toContain(field);
});

test("limits that leave no split are refused, and the bound named", async () => {
  await aPool("narrow");
  const entry = registrationEntry("narrow-0", "narrow");
  const limits = { ...entry.capabilities.limits, minSmPct: 90, maxSmPct: 10 };
  const answer = await fixture.controller.ask("register", {
    body: registration("narrow-agent", [{ ...entry, capabilities: { ...entry.capabilities, limits } }]),
  });
  expect(answer.rejected).toMatchObject([
    { code: "invalid_limits", field: "capabilities.limits.minSmPct", detail: expect.stringContaining("90") },
  ]);
});

test("what is said to be verified is held against what was asked", async () => {
  await aPool("told");
  const agent = new TestAgent(fixture.controller, "told-agent");
  await agent.register(registrationEntry("told-0", "told", { generation: 1, running: splitAt(60) }));
  for (const step of ["preparing", "ready", "switched"] as const) await agent.ack("told-0", 2, step);
  expect(await agent.ack("told-0", 2, "verified", { delivered: splitAt(1) })).toBe("applied");
  const { items } = await fixture.controller.ask("listReconfigurations", { query: { instance: "told-0" } });
  expect(items[0]).toMatchObject({ state: expect.not.stringContaining("verified") });
  expect(items[0]!.failure).toContain("delivered_differs");
});

test("a window of the next report is taken as soon as the instance is back", async () => {
  await aPool("again");
  const agent = new TestAgent(fixture.controller, "again-agent");
  await agent.register(registrationEntry("again-0", "again"));
  await agent.report("again-0");
  await fixture.controller.ask("deleteInstance", { params: { instance: "again-0" } });
  const lost = await fixture.controller.call("report", {
    body: report(agent.name, [instanceReport("again-0", [wireWindow(2)])]),
  });
  expect(lost.status).toBe(422);
  const answer = await agent.register(registrationEntry("again-0", "again", { generation: 4 }));
  expect(answer.instances[0]).toMatchObject({ lastSeq: 0, assignment: { generation: 5 } });
  expect((await agent.report("again-0")).accepted).toMatchObject([{ instance: "again-0" }]);
});
