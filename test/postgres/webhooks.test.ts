import { appendAudit, CONTROLLER } from "@fulcrum/controller/audit/append-audit.js";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";

import { evaluate } from "../support/evaluate.js";
import { fulcrum } from "../support/cli.js";
import { startController, type TestController } from "../support/controller.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { startRedis, type TestRedis } from "../support/redis-server.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { WebhookReceiver, verify } from "../support/webhook-receiver.js";
import { poolBody, registrationEntry, SLO, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });
const SOON = { timeout: 25_000, interval: 100 };
const receivers: WebhookReceiver[] = [];
let made = 0;

beforeAll(() => fixture.controller.ask("createPool", { body: poolBody("chat") }));
afterAll(async () => {
  await Promise.all(receivers.map((receiver) => receiver.stop()));
});

async function aTarget(body: { events?: string[]; pool?: string } = {}) {
  const receiver = await new WebhookReceiver().start();
  receivers.push(receiver);
  const hook = await fixture.controller.ask("createWebhook", { body: { url: receiver.url, ...body } });
  return { receiver, hook };
}

/** A change that is told; answers with the SLO's bound, by which a message can be known again. */
async function changeSlo(pool = "chat"): Promise<number> {
  made += 1;
  const boundMs = 1_000 + made;
  await fixture.controller.ask("putSlo", {
    params: { pool },
    body: { ...SLO, ttft: { percentile: 0.9, boundMs } },
    headers: { "if-match": "*" },
  });
  return boundMs;
}

async function deliveriesOf(webhook: string, state?: string) {
  const query = { webhook, ...(state ? { state } : {}) };
  return (await fixture.controller.ask("listDeliveries", { query })).items;
}

/** As if so much time had passed for what waits. */
async function passTime(webhook: string, hours: number) {
  await fixture.controller.source.query(
    `UPDATE webhook_deliveries SET next_try_at = next_try_at - $2 * interval '1 hour' WHERE webhook_id = $1 AND state = 'pending'`,
    [webhook, hours],
  );
}

async function remove(webhook: string) {
  await fixture.controller.ask("deleteWebhook", { params: { id: webhook } });
}

test("a change is told once, whichever replica sends, with a signature that holds and that nobody else can make", async () => {
  const { receiver, hook } = await aTarget({ events: ["slo.changed"] });
  const bound = await changeSlo();
  await expect.poll(async () => (await deliveriesOf(hook.id, "delivered")).length, SOON).toBe(1);
  const [delivery] = await deliveriesOf(hook.id);
  expect(delivery).toMatchObject({
    event: "slo.changed",
    tries: 1,
    lastStatus: 204,
    lastError: null,
    nextTryAt: null,
  });
  expect(receiver.idsOf("slo.changed")).toEqual([delivery!.id]);
  const [message] = receiver.received;
  expect(JSON.parse(message!.body)).toMatchObject({
    type: "slo.changed",
    timestamp: delivery!.createdAt,
    data: { pool: "chat", instance: null, actor: "bootstrap", after: { slo: { ttft: { boundMs: bound } } } },
  });
  verify(hook.secret, message!);
  const forged = { ...message!, body: message!.body.replace("chat", "code") };
  expect(() => verify(hook.secret, forged)).toThrow("no signature matches");
  const other = `whsec_${Buffer.alloc(32).toString("base64")}`;
  expect(() => verify(other, message!)).toThrow("no signature matches");
  expect(() => verify(hook.secret, message!, Date.now() + 3_600_000)).toThrow("too old");
  await remove(hook.id);
});

test("a target that is down and comes back gets each message once, and knows it by its id", async () => {
  const { receiver, hook } = await aTarget({ events: ["slo.changed"] });
  await receiver.stop();
  await changeSlo();
  await changeSlo();
  await expect
    .poll(async () => (await deliveriesOf(hook.id)).map(({ lastError }) => lastError), SOON)
    .toEqual([expect.stringContaining("ECONNREFUSED"), expect.stringContaining("ECONNREFUSED")]);
  const waiting = await deliveriesOf(hook.id);
  expect(waiting.map(({ state }) => state)).toEqual(["pending", "pending"]);
  await receiver.start();
  await expect
    .poll(async () => {
      await passTime(hook.id, 1);
      return (await deliveriesOf(hook.id, "delivered")).length;
    }, SOON)
    .toBe(2);
  expect(receiver.idsOf("slo.changed").toSorted()).toEqual(waiting.map(({ id }) => id).toSorted());
  for (const message of receiver.received) verify(hook.secret, message);
  await remove(hook.id);
});

