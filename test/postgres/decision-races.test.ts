import { expect, test } from "vitest";

import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2, env: { FULCRUM_OFFER_TIMEOUT_MS: "3600000" } });

async function anInstance(pool: string): Promise<TestAgent> {
  await fixture.controller.ask("createPool", { body: staticPool(pool, splitAt(60)) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(`${pool}-i`, pool));
  return agent;
}

function aim(pool: string, prefillSmPct: number) {
  const policy = { name: "static", params: { allocation: splitAt(prefillSmPct) } };
  const body = { policy };
  return fixture.controller.ask("patchPool", { params: { pool }, body, headers: { "if-match": "*" } });
}

test("of two replicas that read the same generation one applies, the other records that it lost", async () => {
  await anInstance("held");
  // Both read the instance, then wait at its row, which this connection holds.
  const holder = fixture.controller.source.createQueryRunner();
  await holder.startTransaction();
  await holder.query("SELECT 1 FROM instances WHERE name = 'held-i' FOR UPDATE");
  const both = [evaluate(fixture.controller, "held-i"), evaluate(fixture.other, "held-i")];
  await expect
    .poll(
      async () => {
        const [row] = await holder.query(
          "SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        );
        return row.waiting;
      },
      { timeout: 10_000 },
    )
    .toBe(2);
  await holder.commitTransaction();
  await holder.release();
  expect((await Promise.all(both)).filter(Boolean)).toHaveLength(1);

  const { items } = await fixture.controller.ask("listDecisions", { query: { instance: "held-i" } });
  expect(items.map(({ outcome, generation }) => `${outcome} ${generation}`).toSorted()).toEqual([
    "applied 1",
    "lost_race null",
  ]);
  const reconfigurations = await fixture.controller.ask("listReconfigurations", {
    query: { instance: "held-i" },
  });
  expect(reconfigurations.items.map(({ generation, state }) => [generation, state])).toEqual([
    [1, "offered"],
  ]);
});

test("replicas that decide at once, many times: generations ascend by one and agents never see one fall", async () => {
  const agent = await anInstance("many");
  const seen: number[] = [];
  const over = new AbortController();
  const watching = (async () => {
    for (let turn = 0; !over.signal.aborted; turn += 1) {
      const via = turn % 2 === 0 ? fixture.controller : fixture.other;
      seen.push((await agent.poll({ via }))!.assignments.at(0)!.generation);
    }
  })();
  const rounds = 20;
  for (let round = 1; round <= rounds; round += 1) {
    await aim("many", 40 + round);
    const nowMs = Date.now();
    const outcomes = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        evaluate(index % 2 === 0 ? fixture.controller : fixture.other, "many-i", nowMs),
      ),
    );
    expect(outcomes.filter(Boolean)).toHaveLength(1);
    await agent.carryOut("many-i", round);
  }
  over.abort();
  await watching;

  const { items } = await fixture.controller.ask("listReconfigurations", {
    query: { instance: "many-i", limit: 500 },
  });
  expect(items.map(({ generation }) => generation).reverse()).toEqual(
    Array.from({ length: rounds }, (_, index) => index + 1),
  );
  expect(items.map(({ from }) => from.generation).reverse()).toEqual(
    Array.from({ length: rounds }, (_, index) => index),
  );
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  const decisions = await fixture.controller.ask("listDecisions", {
    query: { instance: "many-i", limit: 500 },
  });
  const applied = decisions.items.filter(({ outcome }) => outcome === "applied");
  expect(applied.map(({ generation }) => generation).reverse()).toEqual(
    Array.from({ length: rounds }, (_, index) => index + 1),
  );
});

test("reports through both replicas at once move each instance once", async () => {
  await fixture.controller.ask("createPool", { body: staticPool("busy", splitAt(60)) });
  const agent = new TestAgent(fixture.controller, "busy-agent");
  const instances = Array.from({ length: 12 }, (_, index) => `busy-${index}`);
  await agent.register(...instances.map((name) => registrationEntry(name, "busy")));
  await Promise.all(
    instances.flatMap((name) => [
      agent.report(name, { via: fixture.controller }),
      agent.report(name, { via: fixture.other }),
    ]),
  );
  const { assignments } = (await agent.poll())!;
  expect(assignments.map(({ instance, generation }) => [instance, generation])).toEqual(
    instances.toSorted().map((name) => [name, 1]),
  );
  const { items } = await fixture.controller.ask("listReconfigurations", {
    query: { pool: "busy", limit: 500 },
  });
  expect(items).toHaveLength(12);
});

test("the database itself refuses a second open rollout and a generation twice", async () => {
  const copy = (generation: string, ended: string) =>
    fixture.controller.source.query(
      `INSERT INTO reconfigurations SELECT gen_random_uuid(), pool_id, instance_id, decision_id, kind, state,
         ${generation}, attempt, from_allocation, to_allocation, failure, deadline_at, created_at, ${ended}
       FROM reconfigurations WHERE generation = 1 AND ended_at IS NULL LIMIT 1`,
    );
  await expect(copy("generation + 1", "NULL")).rejects.toThrow("ux_reconfigurations_open");
  await expect(copy("generation", "now()")).rejects.toThrow("ux_reconfigurations_generation");
});
