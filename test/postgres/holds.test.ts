import type { Hold } from "@fulcrum/contracts/holds.js";
import { HoldService } from "@fulcrum/controller/holds/hold.service.js";
import { describe, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import type { Answer, CallOptions } from "../support/controller.js";
import { evaluate as evaluateOn } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });

/** A pool with one instance, which a decision would move from 50/50 to 60/40. */
async function anInstance(pool: string, over: Parameters<typeof staticPool>[2] = {}): Promise<TestAgent> {
  await fixture.controller.ask("createPool", { body: staticPool(pool, splitAt(60), over) });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(`${pool}-i`, pool));
  return agent;
}

const evaluate = (instance: string, nowMs = Date.now()) => evaluateOn(fixture.controller, instance, nowMs);
const pause = (body: object) => fixture.controller.ask("createPause", { body });
const end = ({ id }: Hold, reason = "over") =>
  fixture.controller.ask("endHold", { params: { id }, query: { reason } });

async function instanceOf(instance: string): Promise<Answer<"getInstance">> {
  return fixture.controller.ask("getInstance", { params: { instance } });
}

async function lastDecision(instance: string) {
  const { items } = await fixture.controller.ask("listDecisions", { query: { instance, limit: 1 } });
  return items[0];
}

async function holds(query: CallOptions["query"]): Promise<Hold[]> {
  return (await fixture.controller.ask("listHolds", { query: query ?? {} })).items;
}

async function auditOf(subject: string) {
  return (await fixture.controller.ask("listAudit", { query: { subject } })).items;
}