test("after the last try it is a dead letter, which a person can send again", async () => {
  const { receiver, hook } = await aTarget({ events: ["slo.changed"] });
  receiver.reply = { status: 500, body: `\0${"x".repeat(5_000)}` };
  await changeSlo();
  await expect.poll(async () => (await deliveriesOf(hook.id)).at(0)?.lastStatus, SOON).toBe(500);
  await fixture.controller.source.query("UPDATE webhook_deliveries SET tries = 60 WHERE webhook_id = $1", [
    hook.id,
  ]);
  await expect
    .poll(async () => {
      await passTime(hook.id, 1);
      return (await deliveriesOf(hook.id, "dead")).length;
    }, SOON)
    .toBe(1);
  const [dead] = await deliveriesOf(hook.id);
  expect(dead).toMatchObject({ tries: 61, lastError: "answered 500", nextTryAt: null });
  expect(dead!.lastAnswer).toBe("x".repeat(1_023));
  receiver.reply = { status: 200 };
  const cli = await fulcrum(fixture.controller, "webhooks", "retry", dead!.id);
  expect(cli).toMatchObject({ exitCode: 0, stdout: `slo.changed will be sent to ${receiver.url} again\n` });
  await expect.poll(async () => (await deliveriesOf(hook.id, "delivered")).length, SOON).toBe(1);
  expect(new Set(receiver.idsOf("slo.changed"))).toEqual(new Set([dead!.id]));
  const again = await fixture.controller.call("retryDelivery", { params: { id: dead!.id } });
  expect(again.problem).toMatchObject({ status: 409, detail: expect.stringContaining("arrived already") });
  await remove(hook.id);
});

test("what is being sent is not sent a second time, also where a person asks for it", async () => {
  const { receiver, hook } = await aTarget({ events: ["slo.changed"] });
  receiver.reply = null;
  await changeSlo();
  await expect.poll(() => receiver.received.length, SOON).toBe(1);
  const [sent] = await deliveriesOf(hook.id);
  const retry = () => fixture.controller.call("retryDelivery", { params: { id: sent!.id } });
  // A try may end between two of these, and then the next one is under way.
  await expect
    .poll(async () => (await retry()).problem, SOON)
    .toMatchObject({ status: 409, detail: expect.stringContaining("is being sent at this moment") });
  // Once a try has failed it may be asked for again.
  await receiver.stop();
  await expect.poll(async () => (await retry()).status, SOON).toBe(200);
  receiver.reply = { status: 204 };
  await receiver.start();
  await expect
    .poll(async () => {
      await passTime(hook.id, 1);
      return (await deliveriesOf(hook.id, "delivered")).length;
    }, SOON)
    .toBe(1);
  expect(new Set(receiver.idsOf("slo.changed"))).toEqual(new Set([sent!.id]));
  await remove(hook.id);
});

test("targets that never answer keep nobody else's messages waiting", async () => {
  const hanging = await new WebhookReceiver().start();
  receivers.push(hanging);
  hanging.reply = null;
  const hooks = await Promise.all(
    Array.from({ length: 11 }, (_, i) =>
      fixture.controller.ask("createWebhook", {
        body: { url: `${hanging.url}/${i}`, events: ["slo.changed"] },
      }),
    ),
  );
  // 176 messages at 10 s each: 16 sends at a time on either replica would be busy for 55 s.
  for (let i = 0; i < 16; i += 1) await changeSlo();
  await expect.poll(() => hanging.mostOpen.size, SOON).toBe(hooks.length);
  const { receiver, hook } = await aTarget({ events: ["slo.changed"] });
  await changeSlo();
  await expect.poll(() => receiver.received.length, SOON).toBe(1);
  // Two by each replica.
  expect(Math.max(...hanging.mostOpen.values())).toBeLessThanOrEqual(4);
  for (const { id } of [...hooks, hook]) await remove(id);
  await hanging.stop();
});

