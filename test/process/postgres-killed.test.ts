import { afterAll, beforeAll, expect, test } from "vitest";

import { observe } from "./support/engine-control.js";
import { ReportStream } from "./support/report-stream.js";
import { startServer, instanceStatusOf, statusOf, System } from "./support/system.js";
import { until } from "./support/until.js";

let postgres: Awaited<ReturnType<typeof startServer>>;
beforeAll(async () => {
  postgres = await startServer();
});
afterAll(() => postgres.close());

async function get(url: string, key: string) {
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${key}` },
    signal: AbortSignal.timeout(15_000),
  });
  const { code } = (await response.json()) as { code?: string };
  return { status: response.status, type: response.headers.get("content-type")?.split(";")[0], code };
}

test("Postgres killed under load: the controller stays up and says 503, recovers by itself, has lost nothing that it answered 2xx, and finishes the open rollout", async () => {
  const system = await System.open(postgres.server.url);
  try {
    const controller = await system.controller({
      FULCRUM_MAX_ATTEMPTS: "1",
      FULCRUM_OFFER_TIMEOUT_MS: "2000",
    });
    const admin = system.api(controller.url);
    await admin.staticPool("chat");
    await admin.staticPool("load");
    const engine = await system.engine("chat-0", "--speed=5", "--prepare-ms=20000");
    const setup = await system.agentSetup(admin, {
      name: "node-a",
      controllerUrl: controller.url,
      instances: [{ instance: "chat-0", pool: "chat", engine }],
    });
    const agent = await system.startAgent(setup);
    const key = await admin.agentKey("load");
    const stream = await ReportStream.start({
      url: () => controller.url,
      key,
      agent: "load",
      pool: "load",
      count: 8,
    });
    system.defer(() => stream.stop());
    await until("windows are stored", async () => (await system.storedWindows("chat-0")).length >= 2);
    await admin.moveTo("chat", 60, 40);
    await admin.rolloutIn("chat-0", 1, "preparing");
    await until("reports stream", () => stream.total > 300);

    const { port, pid } = postgres.server;
    process.kill(pid, "SIGKILL");
    await postgres.server.exited;
    await until("requests are answered 503", () => (stream.statuses.get(503) ?? 0) > 10);
    const readyz = await fetch(`${controller.url}/readyz`);
    expect(readyz.status).toBe(503);
    expect(await readyz.json()).toEqual({ status: "unavailable", checks: { database: "unreachable" } });
    expect(await get(`${controller.url}/v1/pools`, system.adminKey)).toEqual({
      status: 503,
      type: "application/problem+json",
      code: "unavailable",
    });
    expect((await get(`${controller.url}/healthz`, "")).status).toBe(200);
    await until("the agent says so", async () =>
      (await statusOf(agent)).conditions.includes("ControllerUnreachable"),
    );

    const answeredBefore = stream.total;
    postgres = { ...postgres, ...(await startServer({ dataDir: postgres.folder, port })) };
    await until(
      "the controller is ready again",
      async () => (await fetch(`${controller.url}/readyz`)).status === 200,
    );
    await until("reports stream again", () => stream.total > answeredBefore + 300);
    expect(controller.process.running).toBe(true);

    // Its time-outs and the acknowledgements work again: the rollout that was open ends.
    await admin.rolloutIn("chat-0", 1, "verified");
    expect((await observe(engine.socket)).generation).toBe(1);
    await stream.stop();
    // 500 would be a failure that the controller did not foresee; 0 no answer within 5 s.
    expect(stream.statuses.get(500) ?? 0).toBe(0);
    expect(stream.statuses.get(0) ?? 0).toBe(0);
    for (const [instance, answered] of stream.answered) {
      const stored = await system.storedWindows(instance);
      expect(new Set(stored)).toEqual(answered);
    }
    const own = await until("the agent's windows are all there", async () => {
      const { nextSeq, bufferedWindows, droppedWindows } = await instanceStatusOf(agent);
      const stored = await system.storedWindows("chat-0");
      return bufferedWindows === 0 && (stored.at(-1) ?? 0) >= nextSeq - 1 && { stored, droppedWindows };
    });
    expect(own.droppedWindows).toBe(0);
    expect(own.stored).toEqual(own.stored.map((_, index) => index + 1));

    // The streams' agent takes no assignment: each of its instances has a rollout whose time ran out meanwhile.
    await until("none of the rollouts from before is left open", async () => {
      const [row] = await system.sql<{ open: number; all: number }>(
        "SELECT count(*) FILTER (WHERE ended_at IS NULL)::int AS open, count(*)::int AS all FROM reconfigurations WHERE generation = 1",
      );
      return row?.open === 0 && row.all === stream.answered.size + 1;
    });
    const [row] = await system.sql<{ count: number }>(
      "SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name = 'fulcrum-wake' AND datname = current_database()",
    );
    expect(row?.count).toBe(1);
  } finally {
    await system.close();
  }
});
