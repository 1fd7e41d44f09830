import { decide } from "@fulcrum/core/decide.js";
import type { GuardConfig, PolicyConfig, Snapshot } from "@fulcrum/core/decision.js";
import { histogramAt } from "@fulcrum/core/fixtures.js";
import type { Window } from "@fulcrum/core/nouns.js";
import { describe, expect, test } from "vitest";

import { evaluate as evaluateOn } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import {
  poolBody,
  type PoolBody,
  registrationEntry,
  SLO,
  splitAt,
  staticPool,
  WORK,
} from "../support/wire.js";

const fixture = useControllers();

async function anInstance(body: PoolBody): Promise<TestAgent> {
  await fixture.controller.ask("createPool", { body });
  const agent = new TestAgent(fixture.controller, `${body.name}-agent`);
  await agent.register(registrationEntry(`${body.name}-i`, body.name));
  return agent;
}

const evaluate = (instance: string, nowMs: number) => evaluateOn(fixture.controller, instance, nowMs);

function instanceOf(instance: string) {
  return fixture.controller.ask("getInstance", { params: { instance } });
}

/** Newest first. */
async function decisionsOf(instance: string) {
  return (await fixture.controller.ask("listDecisions", { query: { instance, limit: 500 } })).items;
}

function patchPool(pool: string, body: object) {
  return fixture.controller.ask("patchPool", { params: { pool }, body, headers: { "if-match": "*" } });
}

test("a static target is decided, offered, carried out and verified, and says so everywhere", async () => {
  const agent = await anInstance(staticPool("path", splitAt(60)));
  const answer = await agent.report("path-i");
  expect(answer.assignments).toMatchObject([{ instance: "path-i", generation: 1, allocation: splitAt(60) }]);
  await agent.carryOut("path-i", 1, { delivered: splitAt(60) });

  const instance = await instanceOf("path-i");
  expect(instance.desired).toEqual({ ...splitAt(60), generation: 1 });
  expect(instance.lastGood).toEqual({ ...splitAt(60), generation: 1 });
  expect(instance.rollout).toBeNull();
  const summary = (await decisionsOf("path-i")).at(0);
  expect(summary).toMatchObject({ kind: "move", reason: "STATIC_TARGET", outcome: "applied", generation: 1 });
  const decision = await fixture.controller.ask("getDecision", { params: { id: summary!.id } });
  const reconfiguration = await fixture.controller.ask("getReconfiguration", {
    params: { id: decision.reconfiguration! },
  });
  expect(reconfiguration).toMatchObject({ state: "verified", generation: 1, decision: decision.id });
  const audit = await fixture.controller.ask("listAudit", { query: { subject: "instance/path-i" } });
  expect(audit.items.map(({ action }) => action)).toEqual([
    "reconfiguration.verified",
    "rank.verified",
    "rank.switched",
    "rank.ready",
    "rank.preparing",
    "decision.applied",
    "instance.register",
  ]);
  await agent.report("path-i", {
    entry: { observed: { ...splitAt(60), generation: 1 } },
    window: { generation: 1 },
  });
  await evaluate("path-i", Date.now() + 1_000);
  expect((await decisionsOf("path-i"))[0]).toMatchObject({ kind: "hold", reason: "AT_TARGET" });
});

test.each(["observe", "recommend"] as const)("%s: the move is recorded and nothing changes", async (mode) => {
  const agent = await anInstance(staticPool(`quiet-${mode}`, splitAt(70), { mode }));
  const answer = await agent.report(`quiet-${mode}-i`);
  expect(answer.assignments).toEqual([]);
  expect(await decisionsOf(`quiet-${mode}-i`)).toMatchObject([
    { kind: "move", outcome: "recorded", generation: null, allocation: splitAt(70), mode },
  ]);
  expect((await instanceOf(`quiet-${mode}-i`)).desired.generation).toBe(0);
  const { items } = await fixture.controller.ask("listReconfigurations", {
    query: { instance: `quiet-${mode}-i` },
  });
  expect(items).toEqual([]);
});

test("a decision is stored when it says something new, or when a minute has passed", async () => {
  await anInstance(staticPool("repeat", splitAt(70), { mode: "observe" }));
  const startMs = Date.now();
  for (const afterS of [0, 1, 2, 59]) await evaluate("repeat-i", startMs + afterS * 1_000);
  expect(await decisionsOf("repeat-i")).toHaveLength(1);
  await evaluate("repeat-i", startMs + 60_000);
  expect(await decisionsOf("repeat-i")).toHaveLength(2);
  await patchPool("repeat", { policy: { name: "static", params: { allocation: splitAt(75) } } });
  await evaluate("repeat-i", startMs + 61_000);
  const stored = await decisionsOf("repeat-i");
  expect(stored.map(({ allocation }) => allocation.split.prefillSmPct)).toEqual([75, 70, 70]);
});