describe("a pause", () => {
  test.each([
    ["fleet", {}, "Paused for the fleet by bootstrap: maintenance."],
    ["pool", { pool: "p-pool" }, "Paused for the pool by bootstrap: maintenance."],
    ["instance", { instance: "p-instance-i" }, "Paused for the instance by bootstrap: maintenance."],
  ])("of the %s stops it, and says who and why; once ended it moves", async (scope, target, message) => {
    const instance = `p-${scope}-i`;
    await anInstance(`p-${scope}`);
    await anInstance(`q-${scope}`);
    const made = await pause({ ...target, reason: "maintenance" });
    expect(made).toMatchObject({
      kind: "pause",
      active: true,
      holding: true,
      actor: "bootstrap",
      until: null,
    });
    expect(await evaluate(instance)).toBe(false);
    expect(await lastDecision(instance)).toMatchObject({ kind: "hold", reason: "FROZEN", message });
    expect((await instanceOf(instance)).conditions).toContain("Paused");
    // Nobody else is stopped by it, but by the fleet's.
    expect(await evaluate(`q-${scope}-i`)).toBe(scope !== "fleet");
    const ended = await end(made, "all is well");
    expect(ended).toMatchObject({ active: false, endedBy: "bootstrap", endReason: "all is well" });
    expect(await evaluate(instance)).toBe(true);
    expect((await instanceOf(instance)).conditions).not.toContain("Paused");
    const subject = scope === "fleet" ? "fleet" : `${scope}/p-${scope}${scope === "instance" ? "-i" : ""}`;
    const audit = (await auditOf(subject)).filter(({ action }) => /^(pause|hold)\./.test(action));
    expect(audit.map(({ action }) => action)).toEqual(["hold.end", "pause.create"]);
    expect(audit[0]).toMatchObject({ before: { active: true }, after: { endReason: "all is well" } });
  });

  test("with a time to live ends by itself; what held at any moment can be asked later", async () => {
    await anInstance("ttl");
    const made = await pause({ pool: "ttl", ttlMs: 3_600_000, reason: "an hour" });
    const untilMs = Date.parse(made.until!);
    expect(await evaluate("ttl-i", untilMs - 1)).toBe(false);
    expect(await evaluate("ttl-i", untilMs)).toBe(true);
    await fixture.controller.app.get(HoldService).settle(new Date(untilMs));
    const ended = await holds({ pool: "ttl", active: "false" });
    expect(ended.filter(({ pool }) => pool === "ttl")).toMatchObject([
      { id: made.id, endedAt: made.until, endedBy: null, endReason: "its time ran out" },
    ]);
  });

  test("of many the one that lasts longest is told, beside a pin and a freeze window", async () => {
    await anInstance("many");
    const scopes = [{ pool: "many" }, { instance: "many-i" }, { pool: "many" }];
    for (const [n, scope] of scopes.entries())
      await pause({ ...scope, ttlMs: [60_000, 90_000, 70_000][n], reason: `pause ${n}` });
    const minutely = { cron: "* * * * *", timeZone: "UTC", durationMs: 60_000 };
    await fixture.controller.ask("createFreezeWindow", {
      body: { pool: "many", ...minutely, reason: "for ever" },
    });
    const nowMs = Date.now();
    await evaluate("many-i", nowMs);
    expect((await lastDecision("many-i"))?.message).toMatch(/pause 1|for ever/);
    await fixture.controller.ask("pinInstance", {
      params: { instance: "many-i" },
      body: { ttlMs: null, reason: "stay" },
    });
    await evaluate("many-i", nowMs + 1_000);
    expect(await lastDecision("many-i")).toMatchObject({ reason: "PINNED" });
    await fixture.controller.ask("unpinInstance", { params: { instance: "many-i" } });
    // When the pauses are over the freeze window still holds.
    await evaluate("many-i", nowMs + 120_000);
    expect((await lastDecision("many-i"))?.message).toContain("for ever");
  });

  test("made between a decision and its commit still stops it", async () => {
    await anInstance("race");
    const runner = fixture.controller.source.createQueryRunner();
    const [{ id: pool }] = await runner.query("SELECT id FROM pools WHERE name = 'race'");
    await runner.startTransaction();
    await runner.query("SELECT pg_advisory_xact_lock(4702113)");
    await runner.query(
      `INSERT INTO holds (id, kind, pool_id, reason, actor, starts_at) VALUES (gen_random_uuid(), 'pause', $1, 'r', 'a', now())`,
      [pool],
    );
    // Nobody sees the row yet: it is decided to move, and its commit waits for the pause.
    const evaluated = evaluateOn(fixture.other, "race-i");
    const waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4702113 AND NOT granted";
    await expect.poll(async () => (await fixture.controller.source.query(waits)).length).toBe(1);
    await runner.commitTransaction();
    await runner.release();
    expect(await evaluated).toBe(false);
    expect((await instanceOf("race-i")).desired.generation).toBe(0);
    // As what it is, not as a race with another controller.
    const last = await lastDecision("race-i");
    expect(last).toMatchObject({ kind: "move", outcome: "held", generation: null });
    const explained = await fulcrum(fixture.controller, "explain", last!.id);
    expect(explained.stdout).toContain("Rolled out: no. Paused for the pool by a: r.");
  });

  test("one that has ended is told as such, by whoever asks; one that never was is not found", async () => {
    await anInstance("twice");
    const made = await pause({ pool: "twice", reason: "r" });
    await end(made, "first");
    const options = { params: { id: made.id }, query: { reason: "second" } };
    const again = await fixture.controller.call("endHold", options);
    expect([again.status, again.problem?.code]).toEqual([409, "conflict"]);
    expect(again.problem?.detail).toMatch(/ended at .* by bootstrap: first\.$/);
    const params = { id: "01900000-0000-7000-8000-000000000000" };
    expect((await fixture.controller.call("endHold", { ...options, params })).status).toBe(404);
  });
});

describe("a freeze window", () => {
  test("holds by the clock while it is one of its times, and lists the next", async () => {
    await anInstance("window");
    const body = {
      pool: "window",
      cron: "0 3 * * *",
      timeZone: "UTC",
      durationMs: 3_600_000,
      reason: "nightly",
    };
    const made = await fixture.controller.ask("createFreezeWindow", { body });
    const fromMs = Date.parse(made.window!.from);
    expect(await evaluate("window-i", fromMs + 1_000)).toBe(false);
    expect(await lastDecision("window-i")).toMatchObject({
      reason: "FROZEN",
      message: expect.stringMatching(
        /^In a freeze window for the pool by bootstrap, for another [\d.]+ s: nightly\.$/,
      ) as string,
    });
    expect(await evaluate("window-i", fromMs + 3_600_000)).toBe(true);
    expect(await holds({ pool: "window", kind: "freeze_window", active: "true" })).toMatchObject([
      { id: made.id, schedule: { cron: "0 3 * * *", timeZone: "UTC", durationMs: 3_600_000 } },
    ]);
    await end(made);
  });
});

