import { createConnection } from "node:net";
import { expect, test } from "vitest";

import { until } from "../process/support/until.js";
import { startController } from "../support/controller.js";
import { EventClient } from "../support/event-client.js";
import { TestAgent } from "../support/test-agent.js";
import { errorsOf, useControllers } from "../support/use-controllers.js";
import { poolBody, registrationEntry, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });

async function anAgent(pool: string, ...instances: string[]): Promise<TestAgent> {
  await fixture.controller.ask("createPool", { body: poolBody(pool) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(...instances.map((name) => registrationEntry(name, pool)));
  return agent;
}

/** Where each window of the instance ended, as the stream told it. */
function ends(client: EventClient, instance: string): number[] {
  return client
    .settled("window")
    .filter((event) => event.instance === instance)
    .map(({ atMs }) => atMs);
}

/** `count` windows, a second apart from `fromMs` on, so that each can be told from the others. */
async function reportFrom(
  agent: TestAgent,
  instance: string,
  fromMs: number,
  count: number,
): Promise<number[]> {
  const at = Array.from({ length: count }, (_, i) => fromMs + i * 10);
  for (const endAtMs of at) await agent.report(instance, { window: { endAtMs } });
  return at;
}

test("a window that one replica stored shows on the other's stream, with what it says against the SLO", async () => {
  const agent = await anAgent("across", "across-i");
  const client = await EventClient.open(fixture.other);
  const endAtMs = Date.now();
  await agent.report("across-i", { via: fixture.controller, window: { endAtMs } });
  await until("the window is told", () => ends(client, "across-i").includes(endAtMs));
  const [told] = client.of("window").filter(({ instance }) => instance === "across-i");
  expect(told).toMatchObject({
    atMs: endAtMs,
    arrivalPerS: 10,
    split: { prefillSmPct: 50, decodeSmPct: 50 },
    kvQuotaPct: 100,
    generation: 0,
    attainmentShare: 1,
  });
  expect(told!.kvUsedShare).toBeCloseTo(100_000 / 440_000, 6);
  // 50 samples of 200 ms lie in the bucket from 181.9 to 227.4 ms.
  expect(told!.ttftMs).toBeGreaterThan(181);
  expect(told!.ttftMs).toBeLessThan(228);
  client.close();
});

test("moves, rollouts and holds are told by their ids", async () => {
  const { controller, other } = fixture;
  await controller.ask("createPool", { body: staticPool("facts", splitAt(60)) });
  const agent = new TestAgent(controller, "facts-agent");
  await agent.register(registrationEntry("facts-i", "facts"));
  const client = await EventClient.open(other, { instance: "facts-i" });
  await agent.report("facts-i");
  await agent.carryOut("facts-i", 1, { delivered: splitAt(60) });
  await controller.ask("pinInstance", { params: { instance: "facts-i" }, body: { reason: "look here" } });
  const [summary] = (await controller.ask("listDecisions", { query: { instance: "facts-i", kind: "move" } }))
    .items;
  const decision = await controller.ask("getDecision", { params: { id: summary!.id } });
  await until("the decision is told", () => client.of("decision").some(({ id }) => id === decision.id));
  await until("the rollout's end is told", () =>
    client.of("rollout").some(({ id, state }) => id === decision.reconfiguration && state === "verified"),
  );
  await until("the hold is told", () => client.of("hold").some(({ instance }) => instance === "facts-i"));
  client.close();
});

test.each([["controller"], ["other"]] as const)(
  "a lost connection catches up on %s without a gap or a repeat",
  async (side) => {
    const instance = `lost-${side}`;
    const agent = await anAgent(`lost-pool-${side}`, instance);
    const startMs = Date.now() - 5_000;
    const first = await EventClient.open(fixture.controller, { instance });
    const sent = await reportFrom(agent, instance, startMs, 5);
    await until("the first are told", () => ends(first, instance).length === 5);
    const heard = ends(first, instance);
    first.close();
    sent.push(...(await reportFrom(agent, instance, startMs + 1_000, 7)));
    const second = await EventClient.open(fixture[side], { instance, lastId: first.lastId });
    sent.push(...(await reportFrom(agent, instance, startMs + 2_000, 3)));
    await until("the last is told", () => ends(second, instance).includes(sent.at(-1)!));
    heard.push(...ends(second, instance));
    expect(heard).toEqual(sent);
    expect(second.of("reset")).toEqual([]);
    second.close();
  },
);

test("reports that come in all the while are told once each over many connections", async () => {
  const agent = await anAgent("busy", "busy-1", "busy-2", "busy-3");
  const startMs = Date.now() - 20_000;
  let lastId: string | null = (await fixture.controller.ask("getFleet")).eventId;
  let done = false;
  const reporting = Promise.all(
    ["busy-1", "busy-2", "busy-3"].map(async (instance, i) => {
      const via = i % 2 === 0 ? fixture.controller : fixture.other;
      const sent: number[] = [];
      for (let n = 0; n < 120; n += 1) {
        await agent.report(instance, { via, window: { endAtMs: startMs + n * 10 } });
        sent.push(startMs + n * 10);
      }
      return sent;
    }),
  ).finally(() => (done = true));
  const heard = new Map<string, number[]>();
  for (let turn = 0, last = false; !last; turn += 1) {
    last = done;
    const client: EventClient = await EventClient.open(turn % 2 === 0 ? fixture.controller : fixture.other, {
      lastId,
    });
    const seen = client.heard.length;
    if (!last) await until("one more batch", () => done || client.heard.length > seen + 1);
    client.close();
    expect(client.of("reset")).toEqual([]);
    for (const { instance, atMs } of client.settled("window"))
      heard.set(instance, [...(heard.get(instance) ?? []), atMs]);
    lastId = client.lastId;
  }
  const sent = await reporting;
  for (const [i, instance] of ["busy-1", "busy-2", "busy-3"].entries()) {
    // Two replicas store them in the order in which they came; none is missing and none is told twice.
    expect(heard.get(instance)).toEqual(sent[i]);
  }
});

test("a stream that begins where the fleet's page was read misses nothing in between", async () => {
  const agent = await anAgent("between", "between-i");
  const page = await fixture.other.ask("getFleet", { query: { pool: "between" } });
  const sent = await reportFrom(agent, "between-i", Date.now() - 3_000, 4);
  const client = await EventClient.open(fixture.controller, { lastId: page.eventId, instance: "between-i" });
  await until("all are told", () => ends(client, "between-i").length === 4);
  expect(ends(client, "between-i")).toEqual(sent);
  client.close();
});

test.each([
  ["an id from long ago", (id: string) => id.replace(/^\d+/, (ms) => String(Number(ms) - 61_000))],
  ["an id of another database", (id: string) => id.replace(/-\d+:\d+:.*/, "-900000000:900000001:")],
  ["no id at all of ours", () => "7"],
])("%s: reset, and from there on everything", async (_what, change) => {
  const at = await EventClient.open(fixture.controller);
  at.close();
  const client = await EventClient.open(fixture.controller, { lastId: change(at.lastId!) });
  expect(client.heard.at(0)).toMatchObject({ event: "reset", id: expect.any(String) });
  const again = await EventClient.open(fixture.controller, { lastId: client.lastId });
  expect(again.of("reset")).toEqual([]);
  client.close();
  again.close();
});

test("a key without a role for it, and none, get problem details and no stream", async () => {
  const agentKey = await fixture.controller.keyOf("agent");
  expect((await fixture.controller.call("streamEvents", { key: agentKey })).status).toBe(403);
  expect((await fixture.controller.call("streamEvents", { key: null })).status).toBe(401);
  expect(
    (await fixture.controller.call("streamEvents", { key: await fixture.controller.keyOf("viewer") })).status,
  ).toBe(200);
});

test("a stop ends the streams and does not wait for their readers", async () => {
  const stopping = await startController(fixture.database.url);
  const clients = await Promise.all(Array.from({ length: 5 }, () => EventClient.open(stopping)));
  // One that has not read a byte.
  const { hostname, port } = new URL(stopping.url);
  const deaf = createConnection({ host: hostname, port: Number(port) });
  deaf.pause();
  deaf.on("error", () => {});
  deaf.write(`GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${stopping.adminKey}\r\n\r\n`);
  // And a connection that was opened ahead of need, as browsers do.
  const spare = createConnection({ host: hostname, port: Number(port) });
  await until("the spare connection stands", () => spare.readyState === "open");
  await until("all streams stand", async () =>
    /fulcrum_event_streams 6/.test(await (await fetch(`${stopping.url}/metrics`)).text()),
  );
  await stopping.close();
  await until("every stream has ended", () => clients.every(({ ended }) => ended));
  await until("the spare connection is closed", () => spare.destroyed);
  deaf.destroy();
  expect(errorsOf(stopping.logged)).toEqual([]);
});

test("a pool that is made, changed or deleted is told to whoever listens, and so is its SLO", async () => {
  const client = await EventClient.open(fixture.other);
  const pool = "told";
  const told = () => client.settled("pool").filter((event) => event.pool === pool);
  const headers = { "if-match": "*" };
  const params = { params: { pool } };
  await fixture.controller.ask("createPool", { body: poolBody(pool) });
  await until("it is told that it was made", () => told().length === 1);
  await fixture.controller.ask("patchPool", { ...params, body: { mode: "recommend" }, headers });
  await until("the change is told", () => told().some(({ version }) => version === 2));
  const { slo } = await fixture.controller.ask("getPool", params);
  await fixture.controller.ask("putSlo", { ...params, body: { ...slo, attainmentShare: 0.5 }, headers });
  await until("the SLO is told", () => told().some(({ sloVersion }) => sloVersion === 2));
  await fixture.controller.ask("deletePool", { ...params, headers });
  await until("its end is told", () => told().some(({ deleted }) => deleted));
  client.close();
});