describe("an operator in the way", () => {
  test("a pinned instance is held until it is unpinned", async () => {
    const agent = await anInstance(staticPool("pin", splitAt(60)));
    const params = { instance: "pin-i" };
    const pinned = await fixture.controller.ask("pinInstance", { params, body: { reason: "load test" } });
    expect([pinned.pinned, pinned.pinnedUntil, pinned.conditions.includes("Pinned")]).toEqual([
      true,
      null,
      true,
    ]);
    expect((await agent.report("pin-i")).assignments).toEqual([]);
    expect((await decisionsOf("pin-i"))[0]).toMatchObject({ kind: "hold", reason: "PINNED" });
    const unpinned = await fixture.controller.ask("unpinInstance", { params });
    expect([unpinned.pinned, unpinned.conditions.includes("Pinned")]).toEqual([false, false]);
    expect(await evaluate("pin-i", Date.now())).toBe(true);
    const audit = await fixture.controller.ask("listAudit", { query: { subject: "instance/pin-i" } });
    expect(audit.items.map(({ action }) => action)).toEqual(
      expect.arrayContaining(["instance.pin", "instance.unpin"]),
    );
  });
  test("a pin with a time to live ends by itself", async () => {
    await anInstance(staticPool("ttl", splitAt(60)));
    const body = { reason: "an hour", ttlMs: 3_600_000 };
    const { pinnedUntil } = await fixture.controller.ask("pinInstance", {
      params: { instance: "ttl-i" },
      body,
    });
    const untilMs = Date.parse(pinnedUntil!);
    expect(await evaluate("ttl-i", untilMs - 1)).toBe(false);
    expect((await decisionsOf("ttl-i"))[0]).toMatchObject({ reason: "PINNED" });
    expect(await evaluate("ttl-i", untilMs)).toBe(true);
  });
  test("a frozen pool is held", async () => {
    await anInstance(staticPool("frozen", splitAt(60), { frozen: true }));
    expect(await evaluate("frozen-i", Date.now())).toBe(false);
    expect((await decisionsOf("frozen-i"))[0]).toMatchObject({ kind: "hold", reason: "FROZEN" });
    await patchPool("frozen", { frozen: false });
    expect(await evaluate("frozen-i", Date.now() + 1)).toBe(true);
  });
  test("while a rollout is open nothing else is decided", async () => {
    await anInstance(staticPool("open", splitAt(60)));
    expect(await evaluate("open-i", Date.now())).toBe(true);
    expect(await evaluate("open-i", Date.now() + 1)).toBe(false);
    expect((await decisionsOf("open-i"))[0]).toMatchObject({ kind: "hold", reason: "ROLLOUT_OPEN" });
  });
});

test("without a window, with few, and with old ones the split is held for a reason with a name", async () => {
  const guards = { minSamples: 30, staleAfterMs: 15_000 };
  const policy = { name: "feedback" } as const;
  const agent = await anInstance(
    poolBody("sensor", { mode: "enforce", policy, guards, controlIntervalMs: 200 }),
  );
  const lastReason = async () => (await decisionsOf("sensor-i"))[0]?.reason;
  await evaluate("sensor-i", Date.now());
  expect(await lastReason()).toBe("NO_SIGNAL");
  await agent.report("sensor-i", { window: { ttft: histogramAt(200, 3), tpot: histogramAt(80, 3) } });
  await evaluate("sensor-i", Date.now());
  expect(await lastReason()).toBe("THIN_SIGNAL");
  await agent.report("sensor-i");
  await evaluate("sensor-i", Date.now() + 1);
  expect(["BOTH_MET", "THIN_SIGNAL"]).toContain(await lastReason());
  await evaluate("sensor-i", Date.now() + 16_000);
  expect(await lastReason()).toBe("STALE_SIGNAL");
  expect((await instanceOf("sensor-i")).desired).toEqual({ ...splitAt(50), generation: 0 });
});

test("the snapshot names the SLO it was decided under, and a change of policy is in force at once", async () => {
  await anInstance(staticPool("slo", splitAt(60), { mode: "observe" }));
  await evaluate("slo-i", Date.now());
  const slo = { ...SLO, tpot: { percentile: 0.99, boundMs: 42 } };
  await fixture.controller.ask("putSlo", {
    params: { pool: "slo" },
    body: slo,
    headers: { "if-match": '"1"' },
  });
  await patchPool("slo", { policy: { name: "feedback" }, guards: { minSamples: 9 } });
  await evaluate("slo-i", Date.now() + 1);
  const [after, before] = await Promise.all(
    (await decisionsOf("slo-i")).map(({ id }) => fixture.controller.ask("getDecision", { params: { id } })),
  );
  expect(before).toMatchObject({ policy: { name: "static" }, snapshot: { sloVersion: 1, slo: SLO } });
  expect(after).toMatchObject({
    policy: { name: "feedback" },
    snapshot: { sloVersion: 2, slo },
    policyConfig: { name: "feedback" },
    guardConfig: { minSamples: 9 },
  });
});

