import { Housekeeping, partitionName } from "@fulcrum/controller/db/housekeeping.js";
import { expect, test } from "vitest";

import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({
  env: { FULCRUM_WINDOW_RETENTION_HOURS: "2", FULCRUM_DECISION_RETENTION_DAYS: "1" },
});
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

async function partitions(): Promise<string[]> {
  const rows = await fixture.controller.source.query<{ name: string }[]>(
    `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'windows'::regclass ORDER BY 1`,
  );
  return rows.map(({ name }) => name);
}

function namesFrom(atMs: number, hours: number): string[] {
  return Array.from({ length: hours }, (_, index) => partitionName(atMs + index * HOUR_MS));
}

async function anInstance(pool: string): Promise<TestAgent> {
  await fixture.controller.ask("createPool", { body: staticPool(pool, splitAt(60)) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(`${pool}-i`, pool));
  return agent;
}

function run(nowMs: number) {
  return fixture.controller.app.get(Housekeeping).run(nowMs);
}

async function countOf(table: string): Promise<number> {
  const [row] = await fixture.controller.source.query(`SELECT count(*)::int AS count FROM ${table}`);
  return row.count;
}

test("hours are made ahead, windows lie in theirs, and old hours are dropped whole", async () => {
  const nowMs = Date.now();
  const agent = await anInstance("hours");
  await agent.report("hours-i");
  expect(await partitions()).toEqual(["windows_default", ...namesFrom(nowMs, 4)].toSorted());
  expect(await countOf(partitionName(nowMs))).toBe(1);

  await run(nowMs + 2 * HOUR_MS);
  expect(await countOf(partitionName(nowMs))).toBe(1);
  await run(nowMs + 3 * HOUR_MS);
  expect(await partitions()).toEqual(["windows_default", ...namesFrom(nowMs + HOUR_MS, 6)].toSorted());
  const { items } = await fixture.controller.ask("listWindows", { params: { instance: "hours-i" } });
  expect(items).toEqual([]);
  // A second run has nothing to do.
  expect(await run(nowMs + 3 * HOUR_MS)).toMatchObject({ dropped: 0 });
});

test("a window for which no hour was made is kept in the default partition, read, and deleted when it is old", async () => {
  const nowMs = Date.now();
  const agent = await anInstance("default");
  for (const name of await partitions())
    if (name !== "windows_default") await fixture.controller.source.query(`DROP TABLE ${name}`);
  await agent.report("default-i");
  expect(await countOf("windows_default")).toBe(1);
  const { items } = await fixture.controller.ask("listWindows", { params: { instance: "default-i" } });
  expect(items).toHaveLength(1);

  // The hour whose windows lie in the default partition cannot be made; the others are.
  await run(nowMs);
  expect(await partitions()).toEqual(["windows_default", ...namesFrom(nowMs + HOUR_MS, 3)].toSorted());
  await agent.report("default-i");
  expect(await countOf("windows_default")).toBe(2);

  await run(nowMs + 3 * HOUR_MS);
  expect(await countOf("windows_default")).toBe(0);
});

test("decisions and rollouts are deleted when they are old; what is open and what is current stays", async () => {
  const nowMs = Date.now();
  const before = await countOf("decisions");
  const agent = await anInstance("retention");
  await evaluate(fixture.controller, "retention-i", nowMs);
  await agent.carryOut("retention-i", 1);
  const open = await anInstance("still-open");
  await evaluate(fixture.controller, "still-open-i", nowMs);

  await run(nowMs + DAY_MS - HOUR_MS);
  expect(await countOf("decisions")).toBe(before + 2);
  await run(nowMs + DAY_MS + HOUR_MS);
  expect(await countOf("decisions")).toBe(0);
  const left = async (instance: string) =>
    (await fixture.controller.ask("listReconfigurations", { query: { instance } })).items.map(
      ({ state }) => state,
    );
  expect(await left("retention-i")).toEqual([]);
  expect(await left("still-open-i")).toEqual(["offered"]);
  expect(
    await countOf(
      "reconfiguration_steps s WHERE NOT EXISTS (SELECT 1 FROM reconfigurations r WHERE r.id = s.reconfiguration_id)",
    ),
  ).toBe(0);
  const instance = await fixture.controller.ask("getInstance", { params: { instance: "retention-i" } });
  expect(instance).toMatchObject({ lastDecision: null, desired: { ...splitAt(60), generation: 1 } });
  await open.carryOut("still-open-i", 1);
});
