import { afterAll, beforeAll, expect, test } from "vitest";

import { observe } from "./support/engine-control.js";
import { RecordingProxy } from "./support/recording-proxy.js";
import { startServer, statusOf, System } from "./support/system.js";
import { until } from "./support/until.js";

let postgres: Awaited<ReturnType<typeof startServer>>;
beforeAll(async () => {
  postgres = await startServer();
});
afterAll(() => postgres.close());

/** How often the controller has come to this decision, stored or not. */
async function decided(url: string, labels: RegExp): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text
    .split("\n")
    .filter((line) => line.startsWith("fulcrum_decisions_total{") && labels.test(line));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

test("an engine killed: conditions say so, nothing moves on a dead sensor, and once it is back it gets its last good allocation and is measured again", async () => {
  const system = await System.open(postgres.server.url);
  try {
    const { url } = await system.controller();
    const admin = system.api(url);
    const proxy = await RecordingProxy.to(url);
    system.defer(() => proxy.close());
    await admin.staticPool("chat");
    const engine = await system.engine("chat-0", "--speed=5", "--prepare-ms=500");
    const agent = await system.startAgent(
      await system.agentSetup(admin, {
        name: "node-a",
        controllerUrl: proxy.url,
        instances: [{ instance: "chat-0", pool: "chat", engine }],
      }),
    );
    await until("it is registered", async () => (await statusOf(agent)).controller.registered.length === 1);
    await admin.moveTo("chat", 60, 40);
    await admin.rolloutIn("chat-0", 1, "verified");

    await engine.process.kill();
    const dead = ["DriverUnreachable", "ScrapeFailing", "StaleSignal"];
    await until("the conditions are shown", async () => {
      const { conditions } = await admin.instance("chat-0");
      return dead.every((condition) => conditions.includes(condition));
    });
    // A policy that would move on any number, for these bounds are missed by all: it gets none.
    const { etag } = await admin.client.call("getPool", { params: { pool: "chat" } });
    await admin.client.call("patchPool", {
      params: { pool: "chat" },
      body: { policy: { name: "feedback" }, guards: { minSamples: 1, dwellMs: 0 } },
      ifMatch: etag ?? "",
    });
    const slo = await admin.client.call("getSlo", { params: { pool: "chat" } });
    await admin.client.call("putSlo", {
      params: { pool: "chat" },
      body: {
        ttft: { percentile: 0.9, boundMs: 1 },
        tpot: { percentile: 0.9, boundMs: 1 },
        attainmentShare: 0.9,
      },
      ifMatch: slo.etag ?? "",
    });
    await until("it has decided often", async () => (await decided(url, /reason="(STALE|NO)_SIGNAL"/)) >= 6);
    expect((await admin.instance("chat-0")).lastDecision).toMatchObject({ kind: "hold" });
    expect(await admin.rollouts("chat-0")).toHaveLength(1);
    expect((await admin.instance("chat-0")).desired.generation).toBe(1);
    expect(await decided(url, /kind="move".*outcome="applied"/)).toBe(1);
    const before = (await system.storedWindows("chat-0")).at(-1) ?? 0;
    // Held for the rest: what is tested now is the way back, not the policy.
    await admin.client.call("pinInstance", { params: { instance: "chat-0" }, body: { reason: "test" } });

    const again = await system.engineAgain(engine);
    await until("it runs generation 1 again", async () => {
      const { generation, phase, bootId } = await observe(engine.socket);
      return generation === 1 && phase === "steady" && bootId === again.process.ready["bootId"];
    });
    expect((await observe(engine.socket)).delivered).toEqual({
      prefillSmPct: 59.26,
      decodeSmPct: 38.89,
      kvQuotaPct: 100,
    });
    await until("only the pin is left of the conditions", async () => {
      const { conditions } = await admin.instance("chat-0");
      const passing = conditions.filter((condition) => !condition.endsWith("BoundInsideBucket"));
      return passing.length === 1 && passing[0] === "Pinned";
    });
    const fresh = await until("windows are fresh again", async () => {
      const { body } = await admin.client.call("listWindows", {
        params: { instance: "chat-0" },
        query: { limit: 1 },
      });
      const newest = body.items[0]?.window;
      return newest !== undefined && newest.seq > before + 2 && newest.generation === 1 && newest;
    });
    expect(fresh.finished).toBeGreaterThan(0);
    // That it began anew, and with it its counters, was told.
    const told = proxy.conditions("chat-0");
    expect(told).toContain("EngineRestarted");
    expect(told).toContain("CounterReset");
    // Nobody asked for this: it is no rollout.
    expect(await admin.rollouts("chat-0")).toHaveLength(1);
    expect(await admin.instance("chat-0")).toMatchObject({
      desired: { generation: 1 },
      observed: { generation: 1 },
    });
    await until("it decides on numbers again", async () => (await decided(url, /reason="PINNED"/)) >= 1);
  } finally {
    await system.close();
  }
});
