import { OutcomeService } from "@fulcrum/controller/outcomes/outcome.service.js";
import { histogramAt } from "@fulcrum/core/fixtures.js";
import type { Window } from "@fulcrum/core/nouns.js";
import { describe, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import type { TestController } from "../support/controller.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { type PoolBody, registrationEntry, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });
const SOON = { timeout: 20_000, interval: 100 };
/** Later than any trial lasts. */
const LATER_MS = 600_000;

let made = 0;

const GOOD: Partial<Window> = {};
/** Every first token comes three times too late. */
const BAD: Partial<Window> = { ttft: histogramAt(900, 50) };

/** An instance that runs 60 % as generation 1, of which 400 requests were seen within both bounds. */
async function aRunningInstance(over: Partial<PoolBody> = {}) {
  made += 1;
  const pool = `turned-${made}`;
  const instance = `${pool}-i`;
  await fixture.controller.ask("createPool", {
    body: staticPool(pool, splitAt(60), { controlIntervalMs: 600_000, ...over }),
  });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(instance, pool));
  const scene = { pool, instance, agent, generation: 0, target: 60 };
  if (over.mode === undefined) await moved(scene, 60);
  await seen(scene, GOOD);
  return scene;
}

type Scene = Awaited<ReturnType<typeof aRunningInstance>>;

/** The policy asks for so much prefill, and the agent carries it out. Answers with the decision's id. */
async function moved(
  scene: Pick<Scene, "pool" | "instance" | "agent"> & { generation: number },
  prefillPct: number,
) {
  const { pool, instance, agent } = scene;
  await fixture.controller.ask("patchPool", {
    params: { pool },
    body: { policy: { name: "static", params: { allocation: splitAt(prefillPct) } } },
    headers: { "if-match": "*" },
  });
  expect(await evaluate(fixture.controller, instance)).toBe(true);
  const { desired } = await instanceOf(instance);
  await agent.carryOut(instance, desired.generation);
  scene.generation = desired.generation;
  return lastDecisionOf(instance);
}

/** Eight windows of 50 requests at the present generation, each begun after what has happened so far. */
async function seen(scene: Pick<Scene, "instance" | "agent" | "generation">, window: Partial<Window>) {
  const { agent, instance, generation } = scene;
  for (let i = 0; i < 8; i += 1) {
    const startAtMs = Date.now();
    await new Promise((resolve) => setImmediate(resolve));
    await agent.report(instance, { window: { generation, startAtMs, endAtMs: startAtMs + 1, ...window } });
  }
}

function instanceOf(instance: string) {
  return fixture.controller.ask("getInstance", { params: { instance } });
}

async function lastDecisionOf(instance: string): Promise<string> {
  const { items } = await fixture.controller.ask("listDecisions", { query: { instance, limit: 1 } });
  return items.at(0)!.id;
}

async function trialOf(id: string) {
  return (await fixture.controller.ask("getDecision", { params: { id } })).trial;
}

/** Newest first. */
async function rolloutsOf(instance: string) {
  return (await fixture.controller.ask("listReconfigurations", { query: { instance } })).items;
}

async function auditOf(instance: string, action: string) {
  const { items } = await fixture.controller.ask("listAudit", {
    query: { subject: `instance/${instance}`, action },
  });
  return items;
}

function sweep(controller: TestController = fixture.controller, nowMs?: number) {
  return controller.app.get(OutcomeService).sweep(nowMs);
}

/** As if the last rollback had been long ago. */
async function coolDown() {
  await fixture.controller.source.query(
    "UPDATE reconfigurations SET ended_at = ended_at - interval '1 hour' WHERE state = 'rolled_back'",
  );
}