test("410 disables a webhook: nothing is sent any more, and that is in the audit log", async () => {
  const { receiver, hook } = await aTarget({ events: ["slo.changed"] });
  receiver.reply = { status: 410 };
  await changeSlo();
  await expect.poll(async () => (await deliveriesOf(hook.id)).at(0)?.state, SOON).toBe("dead");
  const { items } = await fixture.controller.ask("listWebhooks");
  expect(items.find(({ id }) => id === hook.id)?.disabledAt).not.toBeNull();
  await changeSlo();
  expect(await deliveriesOf(hook.id)).toHaveLength(1);
  const refused = await fixture.controller.call("testWebhook", { params: { id: hook.id } });
  expect(refused.problem).toMatchObject({ status: 409, detail: expect.stringContaining("answered 410") });
  const audit = await fixture.controller.ask("listAudit", { query: { subject: `webhook/${hook.id}` } });
  expect(audit.items.map(({ action }) => action)).toEqual(["webhook.disable", "webhook.create"]);
  expect(JSON.stringify(audit.items)).not.toContain(hook.secret);
  await remove(hook.id);
});

test("a redirect is not followed", async () => {
  const { receiver, hook } = await aTarget({ events: ["pool.changed"] });
  receiver.reply = { status: 302, headers: { location: receiver.url.replace("/hook", "/elsewhere") } };
  const tested = await fixture.controller.ask("testWebhook", { params: { id: hook.id } });
  expect(tested).toMatchObject({ state: "dead", lastStatus: 302, lastError: "answered 302", tries: 1 });
  expect(receiver.received.map(({ path }) => path)).toEqual(["/hook"]);
  // Whoever tested it was told; nobody else is.
  const metrics = await (await fetch(`${fixture.controller.url}/metrics`)).text();
  expect(metrics).toMatch(/^fulcrum_webhook_deliveries_dead 0$/m);
  await remove(hook.id);
});

test("only what a webhook asked for is told, of its pool, and nothing of what was rolled back", async () => {
  await fixture.controller.ask("createPool", {
    body: staticPool("told", splitAt(60), { mode: "recommend" }),
  });
  const { receiver, hook } = await aTarget({
    events: ["proposal.opened", "instance.degraded"],
    pool: "told",
  });
  const other = await aTarget({ events: ["proposal.opened"], pool: "chat" });
  const agent = new TestAgent(fixture.controller, "told-agent");
  await agent.register(registrationEntry("told-i", "told"));
  await agent.report("told-i");
  await evaluate(fixture.controller, "told-i");
  const record = {
    action: "instance.degraded",
    subject: "instance/told-i",
    before: null,
    after: { why: "x" },
  };
  const failing = fixture.controller.source.transaction(async (manager) => {
    await appendAudit(manager, CONTROLLER, record);
    throw new Error("rolled back");
  });
  await expect(failing).rejects.toThrow("rolled back");
  await fixture.controller.source.transaction((manager) => appendAudit(manager, CONTROLLER, record));
  await expect.poll(async () => (await deliveriesOf(hook.id, "delivered")).length, SOON).toBe(2);
  const messages = receiver.received.map(({ body }) => JSON.parse(body));
  expect(messages.find(({ type }) => type === "proposal.opened")).toMatchObject({
    data: { pool: "told", instance: "told-i", actor: "controller", after: { allocation: splitAt(60) } },
  });
  expect(receiver.idsOf("instance.degraded")).toHaveLength(1);
  expect(await deliveriesOf(other.hook.id)).toEqual([]);
  await remove(hook.id);
  await remove(other.hook.id);
});

