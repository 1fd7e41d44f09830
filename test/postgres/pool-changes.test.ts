import { expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, SLO, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });

async function anInstance(pool: string): Promise<void> {
  await fixture.controller.ask("createPool", { body: staticPool(pool, splitAt(60)) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(`${pool}-i`, pool));
}

/** Takes the lock that whoever makes a hold has alone; `waiting` says when so many wait for it. */
async function theHoldsLock() {
  const runner = fixture.controller.source.createQueryRunner();
  await runner.startTransaction();
  await runner.query("SELECT pg_advisory_xact_lock(4702113)");
  const waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4702113 AND NOT granted";
  return {
    waiting: (count: number) =>
      expect
        .poll(async () => (await fixture.controller.source.query(waits)).length, { timeout: 10_000 })
        .toBe(count),
    letGo: async () => {
      await runner.commitTransaction();
      await runner.release();
    },
  };
}

const anyVersion = { headers: { "if-match": "*" } };
const changes = {
  mode: (pool: string) =>
    fixture.controller.ask("patchPool", { params: { pool }, body: { mode: "observe" }, ...anyVersion }),
  limits: (pool: string) =>
    fixture.controller.ask("patchPool", {
      params: { pool },
      body: { limits: { maxSmPct: 55 } },
      ...anyVersion,
    }),
  slo: (pool: string) =>
    fixture.controller.ask("putSlo", {
      params: { pool },
      body: { ...SLO, attainmentShare: 0.5 },
      ...anyVersion,
    }),
};

async function lastDecision(instance: string) {
  const { items } = await fixture.controller.ask("listDecisions", { query: { instance, limit: 1 } });
  return fixture.controller.ask("getDecision", { params: { id: items[0]!.id } });
}

async function audited(...subjects: string[]): Promise<string[]> {
  const pages = await Promise.all(
    subjects.map((subject) => fixture.controller.ask("listAudit", { query: { subject } })),
  );
  return pages
    .flatMap(({ items }) => items)
    .toSorted((a, b) => a.seq - b.seq)
    .map(({ action }) => action)
    .filter((action) => ["decision.applied", "pool.update", "slo.set"].includes(action));
}

test.each([
  ["mode", "; it is in mode observe now."],
  ["limits", "."],
  ["slo", "."],
] as const)(
  "a move that was decided before a change of %s was answered is not made after it",
  async (what, told) => {
    const pool = `before-${what}`;
    await anInstance(pool);
    const lock = await theHoldsLock();
    const changed = changes[what](pool);
    await lock.waiting(1);
    // It has read the pool as it was, and its commit waits behind the change.
    const evaluated = evaluate(fixture.other, `${pool}-i`);
    await lock.waiting(2);
    await lock.letGo();
    await changed;
    expect(await evaluated).toBe(false);
    const instance = await fixture.controller.ask("getInstance", { params: { instance: `${pool}-i` } });
    expect(instance.desired).toEqual({ ...splitAt(50), generation: 0 });
    const stoppedBy = `Pool ${pool} was changed at that moment, from version 1 to 2${told}`;
    const decision = await lastDecision(`${pool}-i`);
    expect(decision).toMatchObject({ kind: "move", outcome: "outdated", generation: null, stoppedBy });
    const explained = await fulcrum(fixture.controller, "explain", decision.id);
    expect(explained.stdout).toContain(`Rolled out: no. ${stoppedBy}`);
  },
);

test.each(["mode", "limits", "slo"] as const)(
  "a change of %s is not answered while a move decided before it is being made",
  async (what) => {
    const pool = `after-${what}`;
    await anInstance(pool);
    const lock = await theHoldsLock();
    const evaluated = evaluate(fixture.other, `${pool}-i`);
    await lock.waiting(1);
    let answered = false;
    const changed = changes[what](pool).then(() => (answered = true));
    await lock.waiting(2);
    expect(answered).toBe(false);
    await lock.letGo();
    await Promise.all([evaluated, changed]);
    const action = what === "slo" ? "slo.set" : "pool.update";
    expect(await audited(`instance/${pool}-i`, `pool/${pool}`)).toEqual(["decision.applied", action]);
  },
);