test("a freeze window whose times overlap tells the end of all of them, or that it has none", async () => {
  await anInstance("gapless");
  const window = { pool: "gapless", timeZone: "UTC", durationMs: 3_600_000, reason: "always" };
  const body = { ...window, cron: "*/20 * * * *" };
  const endless = await fixture.controller.ask("createFreezeWindow", { body });
  expect(endless).toMatchObject({ holding: true, window: { until: null } });
  expect(await evaluate("gapless-i")).toBe(false);
  const message = "In a freeze window for the pool by bootstrap: always.";
  expect(await lastDecision("gapless-i")).toMatchObject({ reason: "FROZEN", message });
  await end(endless);
  const daily = { ...window, cron: "0,20,40 3-4 * * *" };
  const made = await fixture.controller.ask("createFreezeWindow", { body: daily });
  expect(made.window?.until).toMatch(/T05:40:00\.000Z$/);
  await end(made);
});

describe("an override", () => {
  const override = (instance: string, body: object) =>
    fixture.controller.ask("overrideInstance", { params: { instance }, body });

  test("is a new generation at once, in any mode, and holds until its end", async () => {
    const agent = await anInstance("over", { mode: "observe" });
    const made = await override("over-i", { allocation: splitAt(70), ttlMs: 3_600_000, reason: "trying" });
    expect(made).toMatchObject({
      kind: "override",
      instance: "over-i",
      pool: "over",
      allocation: splitAt(70),
      generation: 1,
      holding: true,
    });
    const polled = await agent.poll();
    expect(polled?.assignments).toMatchObject([
      { generation: 1, allocation: splitAt(70), reason: "OVERRIDE" },
    ]);
    await agent.carryOut("over-i", 1);
    const instance = await instanceOf("over-i");
    expect(instance).toMatchObject({ pinned: true, pinnedUntil: made.until, lastGood: { generation: 1 } });
    await fixture.controller.ask("patchPool", {
      params: { pool: "over" },
      body: { mode: "enforce" },
      headers: { "if-match": "*" },
    });
    const untilMs = Date.parse(made.until!);
    expect(await evaluate("over-i", untilMs - 60_000)).toBe(false);
    expect(await lastDecision("over-i")).toMatchObject({
      reason: "PINNED",
      message: "Set by hand by bootstrap, for another 60 s: trying.",
    });
    expect(await evaluate("over-i", untilMs)).toBe(true);
    const { items } = await fixture.controller.ask("listReconfigurations", { query: { instance: "over-i" } });
    expect(items.map(({ kind, generation }) => [kind, generation])).toEqual([
      ["decision", 2],
      ["override", 1],
    ]);
    const [record] = (await auditOf("instance/over-i")).filter(
      ({ action }) => action === "instance.override",
    );
    expect(record).toMatchObject({
      actor: "bootstrap",
      before: { generation: 0, allocation: splitAt(50) },
      after: { generation: 1, allocation: splitAt(70), hold: made.id, reason: "trying" },
    });
  });

  test("takes the place of the one before and of an unfinished rollout; unpinning ends it", async () => {
    const agent = await anInstance("over2");
    expect(await evaluate("over2-i")).toBe(true);
    const first = await override("over2-i", { allocation: splitAt(70), ttlMs: 60_000, reason: "a" });
    const second = await override("over2-i", { allocation: splitAt(80), ttlMs: 60_000, reason: "b" });
    expect([first.generation, second.generation]).toEqual([2, 3]);
    expect(await holds({ instance: "over2-i", active: "true" })).toMatchObject([{ id: second.id }]);
    const { items } = await fixture.controller.ask("listReconfigurations", {
      query: { instance: "over2-i" },
    });
    expect(items.map(({ state }) => state)).toEqual(["offered", "superseded", "superseded"]);
    await agent.carryOut("over2-i", 3);
    const unpinned = await fixture.controller.ask("unpinInstance", { params: { instance: "over2-i" } });
    expect(unpinned.pinned).toBe(false);
    expect(await evaluate("over2-i", Date.now() + 86_400_000)).toBe(true);
  });

  test("outside of the limits is refused with field and bound, and nothing is changed", async () => {
    await anInstance("over3", { limits: { maxSmPct: 80 } });
    const body = { allocation: splitAt(85), ttlMs: 60_000, reason: "too far" };
    const reply = await fixture.controller.call("overrideInstance", {
      params: { instance: "over3-i" },
      body,
    });
    expect([reply.status, reply.problem?.errors]).toEqual([
      400,
      [{ field: "allocation.split.prefillSmPct", message: "must be at most 80, the pool's maxSmPct" }],
    ]);
    expect((await instanceOf("over3-i")).desired.generation).toBe(0);
    expect(await holds({ instance: "over3-i", active: "true" })).toEqual([]);
  });
});