describe("what is refused", () => {
  test.each([
    ["file:///etc/passwd", "must be an http:// or https:// URL"],
    ["https://me:secret@hooks.example.com/", "must not carry a user or a password"],
    ["http://169.254.169.254/latest/meta-data", "link-local"],
    ["http://[::ffff:169.254.169.254]/", "link-local"],
  ])("the URL %s", async (url, message) => {
    const { status, problem } = await fixture.controller.call("createWebhook", { body: { url } });
    expect(status).toBe(400);
    expect(problem?.errors?.at(0)).toMatchObject({ field: "url", message: expect.stringContaining(message) });
  });

  test("an event that there is not, and a pool that there is not", async () => {
    const url = "http://127.0.0.1:1/";
    const event = await fixture.controller.call("createWebhook", { body: { url, events: ["alert.fring"] } });
    expect(event.problem?.errors?.at(0)?.field).toBe("events.0");
    const pool = await fixture.controller.call("createWebhook", { body: { url, pool: "nowhere" } });
    expect(pool.status).toBe(404);
  });

  test("whoever is no admin", async () => {
    const key = await fixture.controller.keyOf("operator");
    const body = { url: "http://127.0.0.1:1/" };
    expect((await fixture.controller.call("createWebhook", { body, key })).status).toBe(403);
    expect((await fixture.controller.call("listWebhooks", { key })).status).toBe(403);
  });
});

test("the command line adds, tests, lists and removes, and shows the secret once", async () => {
  const receiver = await new WebhookReceiver().start();
  receivers.push(receiver);
  const added = await fulcrum(fixture.controller, "webhooks", "add", receiver.url, "--event", "alert.firing");
  expect(added.exitCode).toBe(0);
  const secret = added.stdout.trim().split("\n").at(-1)!;
  const [, id] = /webhook (\S+) tells/.exec(added.stdout)!;
  const tested = await fulcrum(fixture.controller, "webhooks", "test", id!);
  expect(tested).toMatchObject({ exitCode: 0, stdout: `delivered: ${receiver.url} answered 204\n` });
  verify(secret, receiver.received.at(0)!);
  const listed = await fulcrum(fixture.controller, "webhooks", "list");
  expect(listed.stdout).toContain(receiver.url);
  expect(listed.stdout).not.toContain(secret);
  const sent = await fulcrum(fixture.controller, "webhooks", "deliveries", "--webhook", id!);
  expect(sent.stdout).toContain("webhook.test");
  expect((await fulcrum(fixture.controller, "webhooks", "remove", id!)).exitCode).toBe(0);
  expect((await fulcrum(fixture.controller, "webhooks", "remove", id!)).exitCode).toBe(1);
});

test("the audit log, which a viewer reads, has a target's host and not its path", async () => {
  const { receiver, hook } = await aTarget();
  await fixture.controller.ask("deleteWebhook", { params: { id: hook.id } });
  const { items } = await fixture.controller.ask("listAudit", { query: { subject: `webhook/${hook.id}` } });
  const { host } = new URL(receiver.url);
  expect(items.map(({ before, after }) => ({ before, after }))).toMatchObject([
    { before: { host }, after: null },
    { before: null, after: { host } },
  ]);
  expect(JSON.stringify(items)).not.toContain(receiver.url);
  expect(JSON.stringify(items)).not.toContain(new URL(receiver.url).pathname);
});

const redis: TestRedis | null = await startRedis();

describe.skipIf(redis === null)("with the queue on Redis", () => {
  let database: TestDatabase;
  let controller: TestController;

  beforeAll(async () => {
    database = await createDatabase(inject("postgresUrl"));
    controller = await startController(database.url, { REDIS_URL: redis!.url });
  });
  afterAll(async () => {
    await controller?.close();
    await database?.drop();
    await redis?.remove();
  });

  test("messages are sent, also while Redis is away", async () => {
    const receiver = await new WebhookReceiver().start();
    receivers.push(receiver);
    await controller.ask("createWebhook", { body: { url: receiver.url, events: ["pool.changed"] } });
    await controller.ask("createPool", { body: poolBody("one") });
    await expect.poll(() => receiver.idsOf("pool.changed").length, SOON).toBe(1);
    await redis!.stop();
    await controller.ask("createPool", { body: poolBody("two") });
    await expect.poll(() => receiver.idsOf("pool.changed").length, SOON).toBe(2);
    await redis!.start();
    await controller.ask("createPool", { body: poolBody("three") });
    await expect.poll(() => receiver.idsOf("pool.changed").length, SOON).toBe(3);
    const { items } = await controller.ask("listDeliveries", { query: { state: "delivered" } });
    expect(items.map(({ id }) => id).toSorted()).toEqual(receiver.idsOf("pool.changed").toSorted());
  });
});
