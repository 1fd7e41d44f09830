import { CanaryService } from "@fulcrum/controller/canary/canary.service.js";
import { canaryHash } from "@fulcrum/controller/fleet/fleet.rows.js";
import { histogramAt } from "@fulcrum/core/fixtures.js";
import { describe, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, splitAt, staticPool, wireWindow } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });
const MINUTE_MS = 60_000;

/** A pool whose policy wants 60 % of prefill everywhere, with so many instances at 50 %. */
async function aPool(pool: string, count: number, over: Parameters<typeof staticPool>[2] = {}) {
  await fixture.controller.ask("createPool", {
    body: staticPool(pool, splitAt(60), { mode: "observe", controlIntervalMs: 600_000, ...over }),
  });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  const names = Array.from({ length: count }, (_, i) => `${pool}-${String(i).padStart(2, "0")}`);
  await agent.register(...names.map((name) => registrationEntry(name, pool)));
  return { agent, names };
}

function patch(pool: string, body: object) {
  return fixture.controller.ask("patchPool", { params: { pool }, body, headers: { "if-match": "*" } });
}

const canaryOf = (pool: string) => fixture.controller.ask("getCanary", { params: { pool } });
const generationOf = async (instance: string) =>
  (await fixture.controller.ask("getInstance", { params: { instance } })).desired.generation;
const lastDecisionOf = async (instance: string) =>
  (await fixture.controller.ask("listDecisions", { query: { instance, limit: 1 } })).items[0];

describe("in mode canary", () => {
  test("the share of the instances is moved; of the rest what was decided is only recorded", async () => {
    const { names } = await aPool("parts", 10);
    const before = await canaryOf("parts");
    expect(before).toMatchObject({ mode: "observe", since: null, instances: [], verdict: "cannot_tell" });
    expect(before.rest).toEqual(names);
    await patch("parts", { mode: "canary", canary: { share: 0.3 } });
    const { instances, rest, since } = await canaryOf("parts");
    expect(since).not.toBeNull();
    expect(instances).toHaveLength(3);
    expect([...instances, ...rest].sort()).toEqual(names);
    for (const name of names) await evaluate(fixture.controller, name);
    for (const name of instances)
      expect(await lastDecisionOf(name)).toMatchObject({ kind: "move", mode: "canary", outcome: "applied" });
    for (const name of rest)
      expect(await lastDecisionOf(name)).toMatchObject({ kind: "move", mode: "canary", outcome: "recorded" });
    expect(await Promise.all(names.map(generationOf))).toEqual(
      names.map((name) => (instances.includes(name) ? 1 : 0)),
    );
  });

  test("nobody changes sides when others come and go; ending it leaves what was moved where it is", async () => {
    const { agent } = await aPool("stable", 8, { mode: "observe" });
    await patch("stable", { mode: "canary", canary: { share: 0.25 } });
    const first = await canaryOf("stable");
    await agent.register(
      ...Array.from({ length: 6 }, (_, i) => registrationEntry(`stable-new-${i}`, "stable")),
    );
    await fixture.controller.ask("deleteInstance", { params: { instance: first.rest[0]! } });
    const later = await canaryOf("stable");
    expect(later.instances).toEqual(expect.arrayContaining(first.instances));
    expect(later.rest).toEqual(expect.arrayContaining(first.rest.slice(1)));
    expect(later.since).toBe(first.since);
    const [moved] = first.instances;
    await evaluate(fixture.controller, moved!);
    expect(await generationOf(moved!)).toBe(1);
    await patch("stable", { mode: "observe" });
    expect(await generationOf(moved!)).toBe(1);
    expect(await canaryOf("stable")).toMatchObject({ since: null, instances: [], blocks: 0 });
  });

  test("of one instance none is moved: there is nothing to compare it with", async () => {
    const { names } = await aPool("alone", 1, { mode: "canary" });
    await evaluate(fixture.controller, names[0]!);
    expect(await generationOf(names[0]!)).toBe(0);
    expect((await canaryOf("alone")).message).toContain("one instance: there is nothing to compare");
  });

  test("the preview says who would be moved", async () => {
    const { names } = await aPool("foresee", 4);
    const { items } = await fixture.controller.ask("previewPool", {
      params: { pool: "foresee" },
      body: { mode: "canary" },
    });
    const would = items.filter(({ then }) => then.applies).map(({ instance }) => instance);
    await patch("foresee", { mode: "canary" });
    expect(would).toEqual((await canaryOf("foresee")).instances);
    expect(names).toEqual(expect.arrayContaining(would));
  });

  test.each([
    ["another share", { canary: { share: 0.5 } }, true],
    ["another policy", { policy: { name: "feedback" } }, true],
    ["other guards", { guards: { dwellMs: 5_000 } }, true],
    ["the same again", { mode: "canary", canary: { share: 0.2 } }, false],
    ["what makes no difference to it", { controlIntervalMs: 500_000 }, false],
  ])("%s: begins anew %#", async (what, body, anew) => {
    const pool = `anew-${what.replaceAll(" ", "-")}`;
    await aPool(pool, 3, { mode: "canary" });
    const { since } = await canaryOf(pool);
    await patch(pool, body);
    expect((await canaryOf(pool)).since !== since).toBe(anew);
  });
});