describe("a rollback by hand", () => {
  const rollback = (instance: string, generation: number) =>
    fixture.controller.call("rollbackInstance", {
      params: { instance },
      body: { generation, ttlMs: 60_000, reason: "it was better" },
    });

  test("gives the allocation of an earlier verified generation, as a new one", async () => {
    const agent = await anInstance("back");
    await evaluate("back-i");
    await agent.carryOut("back-i", 1);
    const reply = await rollback("back-i", 0);
    expect(reply.body).toMatchObject({ kind: "override", allocation: splitAt(50), generation: 2 });
    const polled = await agent.poll();
    expect(polled?.assignments).toMatchObject([{ allocation: splitAt(50), reason: "MANUAL_ROLLBACK" }]);
    await agent.carryOut("back-i", 2);
    expect((await rollback("back-i", 1)).body).toMatchObject({ allocation: splitAt(60), generation: 3 });
    const { items } = await fixture.controller.ask("listReconfigurations", { query: { instance: "back-i" } });
    expect(items.map(({ kind }) => kind)).toEqual(["manual_rollback", "manual_rollback", "decision"]);
    const [record] = await auditOf("instance/back-i");
    expect(record).toMatchObject({ action: "instance.rollback", after: { generation: 3, restored: 1 } });
  });

  test("what it can go back to is listed, the original with it, and each can be had", async () => {
    const { controller } = fixture;
    const params = { instance: "list-i" };
    const agent = await anInstance("list");
    expect((await controller.ask("listGenerations", { params })).items).toEqual([]);
    await evaluate("list-i");
    const { createdAt } = await instanceOf("list-i");
    // The first rollout is under way: what it was found with can be had already.
    const found = { generation: 0, allocation: splitAt(50), origin: "found", at: createdAt };
    expect((await controller.ask("listGenerations", { params })).items).toEqual([found]);
    await agent.carryOut("list-i", 1);
    expect((await rollback("list-i", 0)).status).toBe(200);
    const verified = { generation: 1, allocation: splitAt(60), origin: "verified" };
    const { items } = await controller.ask("listGenerations", { params });
    expect(items).toMatchObject([verified, found]);
    expect((await rollback("list-i", items[0]!.generation)).status).toBe(200);
    const nowhere = await controller.call("listGenerations", { params: { instance: "nowhere" } });
    expect(nowhere.status).toBe(404);
  });

  test("to one that is unknown, never verified or the present one is refused with those that can be had", async () => {
    const agent = await anInstance("back2");
    await evaluate("back2-i");
    await agent.carryOut("back2-i", 1);
    const body = { allocation: splitAt(70), ttlMs: 1_000, reason: "r" };
    await fixture.controller.ask("overrideInstance", { params: { instance: "back2-i" }, body });
    await fixture.controller.ask("overrideInstance", { params: { instance: "back2-i" }, body });
    for (const generation of [2, 3, 99]) {
      const reply = await rollback("back2-i", generation);
      const message = `${generation} is no earlier generation that was verified; these can be had: 1, 0`;
      expect([reply.status, reply.problem?.errors]).toEqual([400, [{ field: "generation", message }]]);
    }
  });
});

