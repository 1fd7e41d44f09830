import { AlertService } from "@fulcrum/controller/alerts/alert.service.js";
import { foldCounts } from "@fulcrum/controller/budgets/fold.js";
import { histogramAt } from "@fulcrum/core/fixtures.js";
import type { Window } from "@fulcrum/core/nouns.js";
import { afterAll, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import type { TestController } from "../support/controller.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { typeOf, WebhookReceiver, verify } from "../support/webhook-receiver.js";
import { instanceReport, poolBody, registrationEntry, report, SLO, wireWindow } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });
const SOON = { timeout: 25_000, interval: 100 };
const LATER_MS = 600_000;
const receivers: WebhookReceiver[] = [];
afterAll(async () => {
  await Promise.all(receivers.map((receiver) => receiver.stop()));
});

/** 50 requests; every first token within the bound, or none. */
const GOOD: Partial<Window> = { finished: 50, ttft: histogramAt(200, 50), tpot: histogramAt(20, 50) };
const LATE: Partial<Window> = { ...GOOD, ttft: histogramAt(900, 50) };

let made = 0;

async function anInstance(attainmentShare = 0.9) {
  made += 1;
  const pool = `budget-${made}`;
  const instance = `${pool}-i`;
  await fixture.controller.ask("createPool", { body: poolBody(pool, { slo: { ...SLO, attainmentShare } }) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(instance, pool));
  return { pool, instance, agent };
}

async function seen(scene: Awaited<ReturnType<typeof anInstance>>, window: Partial<Window>, times: number) {
  for (let i = 0; i < times; i += 1) await scene.agent.report(scene.instance, { window });
}

/** Once everything that was reported is added up; another replica may be at it. */
async function budgetOf(pool: string, requests: number) {
  await expect
    .poll(async () => {
      await foldCounts(fixture.controller.source, Date.now());
      return (await fixture.controller.ask("getBudget", { params: { pool } })).requests;
    }, SOON)
    .toBe(requests);
  return fixture.controller.ask("getBudget", { params: { pool } });
}

async function changeOfPool(pool: string, table: "alerts" | "budget_buckets", change: string) {
  await fixture.controller.source.query(
    `UPDATE ${table} SET ${change} WHERE pool_id = (SELECT id FROM pools WHERE name = $1)`,
    [pool],
  );
}

test("each window counts once: repeats, two replicas and reports at the same time change nothing", async () => {
  const { pool, instance, agent } = await anInstance();
  const windows = Array.from({ length: 40 }, (_, i) => wireWindow(i + 1, i % 4 === 0 ? LATE : GOOD));
  const key = await agent.key();
  const send = (via: TestController, from: number, to: number) =>
    via.ask("report", { body: report(agent.name, [instanceReport(instance, windows.slice(from, to))]), key });
  for (let from = 0; from < 40; from += 4) {
    await Promise.all([
      send(fixture.controller, from, from + 3),
      send(fixture.other, from, from + 4),
      send(fixture.controller, from, from + 2),
      foldCounts(fixture.other.source, Date.now()),
      foldCounts(fixture.controller.source, Date.now()),
    ]);
  }
  const found = await budgetOf(pool, 2_000);
  // A fourth of the first tokens was late. What is added up together is a product of sums, in which nothing is lost here.
  expect(found.within).toBeCloseTo(1_500, 6);
  expect(found).toMatchObject({ days: 28, target: 0.9 });
  expect(found.bySlice.reduce((sum, { requests }) => sum + requests, 0)).toBe(2_000);
  expect(found.spentShare).toBeCloseTo(2.5, 6);
  expect(found.message).toBe(
    "75.00 % of 2000 requests were within both bounds in the last 28 d; 90 % are promised, so the budget is overspent by 150.0 %.",
  );
});

test("windows are held against the SLO of their time", async () => {
  const scene = await anInstance();
  await seen(scene, LATE, 4);
  await budgetOf(scene.pool, 200);
  await fixture.controller.ask("putSlo", {
    params: { pool: scene.pool },
    body: { ...SLO, ttft: { percentile: 0.9, boundMs: 2_000 } },
    headers: { "if-match": "*" },
  });
  // The next report tells this replica of it.
  await seen(scene, GOOD, 1);
  await seen(scene, LATE, 4);
  const { within } = await budgetOf(scene.pool, 450);
  expect(within).toBeCloseTo(250, 6);
});

test("an engine that tells no TPOT counts by its first tokens, once it is clear that nothing else comes", async () => {
  const scene = await anInstance();
  await seen(scene, { ...GOOD, tpot: histogramAt(20, 0) }, 2);
  await foldCounts(fixture.controller.source, Date.now());
  expect((await fixture.controller.ask("getBudget", { params: { pool: scene.pool } })).requests).toBe(0);
  await expect
    .poll(async () => {
      await foldCounts(fixture.controller.source, Date.now() + LATER_MS);
      const rows = await fixture.controller.source.query(
        "SELECT requests, within FROM budget_totals t JOIN pools p ON p.id = t.pool_id WHERE p.name = $1",
        [scene.pool],
      );
      return rows.at(0);
    }, SOON)
    .toEqual({ requests: 100, within: 100 });
});

test("what an instance served before it was deleted stays counted", async () => {
  const scene = await anInstance();
  await seen(scene, GOOD, 3);
  await fixture.controller.ask("deleteInstance", { params: { instance: scene.instance } });
  const found = await fixture.controller.ask("getBudget", { params: { pool: scene.pool } });
  expect(found).toMatchObject({ requests: 150, within: 150, remainingShare: 1 });
});

test("a pool that burns its budget fires one alert on two controllers, which ends and is told by webhook", async () => {
  const scene = await anInstance();
  const receiver = await new WebhookReceiver().start();
  receivers.push(receiver);
  const hook = await fixture.controller.ask("createWebhook", {
    body: { url: receiver.url, events: ["alert.firing", "alert.resolved"], pool: scene.pool },
  });
  await seen(scene, LATE, 4);
  const burning = await budgetOf(scene.pool, 200);
  expect(burning.burn).toMatchObject([
    { name: "burn_1h", firing: true, longRate: expect.closeTo(10, 6), threshold: expect.closeTo(8.2, 6) },
    { name: "burn_6h", firing: true, loweredFrom: null },
    { name: "burn_3d", firing: true, severity: "ticket", threshold: 1 },
  ]);
  expect(burning.burn[0]!.loweredFrom).toBeCloseTo(13.44, 6);
  const look = (nowMs?: number) =>
    Promise.all([fixture.controller, fixture.other].map(({ app }) => app.get(AlertService).look(nowMs)));
  await look();
  const alertsOf = async (state?: string) => {
    const query = { pool: scene.pool, ...(state ? { state } : {}) };
    return (await fixture.controller.ask("listAlerts", { query })).items;
  };
  await expect.poll(async () => (await alertsOf()).length, SOON).toBe(3);
  await look();
  expect(await alertsOf("firing")).toHaveLength(3);
  expect((await alertsOf()).find(({ name }) => name === "burn_1h")).toMatchObject({
    severity: "page",
    endedAt: null,
    values: { threshold: expect.closeTo(8.2, 6), target: 0.9, shortRequests: expect.any(Number) },
    message: expect.stringContaining("both at or above 8.2x"),
  });
  const shown = await fulcrum(fixture.controller, "alerts", "--pool", scene.pool);
  expect(shown.stdout).toContain("burn_1h");
  const budgetShown = await fulcrum(fixture.controller, "budget", scene.pool);
  expect(budgetShown.stdout).toContain("(lowered)");
  await expect.poll(() => receiver.idsOf("alert.firing").length, SOON).toBe(3);
  expect(new Set(receiver.idsOf("alert.firing")).size).toBe(3);
  const audit = await fixture.controller.ask("listAudit", {
    query: { subject: `pool/${scene.pool}`, action: "alert.firing" },
  });
  expect(audit.items).toHaveLength(3);
  // A total outage: ten minutes after the last one has finished they still arrive.
  const hour = async () => (await alertsOf()).find(({ name }) => name === "burn_1h")!;
  await changeOfPool(scene.pool, "budget_buckets", "from_at = from_at - interval '10 min'");
  await seen(scene, { finished: 0, ttft: histogramAt(20, 0), tpot: histogramAt(20, 0) }, 2);
  await changeOfPool(scene.pool, "alerts", "quiet_since = now() - interval '10 min'");
  await expect
    .poll(async () => {
      await look();
      return hour();
    }, SOON)
    .toMatchObject({ endedAt: null, message: expect.stringContaining("It fires on: requests arrive") });
  expect(receiver.idsOf("alert.resolved")).toEqual([]);
  // Then nothing is heard of it. Looks of now come in between, and hear of requests.
  await look(Date.now() + LATER_MS);
  await look(Date.now() + 2 * LATER_MS);
  expect(await hour()).toMatchObject({ endedAt: null });
  await expect
    .poll(async () => {
      await look(Date.now() + LATER_MS);
      await look(Date.now() + 8 * LATER_MS);
      return (await alertsOf("resolved")).map(({ name }) => name);
    }, SOON)
    .toEqual(["burn_1h"]);
  await expect.poll(() => receiver.idsOf("alert.resolved").length, SOON).toBe(1);
  const resolved = receiver.received.filter(({ body }) => typeOf(body) === "alert.resolved");
  expect(resolved.at(0)!.body).toContain("no request was heard to arrive for 1 h");
  for (const message of receiver.received) verify(hook.secret, message);
  await fixture.controller.ask("deleteWebhook", { params: { id: hook.id } });
});

test("a pool with few requests fires nothing and says why; one that is deleted ends its alerts", async () => {
  const few = await anInstance();
  await few.agent.report(few.instance, { window: { ...LATE, finished: 5 } });
  const { burn } = await budgetOf(few.pool, 5);
  expect(burn.map(({ firing }) => firing)).toEqual([false, false, false]);
  expect(burn[0]!.message).toBe(
    "5 requests in the last 5 min are too few to tell; 30 are needed. The threshold would be 13.4x; a promise of 90 % can burn at most 10x.",
  );
  const scene = await anInstance();
  await seen(scene, LATE, 4);
  await budgetOf(scene.pool, 200);
  const firing = async () =>
    fixture.controller.source.query(
      "SELECT 1 FROM alerts a JOIN pools p ON p.id = a.pool_id WHERE p.name = $1 AND a.ended_at IS NULL",
      [scene.pool],
    );
  await expect
    .poll(async () => {
      await fixture.controller.app.get(AlertService).look();
      return (await firing()).length;
    }, SOON)
    .toBe(3);
  await fixture.controller.ask("deletePool", { params: { pool: scene.pool }, headers: { "if-match": "*" } });
  await expect
    .poll(async () => {
      await fixture.controller.app.get(AlertService).look();
      return (await firing()).length;
    }, SOON)
    .toBe(0);
});

test("the days of a budget are a setting with bounds", async () => {
  const { pool } = await anInstance();
  const set = await fulcrum(fixture.controller, "pools", "set", pool, "--budget-days", "7");
  expect(set.exitCode).toBe(0);
  expect(await fixture.controller.ask("getBudget", { params: { pool } })).toMatchObject({ days: 7 });
  const { problem } = await fixture.controller.call("patchPool", {
    params: { pool },
    body: { budgetDays: 91 },
    headers: { "if-match": "*" },
  });
  expect(problem?.errors?.at(0)?.field).toBe("budgetDays");
  expect((await fixture.controller.call("getBudget", { params: { pool: "nowhere" } })).status).toBe(404);
});