test("a change that made it worse is taken back, once, by the replicas' own sweeps", async () => {
  const scene = await aRunningInstance();
  const { instance } = scene;
  const decision = await moved(scene, 70);
  await seen(scene, BAD);
  await expect.poll(async () => (await trialOf(decision))?.verdict ?? null, SOON).toBe("worse");
  await Promise.all([sweep(), sweep(fixture.other)]);
  const trial = await trialOf(decision);
  expect(trial).toMatchObject({
    subject: "move",
    worseThan: "before",
    takenBack: true,
    requests: 400,
    before: { attainmentShare: 1, requests: 250 },
    observed: { attainmentShare: 0 },
    predicted: null,
    message: "Worse than before: 0 % of 400 requests were within both bounds, 100 % before.",
  });
  const [back, bad] = await rolloutsOf(instance);
  expect(bad).toMatchObject({ generation: 2, state: "rolled_back", failure: trial?.message });
  expect(back).toMatchObject({ generation: 3, kind: "rollback", to: splitAt(60), decision });
  const rows = await auditOf(instance, "reconfiguration.rolled_back");
  expect(rows).toHaveLength(1);
  expect(rows[0]).toMatchObject({ actor: "controller", after: { why: trial?.message, restored: 1 } });
  await scene.agent.carryOut(instance, 3);
  expect((await instanceOf(instance)).lastGood).toEqual({ ...splitAt(60), generation: 3 });
  // The policy still wants it: it waits, as after any rollback.
  expect(await evaluate(fixture.controller, instance)).toBe(false);
  const held = await fixture.controller.ask("getDecision", {
    params: { id: await lastDecisionOf(instance) },
  });
  expect(held).toMatchObject({ reason: "COOL_DOWN", trial: null });
});

test("a trial that cannot be read does not keep the others from being judged", async () => {
  const [broken, whole] = [await aRunningInstance(), await aRunningInstance()];
  const [unreadable, readable] = [await moved(broken, 70), await moved(whole, 70)];
  await fixture.controller.source.query("UPDATE decisions SET snapshot = '{}' WHERE id = $1", [unreadable]);
  for (const scene of [broken, whole]) await seen(scene, BAD);
  await sweep();
  await sweep(fixture.controller, Date.now() + LATER_MS);
  expect((await trialOf(readable))?.verdict).toBe("worse");
  expect(await trialOf(unreadable)).toMatchObject({ verdict: null });
});

test("a change that comes with more load is not taken back: it cannot be told", async () => {
  const scene = await aRunningInstance();
  const decision = await moved(scene, 70);
  await seen(scene, { ...BAD, arrivals: 100, promptTokens: 25_000 });
  await sweep();
  expect(await trialOf(decision)).toMatchObject({ verdict: null, to: null });
  await sweep(fixture.controller, Date.now() + LATER_MS);
  const trial = await trialOf(decision);
  expect(trial).toMatchObject({ verdict: "cannot_tell", worseThan: null, takenBack: false });
  expect(trial?.message).toContain("2 times the requests and 2 times the prompt tokens per second came");
  expect((await instanceOf(scene.instance)).desired).toMatchObject(splitAt(70));
});

test("a change that is followed by another one before enough was seen cannot be told", async () => {
  const scene = await aRunningInstance();
  const decision = await moved(scene, 70);
  await sweep();
  await moved(scene, 80);
  await sweep(fixture.controller, Date.now() + 60_000);
  expect(await trialOf(decision)).toMatchObject({ verdict: "cannot_tell", requests: 0 });
});

describe("what made it worse is left where it is", () => {
  test("when the pool says so", async () => {
    const scene = await aRunningInstance({ autoRollback: false });
    const decision = await moved(scene, 70);
    await seen(scene, BAD);
    await sweep();
    expect(await trialOf(decision)).toMatchObject({ verdict: "worse", takenBack: false });
    expect((await instanceOf(scene.instance)).desired.generation).toBe(2);
  });

  test("when a person holds it there", async () => {
    const scene = await aRunningInstance();
    const decision = await moved(scene, 70);
    await seen(scene, BAD);
    await fixture.controller.ask("pinInstance", {
      params: { instance: scene.instance },
      body: { reason: "watching" },
    });
    await sweep();
    const held = await trialOf(decision);
    expect(held).toMatchObject({ verdict: "worse", takenBack: false });
    expect(held?.message).toContain("taken back when that ends");
    expect((await instanceOf(scene.instance)).desired.generation).toBe(2);
    await sweep();
    expect((await instanceOf(scene.instance)).desired.generation).toBe(2);
  });

  test("until the hold ends, and then it is, once", async () => {
    const scene = await aRunningInstance();
    const { instance } = scene;
    const decision = await moved(scene, 70);
    await seen(scene, BAD);
    const hold = await fixture.controller.ask("createPause", { body: { instance, reason: "it looks bad" } });
    await sweep();
    expect(await trialOf(decision)).toMatchObject({ verdict: "worse", takenBack: false });
    await fixture.controller.ask("endHold", { params: { id: hold.id }, query: { reason: "seen" } });
    await Promise.all([sweep(), sweep(fixture.other)]);
    expect(await trialOf(decision)).toMatchObject({ verdict: "worse", takenBack: true });
    const [back, bad] = await rolloutsOf(instance);
    expect(bad).toMatchObject({ generation: 2, state: "rolled_back" });
    expect(back).toMatchObject({ generation: 3, kind: "rollback", to: splitAt(60) });
    expect(await auditOf(instance, "reconfiguration.rolled_back")).toHaveLength(1);
  });
});

