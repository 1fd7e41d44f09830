import { afterAll, beforeAll, expect, inject, test } from "vitest";

import { startController, type TestController } from "../support/controller.js";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { TestAgent } from "../support/test-agent.js";
import { errorsOf } from "../support/use-controllers.js";
import {
  ack,
  instanceReport,
  registrationEntry,
  report,
  splitAt,
  staticPool,
  wireWindow,
} from "../support/wire.js";

let database: TestDatabase;
let keeper: TestController;

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  keeper = await startController(database.url);
});
afterAll(async () => {
  await keeper?.close();
  await database?.drop();
});

/** Runs `post` over and over until the replica is gone; a request that is cut or refused was not answered. */
async function until(gone: () => boolean, post: (seq: number) => Promise<boolean>): Promise<number[]> {
  const answered: number[] = [];
  for (let seq = 1; !gone() && seq < 100_000; seq += 1)
    if (await post(seq).catch(() => false)) answered.push(seq);
  return answered;
}

test("a replica that stops while reports come in has stored every window it answered for", async () => {
  for (let round = 0; round < 3; round += 1) {
    const pool = `stop-${round}`;
    await keeper.ask("createPool", { body: staticPool(pool, splitAt(60)) });
    const agent = new TestAgent(keeper, `${pool}-agent`);
    const instances = Array.from({ length: 6 }, (_, index) => `${pool}-${index}`);
    await agent.register(...instances.map((name) => registrationEntry(name, pool)));
    const key = await agent.key();
    const stopping = await startController(database.url);
    let gone = false;
    let answers = 0;
    const loops = instances.map((name) =>
      until(
        () => gone,
        async (seq) => {
          const body = report(agent.name, [instanceReport(name, [wireWindow(seq)])]);
          const { status } = await stopping.call("report", { body, key });
          if (status === 200) answers += 1;
          return status === 200;
        },
      ),
    );
    await expect.poll(() => answers, { timeout: 20_000, interval: 5 }).toBeGreaterThan(30);
    await stopping.close();
    gone = true;
    const answered = await Promise.all(loops);
    for (const [index, name] of instances.entries()) {
      const rows = await keeper.source.query<{ seq: string }[]>(
        "SELECT w.seq FROM windows w JOIN instances i ON i.id = w.instance_id WHERE i.name = $1",
        [name],
      );
      const stored = new Set(rows.map(({ seq }) => Number(seq)));
      expect(answered.at(index)!.filter((seq) => !stored.has(seq))).toEqual([]);
    }
    expect(errorsOf(stopping.logged)).toEqual([]);
  }
});

test("a rollout that a stopped replica had begun is finished through another", async () => {
  await keeper.ask("createPool", { body: staticPool("handover", splitAt(60)) });
  const agent = new TestAgent(keeper, "handover-agent");
  await agent.register(registrationEntry("handover-i", "handover"));
  const first = await startController(database.url);
  await agent.report("handover-i", { via: first });
  await agent.ack("handover-i", 1, "preparing", {}, first);
  await first.close();
  for (const step of ["ready", "switched", "verified"] as const)
    expect(await agent.ack("handover-i", 1, step, {}, keeper)).toBe("applied");
});

test("acknowledgements that were answered are kept", async () => {
  const count = 40;
  await keeper.ask("createPool", { body: staticPool("acks", splitAt(60)) });
  const agent = new TestAgent(keeper, "acks-agent");
  const instances = Array.from({ length: count }, (_, index) => `acks-${index}`);
  await agent.register(...instances.map((name) => registrationEntry(name, "acks")));
  await keeper.ask("report", {
    body: report(
      agent.name,
      instances.map((name) => instanceReport(name, [wireWindow(1)])),
    ),
  });
  const key = await agent.key();
  const stopping = await startController(database.url);
  const said = instances.map(async (name) => {
    const body = { agent: agent.name, sentAtMs: Date.now(), acks: [ack(name, 1, "verified")] };
    const reply = await stopping.call("acknowledge", { body, key }).catch(() => null);
    return reply?.status === 200 ? name : null;
  });
  await Promise.race(said);
  await stopping.close();
  const kept = (await Promise.all(said)).filter((name) => name !== null);
  expect(kept.length).toBeGreaterThan(0);
  const { items } = await keeper.ask("listReconfigurations", {
    query: { pool: "acks", state: "verified", limit: 100 },
  });
  expect(items.map(({ instance }) => instance)).toEqual(expect.arrayContaining(kept));
});
