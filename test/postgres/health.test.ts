import { AssignmentService } from "@fulcrum/controller/assignments/assignment.service.js";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";

import { startController, type TestController } from "../support/controller.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { evaluate } from "../support/evaluate.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import { TestAgent } from "../support/test-agent.js";
import {
  instanceReport,
  registrationEntry,
  report,
  splitAt,
  staticPool,
  wireWindow,
} from "../support/wire.js";

let database: TestDatabase;
let proxy: TcpProxy;
let controller: TestController;
const SOON = { timeout: 15_000, interval: 50 };

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  const url = new URL(database.url);
  proxy = await TcpProxy.to(url.hostname, Number(url.port));
  url.port = String(proxy.port);
  controller = await startController(url.href, {
    FULCRUM_OFFER_TIMEOUT_MS: "300",
    FULCRUM_MAX_ATTEMPTS: "1",
  });
});

afterAll(async () => {
  await controller?.close();
  await proxy?.close();
  await database?.drop();
});

async function get(path: string): Promise<{ status: number; type: string; text: string }> {
  const response = await fetch(`${controller.url}${path}`);
  return {
    status: response.status,
    type: response.headers.get("content-type") ?? "",
    text: await response.text(),
  };
}

test("healthy: /healthz and /readyz say so without a key", async () => {
  expect(JSON.parse((await get("/healthz")).text)).toMatchObject({ status: "ok" });
  const ready = await get("/readyz");
  expect([ready.status, JSON.parse(ready.text)]).toEqual([200, { status: "ok", checks: { database: "ok" } }]);
});

describe("when the database goes away and comes back", () => {
  let agent: TestAgent;
  const body = (seq: number) => report(agent.name, [instanceReport("away-i", [wireWindow(seq)])]);

  test("the process stays up, is not ready, and the API answers 503 with a problem", async () => {
    await controller.ask("createPool", { body: staticPool("away", splitAt(60)) });
    agent = new TestAgent(controller, "away-agent");
    await agent.register(registrationEntry("away-i", "away"));
    await agent.report("away-i");
    await controller.keyOf("agent");

    proxy.takeAway();
    expect((await get("/healthz")).status).toBe(200);
    const ready = await get("/readyz");
    expect([ready.status, JSON.parse(ready.text)]).toEqual([
      503,
      { status: "unavailable", checks: { database: "unreachable" } },
    ]);
    const replies = [
      await controller.call("listPools"),
      await controller.call("listInstances"),
      await controller.call("createPool", { body: staticPool("while-away", splitAt(60)) }),
      await controller.call("report", { body: body(2) }),
      await controller.call("getAssignments", { query: { agent: agent.name, waitMs: 1_000 } }),
      await controller.call("listPools", { key: `fk_${"u".repeat(43)}` }),
    ];
    expect(replies.map(({ status, problem }) => [status, problem?.code])).toEqual(
      replies.map(() => [503, "unavailable"]),
    );
    expect(replies.at(0)!.headers.get("retry-after")).toBe("1");
    expect((await get("/metrics")).status).toBe(200);
    // Long enough that everything that holds a connection has tried in vain to get it back.
    const before = proxy.accepted;
    await expect.poll(() => proxy.accepted - before, SOON).toBeGreaterThan(8);
  });

  test("once it is back, everything works again by itself", async () => {
    proxy.bringBack();
    await expect.poll(async () => (await get("/readyz")).status, SOON).toBe(200);
    // The report that was refused is simply sent again; nothing was lost or doubled.
    await controller.ask("report", { body: body(2) });
    const { items } = await controller.ask("listWindows", { params: { instance: "away-i" } });
    expect(items.map(({ window }) => window.seq)).toEqual([2, 1]);
    expect((await controller.call("getPool", { params: { pool: "while-away" } })).status).toBe(404);
  });

  test("the rollout whose time ran out meanwhile is rolled back: the queue came back too", async () => {
    await expect
      .poll(async () => {
        const { items } = await controller.ask("listReconfigurations", { query: { instance: "away-i" } });
        return items.find(({ generation }) => generation === 1)?.state;
      }, SOON)
      .toBe("rolled_back");
  });

  test("wakes come through exactly one connection again", async () => {
    await expect
      .poll(async () => {
        const [row] = await controller.source.query(
          `SELECT count(*)::int AS count FROM pg_stat_activity
           WHERE datname = current_database() AND application_name = 'fulcrum-wake'`,
        );
        return row.count;
      }, SOON)
      .toBe(1);
    await controller.ask("createPool", { body: staticPool("back", splitAt(60)) });
    const other = new TestAgent(controller, "back-agent");
    await other.register(registrationEntry("back-i", "back"));
    const { etag } = (await other.poll())!;
    const service = controller.app.get(AssignmentService);
    const answer = other.poll({ etag, waitMs: 60_000 });
    await expect.poll(() => service.waitingPolls, SOON).toBe(1);
    await evaluate(controller, "back-i");
    expect((await answer)?.assignments[0]?.generation).toBe(1);
  });
});

test("/metrics is what Prometheus reads, with the controller's own series in it", async () => {
  const { status, type, text } = await get("/metrics");
  expect([status, type]).toEqual([200, expect.stringMatching(/^text\/plain; version=0\.0\.4/)]);
  const typed = new Set<string>();
  for (const line of text.split("\n").filter(Boolean)) {
    const meta = /^# (?:HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) .+$/.exec(line);
    if (meta) typed.add(meta.at(1)!);
    else {
      const sample =
        /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?:[a-z]\w*="[^"]*",?)+\})? (?:NaN|[+-]?Inf|-?[\d.e+-]+)$/.exec(
          line,
        );
      expect(sample, line).not.toBeNull();
      expect(typed).toContain(
        sample!.at(1)!.replace(/_(bucket|sum|count)$/, (suffix) => (typed.has(sample!.at(1)!) ? suffix : "")),
      );
    }
  }
  const value = (name: string) => Number(new RegExp(`^${name} (.+)$`, "m").exec(text)?.[1]);
  expect(value("fulcrum_reports_total")).toBeGreaterThanOrEqual(2);
  expect(value("fulcrum_windows_stored_total")).toBeGreaterThanOrEqual(2);
  expect(text).toMatch(/^fulcrum_reconfigurations_total\{state="rolled_back"\} [1-9]/m);
  expect(text).toMatch(
    /^fulcrum_decisions_total\{kind="move",reason="STATIC_TARGET",outcome="applied"\} [1-9]/m,
  );
  // No instance, pool or agent name is a label: their number has no bound.
  expect(text).not.toContain("away-i");
});

test("/docs loads everything from this host", async () => {
  const page = await get("/docs");
  expect([page.status, page.type]).toEqual([200, "text/html; charset=utf-8"]);
  const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match.at(1)!);
  expect(assets.length).toBeGreaterThan(2);
  for (const path of assets) {
    expect(path).toMatch(/^\/docs\//);
    const asset = await get(path);
    expect([path, asset.status, asset.text.length > 0]).toEqual([path, 200, true]);
  }
  expect(page.text).not.toMatch(/https?:\/\//);
});
