import { AssignmentService } from "@fulcrum/controller/assignments/assignment.service.js";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";

import { startController, type TestController } from "../support/controller.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { evaluate } from "../support/evaluate.js";
import { startRedis, type TestRedis } from "../support/redis-server.js";
import { TestAgent } from "../support/test-agent.js";
import { errorsOf } from "../support/use-controllers.js";
import { registrationEntry, splitAt, staticPool } from "../support/wire.js";

const redis: TestRedis | null = await startRedis();
if (redis === null)
  process.stderr.write("redis-server is not on the PATH: what runs on Redis is not tested here.\n");
/** Longer than a test may take: a wake that is lost fails it. */
const POLL_MS = 60_000;
const SOON = { timeout: 20_000, interval: 50 };

describe.skipIf(redis === null)("with REDIS_URL, wakes and the queue run on Redis", () => {
  let database: TestDatabase;
  let replicas: TestController[] = [];
  let made = 0;

  beforeAll(async () => {
    database = await createDatabase(inject("postgresUrl"));
    const env = { REDIS_URL: redis!.url, FULCRUM_OFFER_TIMEOUT_MS: "400", FULCRUM_MAX_ATTEMPTS: "2" };
    replicas = [await startController(database.url, env), await startController(database.url, env)];
  });
  afterAll(async () => {
    await Promise.all(replicas.map((replica) => replica.close()));
    await database?.drop();
    await redis?.remove();
    expect(errorsOf(replicas.flatMap(({ logged }) => logged))).toEqual([]);
  });

  async function anInstance() {
    made += 1;
    const pool = `redis-${made}`;
    await replicas.at(0)!.ask("createPool", { body: staticPool(pool, splitAt(60)) });
    const agent = new TestAgent(replicas.at(0)!, `${pool}-agent`);
    await agent.register(registrationEntry(`${pool}-i`, pool));
    return { agent, instance: `${pool}-i` };
  }

  async function heldPoll(agent: TestAgent, via: TestController) {
    const { etag } = (await agent.poll({ via }))!;
    const answer = agent.poll({ via, etag, waitMs: POLL_MS });
    await expect.poll(() => via.app.get(AssignmentService).waitingPolls, SOON).toBe(1);
    return { answer };
  }

  async function rollsBack(instance: string): Promise<void> {
    await expect
      .poll(async () => {
        const { items } = await replicas.at(1)!.ask("listReconfigurations", { query: { instance } });
        return items.map(({ generation, state }) => [generation, state]).at(-1);
      }, SOON)
      .toEqual([1, "rolled_back"]);
  }

  test("nothing of the queue or the wakes is in Postgres", async () => {
    const rows = await replicas.at(0)!.source.query(
      `SELECT application_name FROM pg_stat_activity
       WHERE datname = current_database() AND application_name IN ('fulcrum-wake', 'fulcrum-queue')`,
    );
    expect(rows).toEqual([]);
  });

  test.each([0, 1])("a decision wakes a poll that replica %i holds", async (which) => {
    const { agent, instance } = await anInstance();
    const { answer } = await heldPoll(agent, replicas.at(which)!);
    await evaluate(replicas.at(0)!, instance);
    expect((await answer)?.assignments[0]?.generation).toBeGreaterThanOrEqual(1);
  });

  test("a rollout that nobody carries out times out, is offered again and is rolled back", async () => {
    const { instance } = await anInstance();
    await evaluate(replicas.at(0)!, instance);
    await rollsBack(instance);
  });

  test("while Redis is away decisions and rollouts go on; only wakes between replicas wait for it", async () => {
    await redis!.stop();
    const { agent, instance } = await anInstance();
    expect(await evaluate(replicas.at(0)!, instance)).toBe(true);
    expect((await agent.poll({ via: replicas.at(1)! }))?.assignments[0]).toMatchObject({ generation: 1 });
    expect((await fetch(`${replicas.at(0)!.url}/readyz`)).status).toBe(200);
    // By the sweep of each replica, without the queue.
    await rollsBack(instance);
    await redis!.start();
  }, 60_000);

  test("once Redis is back, empty, wakes come through again", async () => {
    // The first may be decided before the subscriber is back: its return wakes everybody.
    for (let round = 0; round < 2; round += 1) {
      const { agent, instance } = await anInstance();
      const { answer } = await heldPoll(agent, replicas.at(1)!);
      await evaluate(replicas.at(0)!, instance);
      // Or what came after: the rollout's time runs meanwhile.
      expect((await answer)?.assignments[0]?.generation).toBeGreaterThanOrEqual(1);
    }
  });
});