describe("what makes no sense is refused, and the answer names the field", () => {
  const window = { cron: "0 22 * * *", timeZone: "UTC", durationMs: 3_600_000, reason: "r" };
  const override = { allocation: splitAt(60), ttlMs: 60_000, reason: "r" };
  test.each([
    ["createPause", {}, "reason"],
    ["createPause", { reason: "  " }, "reason"],
    ["createPause", { reason: "r".repeat(501) }, "reason"],
    ["createPause", { reason: "r", ttlMs: 999 }, "ttlMs"],
    ["createPause", { reason: "r", ttlMs: 30 * 86_400_000 + 1 }, "ttlMs"],
    ["createPause", { reason: "r", pool: "a", instance: "b" }, "instance"],
    ["createPause", { reason: "r", pools: "a" }, "pools"],
    ["createFreezeWindow", { ...window, cron: "* * * *  " }, "cron"],
    ["createFreezeWindow", { ...window, cron: "0 22 31 2 *" }, "cron"],
    ["createFreezeWindow", { ...window, timeZone: "Europe/Atlantis" }, "timeZone"],
    ["createFreezeWindow", { ...window, durationMs: 59_999 }, "durationMs"],
    ["createFreezeWindow", { ...window, reason: undefined }, "reason"],
    ["overrideInstance", { ...override, ttlMs: null }, "ttlMs"],
    ["overrideInstance", { ...override, allocation: splitAt(100) }, "allocation.split.decodeSmPct"],
    ["overrideInstance", { ...override, reason: "" }, "reason"],
    ["rollbackInstance", { generation: -1, ttlMs: 60_000, reason: "r" }, "generation"],
    ["rollbackInstance", { generation: 1.5, ttlMs: 60_000, reason: "r" }, "generation"],
    ["pinInstance", { ttlMs: 1_000 }, "reason"],
  ] as const)("%s %j", async (route, body, field) => {
    const reply = await fixture.controller.call(route, { params: { instance: "nowhere" }, body });
    expect([reply.status, reply.problem?.errors?.map((error) => error.field)]).toEqual([400, [field]]);
  });
  test("a reason is needed to end a hold too", async () => {
    const params = { id: "01900000-0000-7000-8000-000000000000" };
    const reply = await fixture.controller.call("endHold", { params });
    expect(reply.problem?.errors?.map(({ field }) => field)).toEqual(["reason"]);
  });
  test.each([
    ["createPause", { pool: "nowhere", reason: "r" }, "There is no pool nowhere."],
    ["createPause", { instance: "nowhere", reason: "r" }, "There is no instance nowhere."],
    ["overrideInstance", override, "There is no instance nowhere."],
  ] as const)("%s of what is not there is not found", async (route, body, detail) => {
    const reply = await fixture.controller.call(route, { params: { instance: "nowhere" }, body });
    expect([reply.status, reply.problem?.detail]).toEqual([404, detail]);
  });
  test("the 1,001st hold is refused, and so is the 101st freeze window", async () => {
    await anInstance("full", { mode: "observe" });
    const { reason: _reason, ...schedule } = window;
    const { source } = fixture.controller;
    const fill = (kind: string, most: number) =>
      source.query(
        `INSERT INTO holds (id, kind, pool_id, schedule, reason, actor, starts_at)
         SELECT gen_random_uuid(), $1, p.id, $3::jsonb, 'fill', 'test', now()
         FROM pools p, generate_series(1, $2 - (SELECT count(*)::int FROM holds WHERE ended_at IS NULL
           AND ($1 <> 'freeze_window' OR kind = $1))) WHERE p.name = 'full'`,
        [kind, most, kind === "freeze_window" ? JSON.stringify(schedule) : null],
      );
    await fill("freeze_window", 100);
    const another = await fixture.controller.call("createFreezeWindow", {
      body: { ...window, pool: "full" },
    });
    expect([another.status, another.problem?.detail]).toEqual([
      409,
      "There are 100 freeze windows already, which is the most: end some first.",
    ]);
    await fill("pause", 1_000);
    const reply = await fixture.controller.call("createPause", { body: { pool: "full", reason: "r" } });
    expect([reply.status, reply.problem?.detail]).toEqual([
      409,
      "1000 holds are in force already, which is the most: end some first.",
    ]);
    await source.query("DELETE FROM holds WHERE reason = 'fill'");
  });
});

test("holds are found by what they touch", async () => {
  for (const pool of ["touch", "touch2"]) await anInstance(pool);
  const fleet = await pause({ reason: "fleet" });
  const pool = await pause({ pool: "touch", reason: "pool" });
  const instance = await pause({ instance: "touch-i", reason: "instance" });
  await fixture.controller.ask("pinInstance", { params: { instance: "touch2-i" }, body: { reason: "pin" } });
  const reasons = async (query: CallOptions["query"]) =>
    (await holds({ active: "true", ...query })).map(({ reason }) => reason);
  expect(await reasons({ instance: "touch-i" })).toEqual(["instance", "pool", "fleet"]);
  expect(await reasons({ pool: "touch" })).toEqual(["instance", "pool", "fleet"]);
  expect(await reasons({ instance: "touch2-i" })).toEqual(["pin", "fleet"]);
  expect(await reasons({ instance: "touch2-i", kind: "pause" })).toEqual(["fleet"]);
  expect(await reasons({ instance: "no-such" })).toEqual([]);
  expect(await reasons({ pool: "touch", limit: 1 })).toEqual(["instance"]);
  await fixture.controller.ask("deleteInstance", { params: { instance: "touch-i" } });
  const before = await holds({ pool: "touch", active: "false" });
  expect(before[0]).toMatchObject({ id: instance.id, endReason: "the instance was deleted" });
  await fixture.controller.ask("deletePool", { params: { pool: "touch" } });
  const ended = (await holds({ active: "false" })).find(({ id }) => id === pool.id);
  expect(ended).toMatchObject({ endReason: "the pool was deleted", endedBy: "bootstrap" });
  await end(fleet);
});