test("a decision is given what the workers did, folded over the windows", async () => {
  const agent = await anInstance(
    staticPool("work", splitAt(60), { mode: "observe", controlIntervalMs: 200 }),
  );
  await agent.report("work-i", { window: { work: { ...WORK, decodeSteps: 100, decodeBatchMean: 40 } } });
  await agent.report("work-i");
  await agent.report("work-i", {
    window: { work: { ...WORK, decodeSteps: 300, decodeBatchMean: 60, oldestWaitMs: 99 } },
  });
  await patchPool("work", { policy: { name: "static", params: { allocation: splitAt(65) } } });
  await evaluate("work-i", Date.now() + 1_000);
  const newest = (await decisionsOf("work-i")).at(0)!;
  const { snapshot } = await fixture.controller.ask("getDecision", { params: { id: newest.id } });
  expect((snapshot as unknown as Snapshot).signal.work).toMatchObject({
    decodeSteps: 400,
    decodeBatchMean: 55,
    prefillTokens: 2 * 12_600,
    maxPromptTokens: null,
    oldestWaitMs: 99,
  });
});

test("every stored decision, read back over HTTP and run again, gives the same answer", async () => {
  const guards = { dwellMs: 0, minSamples: 5, flapBudget: 60 };
  const policy = { name: "feedback" } as const;
  const agent = await anInstance(
    poolBody("replay", { mode: "enforce", policy, guards, controlIntervalMs: 200 }),
  );
  let generation = 0;
  // A load that breaks TTFT, then TPOT, then both, then neither, with fractions that do not round well.
  const loads: Partial<Window>[] = [
    { ttft: histogramAt(777.7, 40), tpot: histogramAt(33.3, 40), promptTokens: 33_333 },
    { ttft: histogramAt(100.1, 40), tpot: histogramAt(151.51, 40), outputTokens: 77_777 },
    { ttft: histogramAt(900.9, 40), tpot: histogramAt(222.2, 40) },
    {
      ttft: histogramAt(10, 40),
      tpot: histogramAt(10, 40),
      kv: { totalTokens: 1_000, usedTokens: 999, preemptions: 7 },
    },
    { ttft: histogramAt(300, 4), tpot: histogramAt(80, 4), busy: { prefillShare: null, decodeShare: 1 / 3 } },
  ];
  for (let round = 0; round < 25; round += 1) {
    const endAtMs = Date.now();
    const window = {
      ...loads[Math.floor(round / 2) % loads.length],
      generation,
      endAtMs,
      startAtMs: endAtMs - 1,
    };
    await agent.report("replay-i", { window, entry: { observed: null } });
    await evaluate("replay-i", Date.now());
    const { desired } = await instanceOf("replay-i");
    if (desired.generation > generation) {
      generation = desired.generation;
      await agent.carryOut("replay-i", generation);
    }
  }
  const summaries = await decisionsOf("replay-i");
  expect(new Set(summaries.map(({ kind }) => kind))).toEqual(new Set(["move", "hold"]));
  expect(new Set(summaries.map(({ reason }) => reason)).size).toBeGreaterThan(3);
  for (const { id } of summaries) {
    const row = await fixture.controller.ask("getDecision", { params: { id } });
    const again = decide(
      row.snapshot as unknown as Snapshot,
      row.policyConfig as unknown as PolicyConfig,
      row.guardConfig as unknown as GuardConfig,
      row.decidedAtMs,
    );
    expect(again).toEqual(row.decision);
  }
});

test("decisions are found by pool, instance, kind, reason and time", async () => {
  await anInstance(staticPool("find", splitAt(60), { mode: "observe" }));
  const nowMs = Date.now();
  await evaluate("find-i", nowMs);
  await patchPool("find", { frozen: true });
  await evaluate("find-i", nowMs + 1_000);
  const find = async (query: Record<string, string>) =>
    (await fixture.controller.ask("listDecisions", { query: { pool: "find", ...query } })).items.map(
      ({ reason }) => reason,
    );
  const at = (afterMs: number) => new Date(nowMs + afterMs).toISOString();
  expect(await find({})).toEqual(["FROZEN", "STATIC_TARGET"]);
  expect(await find({ kind: "move" })).toEqual(["STATIC_TARGET"]);
  expect(await find({ reason: "FROZEN" })).toEqual(["FROZEN"]);
  expect(await find({ from: at(500) })).toEqual(["FROZEN"]);
  expect(await find({ to: at(500) })).toEqual(["STATIC_TARGET"]);
  expect(await find({ instance: "no-such" })).toEqual([]);
});
