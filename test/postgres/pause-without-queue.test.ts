import { createServer } from "node:net";
import { once } from "node:events";
import { ReconfigurationQueue } from "@fulcrum/controller/reconfigurations/reconfiguration.queue.js";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import { startController, type TestController } from "../support/controller.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { errorsOf } from "../support/use-controllers.js";
import { registrationEntry, splitAt, staticPool } from "../support/wire.js";

/** An address of this machine at which nobody listens. */
async function deadPort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  return port;
}

/** The queue's tables, in the one schema that is neither Postgres' nor the controller's own. */
const QUEUE_SCHEMAS = `SELECT nspname AS name FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')`;

describe.each(["Redis is away", "the queue's schema is gone"])("while %s", (trouble) => {
  let database: TestDatabase;
  let controller: TestController;

  beforeAll(async () => {
    database = await createDatabase(inject("postgresUrl"));
    const redis = trouble === "Redis is away";
    const env: Record<string, string> = redis ? { REDIS_URL: `redis://127.0.0.1:${await deadPort()}` } : {};
    controller = await startController(database.url, env);
    if (redis) return;
    const schemas = await controller.source.query<{ name: string }[]>(QUEUE_SCHEMAS);
    expect(schemas).toHaveLength(1);
    await controller.source.query(`DROP SCHEMA "${schemas[0]!.name}" CASCADE`);
  });
  afterAll(async () => {
    await controller?.close();
    await database?.drop();
    expect(errorsOf(controller?.logged ?? [])).toEqual([]);
  });

  async function anInstance(pool: string): Promise<string> {
    await controller.ask("createPool", {
      body: staticPool(pool, splitAt(60), { controlIntervalMs: 600_000 }),
    });
    await new TestAgent(controller, `${pool}-agent`).register(registrationEntry(`${pool}-i`, pool));
    return `${pool}-i`;
  }

  test("the sweeps go on: what is done by them is done again and again", async () => {
    let sweeps = 0;
    controller.app.get(ReconfigurationQueue).onSweep(async () => void (sweeps += 1));
    await expect.poll(() => sweeps, { timeout: 40_000, interval: 100 }).toBeGreaterThan(1);
  }, 60_000);

  test("the API pauses and resumes", async () => {
    const instance = await anInstance("by-api");
    const { id } = await controller.ask("createPause", { body: { reason: "stop everything" } });
    expect(await evaluate(controller, instance)).toBe(false);
    await controller.ask("endHold", { params: { id }, query: { reason: "all is well" } });
    expect(await evaluate(controller, instance)).toBe(true);
  });

  test("fulcrum pause --all pauses and fulcrum resume --all resumes", async () => {
    const instance = await anInstance("by-cli");
    const paused = await fulcrum(controller, "pause", "--all", "--reason", "stop everything");
    expect(paused).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await evaluate(controller, instance)).toBe(false);
    const resumed = await fulcrum(controller, "resume", "--all", "--reason", "all is well");
    expect(resumed).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await evaluate(controller, instance)).toBe(true);
  });
});