describe("on the command line", () => {
  const cli = (...args: string[]) => fulcrum(fixture.controller, ...args);

  test("pause, what is in force, and resume", async () => {
    await anInstance("cli");
    const paused = await cli("pause", "--pool", "cli", "--ttl", "30m", "--reason", "load test");
    expect(paused).toMatchObject({ exitCode: 0, stderr: "" });
    expect(paused.stdout).toMatch(/^paused pool cli \(ends in 30 min, hold [0-9a-f-]{36}\)/);
    expect((await cli("holds", "list", "--pool", "cli")).stdout).toMatch(
      /pause +pool cli +bootstrap .*load test/,
    );
    const none = await cli("resume", "--instance", "cli-i", "--reason", "over");
    expect(none.exitCode).toBe(1);
    expect(none.stderr).toContain("no pause of instance cli-i is in force");
    expect(none.stderr).toContain("pause of pool cli by bootstrap: load test");
    expect((await cli("resume", "--pool", "cli", "--reason", "over")).stdout).toBe(
      "resumed pool cli: ended 1 pause\n",
    );
    expect(await evaluate("cli-i")).toBe(true);
  });

  test("never pauses the fleet by omission, and names the field of what is wrong", async () => {
    const bare = await cli("pause", "--reason", "r");
    expect([bare.exitCode, bare.stderr]).toEqual([
      2,
      expect.stringContaining("say what: --all, --pool") as string,
    ]);
    const short = await cli("pause", "--all", "--ttl", "1ms", "--reason", "r");
    expect([short.exitCode, short.stderr]).toEqual([1, expect.stringContaining("ttlMs:") as string]);
    const cron = await cli(
      "holds",
      "freeze-window",
      "--cron",
      "0 22 * *   ",
      "--duration",
      "1h",
      "--reason",
      "r",
    );
    expect(cron.stderr).toContain("such as 0 22 * * 1-5 for 22:00 from Monday to Friday");
  });

  test("override and rollback", async () => {
    const agent = await anInstance("cli2");
    const set = await cli(
      "instances",
      "override",
      "cli2-i",
      "--split",
      "70,30",
      "--ttl",
      "1h",
      "--reason",
      "r",
    );
    expect(set.stdout).toMatch(/^set cli2-i to 70\/30 kv 100 as generation 1; held, ends in 1 h \(hold /);
    await agent.carryOut("cli2-i", 1);
    const back = await cli("instances", "rollback", "cli2-i", "--to", "7", "--ttl", "1h", "--reason", "r");
    expect(back.stderr).toContain(
      "generation: 7 is no earlier generation that was verified; these can be had: 0",
    );
    const went = await cli("instances", "rollback", "cli2-i", "--to", "0", "--ttl", "1h", "--reason", "r");
    expect(went.stdout).toMatch(/^set cli2-i to 50\/50 kv 100 as generation 2/);
  });

  test("every decision of these tests, run again, gives the same answer", async () => {
    const verified = await cli("decisions", "verify");
    expect(verified).toMatchObject({ exitCode: 0, stderr: "" });
    expect(verified.stdout).toMatch(/^checked \d\d+ decisions: 0 differ/);
  });
});

test("the end of a hold whose time ran out is written down without anybody asking", async () => {
  await anInstance("swept");
  const { id } = await pause({ pool: "swept", ttlMs: 1_000, reason: "short" });
  const ended = "SELECT 1 FROM holds WHERE id = $1 AND ended_at = until";
  await expect
    .poll(async () => (await fixture.controller.source.query(ended, [id])).length, { timeout: 20_000 })
    .toBe(1);
});