test("a proposal that waited for its approval is held against what was before it was carried out", async () => {
  const scene = await aRunningInstance();
  const { pool, instance, agent } = scene;
  await fixture.controller.ask("patchPool", {
    params: { pool },
    body: { mode: "recommend", policy: { name: "static", params: { allocation: splitAt(70) } } },
    headers: { "if-match": "*" },
  });
  await evaluate(fixture.controller, instance);
  const [proposal] = (await fixture.controller.ask("listProposals", { query: { instance } })).items;
  const decision = proposal!.decision;
  // Decided while all was well, approved minutes later when nothing was.
  await fixture.controller.source.query(
    "UPDATE windows SET received_at = received_at - interval '10 minutes' WHERE instance_id = (SELECT id FROM instances WHERE name = $1)",
    [instance],
  );
  await seen(scene, BAD);
  await fixture.controller.source.query("UPDATE decisions SET at = at - interval '5 minutes' WHERE id = $1", [
    decision,
  ]);
  await fixture.controller.ask("approveProposal", { params: { id: proposal!.id }, body: {} });
  scene.generation = (await instanceOf(instance)).desired.generation;
  await agent.carryOut(instance, scene.generation);
  await sweep();
  await seen(scene, BAD);
  await sweep(fixture.controller, Date.now() + LATER_MS);
  expect(await trialOf(decision)).toMatchObject({
    subject: "move",
    before: { attainmentShare: 0 },
    observed: { attainmentShare: 0 },
  });
});

test("three in a row: the instance is degraded and holds still until a person clears it", async () => {
  const scene = await aRunningInstance();
  const { instance, agent } = scene;
  const conditions = async () => (await instanceOf(instance)).conditions;
  for (const prefillPct of [70, 80, 75]) {
    expect(await conditions()).not.toContain("Degraded");
    await moved(scene, prefillPct);
    await seen(scene, BAD);
    await sweep();
    scene.generation += 1;
    expect((await instanceOf(instance)).desired).toEqual({ ...splitAt(60), generation: scene.generation });
    await agent.carryOut(instance, scene.generation);
    await seen(scene, GOOD);
    await coolDown();
  }
  // The rollback was verified since: that does not end it.
  expect(await conditions()).toContain("Degraded");
  expect(await evaluate(fixture.controller, instance)).toBe(false);
  const { items } = await fixture.controller.ask("listDecisions", { query: { instance, limit: 1 } });
  expect(items[0]).toMatchObject({ kind: "hold", reason: "DEGRADED" });
  expect(await auditOf(instance, "instance.degraded")).toHaveLength(1);

  const unsaid = await fixture.controller.call("clearDegraded", { params: { instance } });
  expect([unsaid.status, unsaid.problem?.errors?.[0]?.field]).toEqual([400, "reason"]);
  const query = { reason: "the engine was updated" };
  const cleared = await fixture.controller.ask("clearDegraded", { params: { instance }, query });
  expect(cleared.conditions).not.toContain("Degraded");
  await fixture.controller.ask("clearDegraded", { params: { instance }, query });
  const rows = await auditOf(instance, "instance.clear_degraded");
  expect(rows).toHaveLength(1);
  expect(rows[0]).toMatchObject({ after: { reason: "the engine was updated" } });

  // What was before does not count any more: one more revert is one in a row.
  await moved(scene, 70);
  await seen(scene, BAD);
  await sweep();
  expect((await instanceOf(instance)).desired).toMatchObject(splitAt(60));
  expect(await conditions()).not.toContain("Degraded");
});