test("an instance's number is what the migration made of its id", async () => {
  const { names } = await aPool("numbers", 3);
  const rows = await fixture.controller.source.query<{ id: string; hash: number; made: number }[]>(
    `SELECT id, canary_hash AS hash, ('x' || left(md5(id::text), 8))::bit(32)::bigint / 4294967296.0::float8 AS made
     FROM instances WHERE name = ANY($1)`,
    [names],
  );
  expect(rows).toHaveLength(3);
  for (const { id, hash, made } of rows) expect([hash, made]).toEqual([canaryHash(id), canaryHash(id)]);
});

describe("the comparison", () => {
  /** As if the pool had been made two hours ago, and its canary begun 40 minutes ago. */
  async function anOldCanary(
    pool: string,
    lateRest: (minute: number) => number,
    { moved = true, silentFrom = Infinity }: { moved?: boolean; silentFrom?: number } = {},
  ) {
    const { agent, names } = await aPool(pool, 4);
    await patch(pool, { mode: "canary", canary: { share: 0.25 } });
    const { instances } = await canaryOf(pool);
    if (moved) {
      await evaluate(fixture.controller, instances[0]!);
      await agent.carryOut(instances[0]!, 1);
    }
    const sinceMs = Date.now() - 40 * MINUTE_MS;
    await fixture.controller.source.query(
      "UPDATE pools SET canary_since = $2, alike_since = $2::timestamptz - interval '1 hour' WHERE name = $1",
      [pool, new Date(sinceMs)],
    );
    // One window for each instance and minute, stored as received in it.
    for (let minute = -60; minute < 39; minute += 1) {
      const endAtMs = sinceMs + (minute + 0.5) * MINUTE_MS;
      const late = Math.round(40 * lateRest(minute));
      const serving = names.filter((name) => minute < silentFrom || !instances.includes(name));
      const rows = serving.map((name, i) => {
        const good = instances.includes(name) && minute >= 0 ? 36 : 40 - late;
        const ttft = {
          ...histogramAt(200, good),
          counts: histogramAt(200, good).counts.map((n, b) => n + histogramAt(900, 40 - good).counts[b]!),
        };
        return { name, body: wireWindow(minute + 100, { endAtMs, ttft, tpot: histogramAt(80, 40) }), i };
      });
      await fixture.controller.source.query(
        `INSERT INTO windows (instance_id, seq, received_at, end_at, generation, body)
         SELECT i.id, t.seq, $1, $1, 0, t.body FROM unnest($2::text[], $3::bigint[], $4::json[]) AS t(name, seq, body)
         JOIN instances i ON i.name = t.name`,
        [
          new Date(endAtMs),
          rows.map(({ name }) => name),
          rows.map(() => minute + 100),
          rows.map(({ body }) => JSON.stringify(body)),
        ],
      );
    }
    return { agent, names, sinceMs };
  }

  async function counted(): Promise<void> {
    for (let sweeps = 0; sweeps < 25; sweeps += 1) await fixture.controller.app.get(CanaryService).sweep();
  }

  test("minute by minute beside the rest, with what the two differed by before taken off", async () => {
    await anOldCanary("compared", (minute) => 0.3 + 0.05 * (minute % 2));
    // Two replicas that count at once count the same.
    await Promise.all([counted(), fixture.other.app.get(CanaryService).sweep()]);
    const found = await canaryOf("compared");
    expect(found).toMatchObject({ mode: "canary", verdict: "better", blockMs: MINUTE_MS, minBlocks: 30 });
    expect(found.blocks).toBeGreaterThanOrEqual(38);
    expect(found.before).toMatchObject({ blocks: 60 });
    expect(found.before?.diff).toBeCloseTo(0, 1);
    expect(found.diffShare).toBeGreaterThan(0.1);
    expect(found.lowShare).toBeGreaterThan(0);
    expect(found).toMatchObject({ moves: 1, silentBlocks: 0, heldBlocks: 0 });
    const evidence = await fixture.controller.ask("getEvidence", { params: { pool: "compared" } });
    expect(evidence.canary).toEqual(found);
    expect(evidence.message).toContain("The canary does better");
    const shown = await fulcrum(fixture.controller, "canary", "compared");
    expect(shown.stdout).toContain("The canary does better: +");
    const set = await fulcrum(fixture.controller, "pools", "set", "compared", "--mode", "enforce");
    expect(set.stderr).toContain("So far: ");
    expect(set.stderr).toContain("The canary does better");
    expect(set.stdout).toContain("the canary's instances keep the split that they have");
  });

  test("no good is said of a canary that served nothing for its last minutes", async () => {
    await anOldCanary("silent", () => 0.3, { silentFrom: 32 });
    await counted();
    const found = await canaryOf("silent");
    expect(found.silentBlocks).toBeGreaterThanOrEqual(5);
    expect(found).toMatchObject({ verdict: "cannot_tell" });
    expect(found.message).toContain(`The canary served nothing in ${found.silentBlocks} of `);
  });

  test("nor of one that was never moved", async () => {
    await anOldCanary("unmoved", () => 0.3, { moved: false });
    await counted();
    const found = await canaryOf("unmoved");
    expect(found).toMatchObject({ verdict: "cannot_tell", moves: 0 });
    expect(found.message).toContain("moved none of its instances since it began");
  });

  test("minutes in which its instances were held are left out, whatever held them", async () => {
    const { sinceMs } = await anOldCanary("halted", () => 0.3);
    await counted();
    const { blocks, instances } = await canaryOf("halted");
    const at = (minute: number) => new Date(sinceMs + minute * MINUTE_MS);
    const everyMinute = JSON.stringify({ cron: "* * * * *", timeZone: "Etc/UTC", durationMs: MINUTE_MS });
    const holds = [
      ["pause", null, at(1), at(11), null, null],
      ["pin", instances[0]!, at(20), at(25), null, null],
      ["pause", null, at(30), null, at(33), null],
      ["freeze_window", null, at(34), null, at(36), everyMinute],
    ];
    for (const hold of holds)
      await fixture.controller.source.query(
        `INSERT INTO holds (id, kind, pool_id, instance_id, reason, actor, starts_at, until, ended_at, schedule)
         SELECT gen_random_uuid(), $1, p.id, i.id, 'test', 'test', $3, $4, $5, $6
         FROM pools p LEFT JOIN instances i ON i.name = $2 WHERE p.name = 'halted'`,
        hold,
      );
    await fixture.controller.source.query(
      "UPDATE pools SET frozen = true, updated_at = $1 WHERE name = 'halted'",
      [at(38)],
    );
    const found = await canaryOf("halted");
    expect(found).toMatchObject({ heldBlocks: 21, blocks: blocks - 21 });
    expect(found.message).toContain("in which all of its instances were held are left out");
  });

  test("with another SLO it begins anew, and nothing is known of before", async () => {
    await anOldCanary("renewed", () => 0.3);
    await counted();
    const { slo } = await fixture.controller.ask("getPool", { params: { pool: "renewed" } });
    await fixture.controller.ask("putSlo", {
      params: { pool: "renewed" },
      body: { ...slo, attainmentShare: 0.8 },
      headers: { "if-match": "*" },
    });
    expect(await canaryOf("renewed")).toMatchObject({ blocks: 0, before: null, verdict: "cannot_tell" });
  });
});