test("in observe nothing moves: what was predicted of staying is judged, and nothing is taken back", async () => {
  const scene = await aRunningInstance({
    mode: "observe",
    policy: { name: "feedback" },
    controlIntervalMs: 600_000,
  });
  await seen(scene, { ...BAD, ttft: histogramAt(420, 50) });
  expect(await evaluate(fixture.controller, scene.instance)).toBe(false);
  const decision = await lastDecisionOf(scene.instance);
  const row = await fixture.controller.ask("getDecision", { params: { id: decision } });
  expect(row).toMatchObject({ kind: "move", outcome: "recorded" });
  await sweep();
  expect((await trialOf(decision))?.subject).toBe("stay");
  await seen(scene, { ...BAD, ttft: histogramAt(420, 50) });
  await sweep(fixture.controller, Date.now() + LATER_MS);
  const trial = await trialOf(decision);
  expect(trial).toMatchObject({ subject: "stay", takenBack: false });
  expect(trial?.message).toContain("where nothing was changed");
  // The move itself is judged too, by the model with the load that came, and counts as evidence.
  expect(trial?.hindsight).toMatchObject({ move: row.allocation });
  expect(trial?.hindsight?.message).toMatch(/the move would (not )?have helped/i);
  const shown = await fulcrum(fixture.controller, "explain", decision);
  expect(shown.stdout).toContain(trial!.hindsight!.message);
  const evidence = await fixture.controller.ask("getEvidence", { params: { pool: scene.pool } });
  const [item] = evidence.items;
  expect(item).toMatchObject({ mode: "observe", subject: "stay", trials: 1 });
  const { would_have_helped, would_not, cannot_tell } = item!.hindsight!;
  expect(would_have_helped + would_not + cannot_tell).toBe(1);
  // The gain stands behind both counts, not behind the moves that would not have helped.
  await fixture.controller.source.query(
    `UPDATE outcomes SET hindsight = hindsight::jsonb || '{"verdict": "would_have_helped", "gainShare": 0.5955}' WHERE decision_id = $1`,
    [decision],
  );
  const told = await fixture.controller.ask("getEvidence", { params: { pool: scene.pool } });
  expect(told.message).toContain(
    "Of the moves that were only recorded 1 would have helped and 0 would not, and of 0 it cannot be told. " +
      "By the model the one of which it can be told would have gained 59.55 points.",
  );
  expect(await rolloutsOf(scene.instance)).toEqual([]);
});

test("the evidence of a pool counts its trials by mode, with what was predicted and what came", async () => {
  const scene = await aRunningInstance({ autoRollback: false });
  const none = await fixture.controller.ask("getEvidence", { params: { pool: "turned-none" } }).catch(String);
  expect(none).toContain("404");
  await moved(scene, 70);
  await seen(scene, BAD);
  await sweep();
  await moved(scene, 60);
  await seen(scene, GOOD);
  await sweep(fixture.controller, Date.now() + 10_000);
  const found = await fixture.controller.ask("getEvidence", {
    params: { pool: scene.pool },
    query: { hours: 1 },
  });
  expect(found).toMatchObject({ pool: scene.pool, mode: "enforce", open: 0 });
  expect(found.items).toHaveLength(1);
  expect(found.items[0]).toMatchObject({
    mode: "enforce",
    subject: "move",
    trials: 3,
    // The first one came before anything was measured.
    verdicts: { as_predicted: 0, better: 1, worse: 1, cannot_tell: 1 },
    takenBack: 0,
    compared: 0,
    predictedGainShare: null,
  });
});

test("trials go with their decisions", async () => {
  const scene = await aRunningInstance();
  await sweep();
  const count = async () => {
    const [row] = await fixture.controller.source.query<{ count: number }[]>(
      "SELECT count(*)::int AS count FROM outcomes o JOIN instances i ON i.id = o.instance_id WHERE i.name = $1",
      [scene.instance],
    );
    return row?.count;
  };
  expect(await count()).toBe(1);
  await fixture.controller.source.query(
    "DELETE FROM decisions WHERE instance_id = (SELECT id FROM instances WHERE name = $1)",
    [scene.instance],
  );
  expect(await count()).toBe(0);
});
