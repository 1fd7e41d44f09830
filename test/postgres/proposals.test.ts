import type { Proposal } from "@fulcrum/contracts/proposals.js";
import { ProposalService } from "@fulcrum/controller/proposals/proposal.service.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { beforeAll, describe, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import type { CallOptions } from "../support/controller.js";
import { evaluate as evaluateOn } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { registrationEntry, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });
let ann: string;
let bob: string;

beforeAll(async () => {
  const keyOf = async (name: string) =>
    (await fixture.controller.ask("createKey", { body: { name, role: "operator" } })).key;
  [ann, bob] = [await keyOf("ann"), await keyOf("bob")];
});

/** An instance at 50/50 that its pool would have at 60/40, if somebody agreed. */
async function anInstance(pool: string, over: Parameters<typeof staticPool>[2] = {}): Promise<TestAgent> {
  await fixture.controller.ask("createPool", {
    body: staticPool(pool, splitAt(60), { mode: "recommend", ...over }),
  });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(`${pool}-i`, pool));
  return agent;
}

const evaluate = (instance: string, nowMs = Date.now()) => evaluateOn(fixture.controller, instance, nowMs);

/** Newest first. */
async function proposalsOf(instance: string, query: CallOptions["query"] = {}): Promise<Proposal[]> {
  return (await fixture.controller.ask("listProposals", { query: { instance, ...query } })).items;
}

async function proposed(instance: string): Promise<Proposal> {
  await evaluate(instance);
  const [open] = await proposalsOf(instance, { state: "open" });
  return open!;
}

function approve({ id }: Proposal, key: string, comment: string | null = null) {
  return fixture.controller.call("approveProposal", { params: { id }, body: { comment }, key });
}

function patchPool(pool: string, body: object) {
  return fixture.controller.ask("patchPool", { params: { pool }, body, headers: { "if-match": "*" } });
}

const towards = (target: Allocation) => ({ policy: { name: "static", params: { allocation: target } } });

async function generationOf(instance: string): Promise<number> {
  return (await fixture.controller.ask("getInstance", { params: { instance } })).desired.generation;
}

async function audited(instance: string): Promise<[string, string][]> {
  const query = { subject: `instance/${instance}` };
  const { items } = await fixture.controller.ask("listAudit", { query });
  return items
    .filter(({ action }) => action.startsWith("proposal."))
    .map(({ action, actor }): [string, string] => [action, actor])
    .toReversed();
}

test("a move of a pool in mode recommend waits; approved, it is carried out as the decision's", async () => {
  const agent = await anInstance("one");
  const { assignments } = await agent.report("one-i");
  expect(assignments).toEqual([]);
  const [open] = await proposalsOf("one-i");
  expect(open).toMatchObject({
    state: "open",
    pool: "one",
    basedOnGeneration: 0,
    from: { ...splitAt(50), generation: 0 },
    to: splitAt(60),
    required: 1,
    votes: [],
    generation: null,
  });
  expect(Date.parse(open!.expiresAt) - Date.parse(open!.createdAt)).toBe(900_000);
  const decision = await fixture.controller.ask("getDecision", { params: { id: open!.decision } });
  expect(decision).toMatchObject({
    kind: "move",
    outcome: "recorded",
    mode: "recommend",
    message: open!.message,
  });

  const reply = await approve(open!, ann, "looks right");
  expect(reply.body).toMatchObject({
    state: "approved",
    generation: 1,
    votes: [{ actor: "ann", verdict: "approve", comment: "looks right" }],
  });
  expect((await agent.poll())?.assignments).toMatchObject([
    { generation: 1, allocation: splitAt(60), reason: "STATIC_TARGET" },
  ]);
  await agent.carryOut("one-i", 1);
  const after = await fixture.controller.ask("getDecision", { params: { id: open!.decision } });
  const rollout = await fixture.controller.ask("getReconfiguration", {
    params: { id: after.reconfiguration! },
  });
  expect(rollout).toMatchObject({
    kind: "decision",
    state: "verified",
    decision: open!.decision,
    generation: 1,
  });
  expect(await audited("one-i")).toEqual([
    ["proposal.create", "controller"],
    ["proposal.approve", "ann"],
    ["proposal.applied", "ann"],
  ]);
});

test("asked again with the same key, as after an answer that was lost, it tells what is so and does nothing", async () => {
  await anInstance("again", { approval: { required: 2 } });
  const open = await proposed("again-i");
  await approve(open, ann);
  await approve(open, bob);
  const before = await audited("again-i");
  for (const key of [ann, bob]) {
    const reply = await approve(open, key);
    expect([reply.status, reply.body]).toMatchObject([200, { state: "approved", generation: 1 }]);
  }
  expect(await generationOf("again-i")).toBe(1);
  expect(await audited("again-i")).toEqual(before);
  // Somebody who had no part in it is told that it is over, and so is who now asks for the contrary.
  expect((await approve(open, fixture.controller.adminKey)).status).toBe(409);
  const turned = { params: { id: open.id }, body: { reason: "no" }, key: ann };
  expect((await fixture.controller.call("rejectProposal", turned)).status).toBe(409);

  await anInstance("never");
  const refused = await proposed("never-i");
  const no = { params: { id: refused.id }, body: { reason: "not today" }, key: ann };
  await fixture.controller.ask("rejectProposal", no);
  expect((await fixture.controller.call("rejectProposal", no)).body).toMatchObject({ state: "rejected" });
  expect((await approve(refused, ann)).status).toBe(409);
});

describe("two keys", () => {
  const twice = { approval: { required: 2 } };
  test("must be two: one that approves twice counts once", async () => {
    await anInstance("two", twice);
    const open = await proposed("two-i");
    expect(open.required).toBe(2);
    for (let time = 0; time < 2; time += 1) {
      const reply = await approve(open, ann);
      expect(reply.body).toMatchObject({ state: "open", votes: [{ actor: "ann" }] });
    }
    expect(await generationOf("two-i")).toBe(0);
    const reply = await approve(open, bob);
    expect(reply.body).toMatchObject({ state: "approved", generation: 1 });
    expect(reply.body?.votes.map(({ actor }) => actor)).toEqual(["ann", "bob"]);
  });
  test("at the same moment on two replicas make one generation", async () => {
    await anInstance("two-at-once", twice);
    const open = await proposed("two-at-once-i");
    const options = { params: { id: open.id }, body: {} };
    const replies = await Promise.all([
      fixture.controller.call("approveProposal", { ...options, key: ann }),
      fixture.other.call("approveProposal", { ...options, key: bob }),
    ]);
    expect(replies.map(({ status }) => status)).toEqual([200, 200]);
    expect((await proposalsOf("two-at-once-i"))[0]).toMatchObject({ state: "approved", generation: 1 });
    expect(await generationOf("two-at-once-i")).toBe(1);
  });
});

describe("how many keys must approve cannot be got round", () => {
  test("a pool that asks for more since asks it of what is open", async () => {
    await anInstance("stricter");
    const open = await proposed("stricter-i");
    expect(open.required).toBe(1);
    await patchPool("stricter", { approval: { required: 2 } });
    const first = await approve(open, ann);
    expect(first.body).toMatchObject({ state: "open", required: 2, votes: [{ actor: "ann", counts: true }] });
    expect(await generationOf("stricter-i")).toBe(0);
    expect((await approve(open, bob)).body).toMatchObject({ state: "approved", required: 2, generation: 1 });
  });

  test("a pool that asks for less since still asks for as many as it did", async () => {
    await anInstance("laxer", { approval: { required: 2 } });
    const open = await proposed("laxer-i");
    await patchPool("laxer", { approval: { required: 1 } });
    expect((await approve(open, ann)).body).toMatchObject({ state: "open", required: 2 });
    expect(await generationOf("laxer-i")).toBe(0);
  });

  test("the vote of a key that was revoked does not count, and is told", async () => {
    await anInstance("revoked", { approval: { required: 2 } });
    const open = await proposed("revoked-i");
    const cyd = await fixture.controller.ask("createKey", { body: { name: "cyd", role: "operator" } });
    await approve(open, cyd.key, "mine");
    await fixture.controller.ask("revokeKey", { params: { id: cyd.id } });
    const reply = await approve(open, ann);
    expect(reply.body).toMatchObject({
      state: "open",
      votes: [
        { actor: "cyd", counts: false },
        { actor: "ann", counts: true },
      ],
    });
    expect(await generationOf("revoked-i")).toBe(0);
    const { items } = await fixture.controller.ask("listAudit", { query: { subject: "instance/revoked-i" } });
    expect(items[0]).toMatchObject({
      action: "proposal.approve",
      after: { approvals: 1, notCounted: ["cyd"] },
    });
    const shown = await fulcrum(fixture.controller, "proposals", "get", open.id);
    expect(shown.stdout).toMatch(/approve, not counted +cyd, .*key revoked since: mine/);
    expect(shown.stdout).toContain("1 of 2 keys");
    const waits = await fulcrum(fixture.controller, "explain", open.decision);
    expect(waits.stdout).toContain(
      '1 of 2 keys have approved (cyd (key revoked, not counted): "mine", ann).',
    );
    expect((await approve(open, bob)).body).toMatchObject({ state: "approved", generation: 1 });
    // What has counted stays counted.
    const dan = await fixture.controller.ask("createKey", { body: { name: "dan", role: "operator" } });
    await anInstance("later");
    const once = await proposed("later-i");
    await approve(once, dan.key);
    await fixture.controller.ask("revokeKey", { params: { id: dan.id } });
    expect((await proposalsOf("later-i"))[0]).toMatchObject({ state: "approved", votes: [{ counts: true }] });
  });
});

test("what came of a proposal is told where its decision is explained", async () => {
  await anInstance("told");
  const explained = async ({ decision }: Proposal) =>
    (await fulcrum(fixture.controller, "explain", decision)).stdout;
  const open = await proposed("told-i");
  expect(await explained(open)).toContain(
    `Rolled out: no. Proposal ${open.id} waits until ${open.expiresAt}: 0 of 1`,
  );
  const no = { params: { id: open.id }, body: { reason: "load test" }, key: ann };
  await fixture.controller.ask("rejectProposal", no);
  expect(await explained(open)).toContain(
    `Rolled out: no. Proposal ${open.id} was rejected by ann: "load test".`,
  );
  const next = await proposed("told-i");
  await approve(next, bob, "now");
  expect(await explained(next)).toContain(`Proposal ${next.id} was approved by bob: "now".`);
  const decision = await fixture.controller.ask("getDecision", { params: { id: next.decision } });
  expect(decision.proposal).toMatchObject({ id: next.id, state: "approved", votes: [{ actor: "bob" }] });
});

test("one key rejects, with its reason; nothing moves", async () => {
  await anInstance("no");
  const { id } = await proposed("no-i");
  const params = { id };
  const without = await fixture.controller.call("rejectProposal", { params, body: { reason: "" }, key: ann });
  expect(without.problem?.errors?.map(({ field }) => field)).toEqual(["reason"]);
  const rejected = await fixture.controller.ask("rejectProposal", {
    params,
    body: { reason: "load test" },
    key: ann,
  });
  expect(rejected).toMatchObject({
    state: "rejected",
    votes: [{ actor: "ann", verdict: "reject", comment: "load test" }],
  });
  const late = await approve(rejected, bob);
  expect([late.status, late.problem?.code]).toEqual([409, "conflict"]);
  expect(late.problem?.detail).toContain(`Proposal ${id} is rejected`);
  expect(await generationOf("no-i")).toBe(0);
});

describe("an open proposal", () => {
  test("is kept by decisions that say the same, whoever makes them, and superseded by another", async () => {
    await anInstance("keep");
    const first = await proposed("keep-i");
    await Promise.all([evaluate("keep-i"), evaluateOn(fixture.other, "keep-i")]);
    expect((await proposalsOf("keep-i")).map(({ id }) => id)).toEqual([first.id]);
    await patchPool("keep", towards(splitAt(75)));
    const second = await proposed("keep-i");
    expect((await proposalsOf("keep-i")).map(({ id, state }) => [id, state])).toEqual([
      [second.id, "open"],
      [first.id, "superseded"],
    ]);
    const reply = await approve(first, ann);
    expect(reply.status).toBe(409);
    expect(reply.problem?.detail).toContain(`is superseded. keep-i is at generation 0 now`);
    expect(reply.problem?.detail).toContain(`Open instead is proposal ${second.id}: ${second.message}`);
  });
  test("is one, also where two replicas decide at once", async () => {
    await anInstance("both");
    await Promise.all([evaluate("both-i"), evaluateOn(fixture.other, "both-i")]);
    const all = await proposalsOf("both-i");
    expect(all.map(({ state }) => state)).toEqual(["open"]);
    const stored = await fixture.controller.ask("getDecision", { params: { id: all[0]!.decision } });
    expect(stored.allocation).toEqual(splitAt(60));
  });
  test("is refused with the newer state once something else has moved, and outdated from then on", async () => {
    await anInstance("moved");
    const open = await proposed("moved-i");
    await fixture.controller.ask("overrideInstance", {
      params: { instance: "moved-i" },
      body: { allocation: splitAt(30), ttlMs: 1_000, reason: "by hand" },
    });
    const reply = await approve(open, ann);
    expect([reply.status, reply.problem?.errors]).toEqual([
      409,
      [
        { field: "state", message: "outdated" },
        { field: "generation", message: "is 1, the proposal's was 0" },
      ],
    ]);
    expect(reply.problem?.detail).toContain(
      "moved-i is at generation 1 now: prefill 30 %, decode 70 %, KV quota 100 %.",
    );
    expect((await proposalsOf("moved-i"))[0]).toMatchObject({ id: open.id, state: "outdated", votes: [] });
    expect(await audited("moved-i")).toContainEqual(["proposal.outdated", "controller"]);
  });
  test.each([
    ["the pool no longer asks", { mode: "observe" }, "is in mode observe now"],
    ["the limits no longer allow it", { limits: { maxSmPct: 55 } }, "the limits have changed since"],
  ])("is outdated when %s", async (_what, patch, why) => {
    const pool = `past-${Object.keys(patch)[0]}`;
    await anInstance(pool);
    const open = await proposed(`${pool}-i`);
    await patchPool(pool, patch);
    const reply = await approve(open, ann);
    expect([reply.status, reply.problem?.errors?.[0]?.message]).toEqual([409, "outdated"]);
    expect(reply.problem?.detail).toContain(why);
  });
  test("cannot be approved while a pause is in force, and can once it is over", async () => {
    await anInstance("held");
    const open = await proposed("held-i");
    const pause = await fixture.controller.ask("createPause", { body: { pool: "held", reason: "incident" } });
    const reply = await approve(open, ann);
    expect([reply.status, reply.problem?.detail]).toEqual([
      409,
      "Nothing is moved now. Paused for the pool by bootstrap: incident.",
    ]);
    await fixture.controller.ask("endHold", { params: { id: pause.id }, query: { reason: "over" } });
    expect((await approve(open, ann)).body?.state).toBe("approved");
  });
});

describe("a proposal that nobody approves", () => {
  test("expires at its time, is told so, and the next decision proposes anew", async () => {
    await anInstance("late", { approval: { expireMs: 10_000 } });
    const open = await proposed("late-i");
    const { source } = fixture.controller;
    await source.query("UPDATE proposals SET expires_at = now() - interval '1 second' WHERE id = $1", [
      open.id,
    ]);
    expect((await proposalsOf("late-i", { state: "open" })).length).toBe(0);
    const reply = await approve(open, ann);
    expect([reply.status, reply.problem?.errors?.[0]?.message]).toEqual([409, "expired"]);
    const next = await proposed("late-i");
    expect(next.id).not.toBe(open.id);
    expect(await audited("late-i")).toEqual([
      ["proposal.create", "controller"],
      ["proposal.expired", "controller"],
      ["proposal.create", "controller"],
    ]);
  });
  test("is settled by the sweep, and so is one whose instance is gone", async () => {
    for (const pool of ["sweep1", "sweep2", "sweep3"]) await anInstance(pool);
    const first = await proposed("sweep1-i");
    const second = await proposed("sweep2-i");
    const third = await proposed("sweep3-i");
    await patchPool("sweep2", { mode: "enforce" });
    await fixture.controller.source.query("UPDATE proposals SET expires_at = now() WHERE id = $1", [
      first.id,
    ]);
    await fixture.controller.ask("deleteInstance", { params: { instance: "sweep3-i" } });
    await fixture.controller.app.get(ProposalService).settle();
    const states = [];
    for (const { id } of [first, second, third])
      states.push((await fixture.controller.ask("getProposal", { params: { id } })).state);
    expect(states).toEqual(["expired", "outdated", "outdated"]);
  });
});

test("how a pool asks is part of its settings, and is held to its bounds", async () => {
  await anInstance("settings", { approval: { required: 2 } });
  const read = await fixture.controller.ask("getPool", { params: { pool: "settings" } });
  expect(read.approval).toEqual({ required: 2, expireMs: 900_000 });
  expect((await patchPool("settings", { approval: { expireMs: 60_000 } })).approval).toEqual({
    required: 2,
    expireMs: 60_000,
  });
  for (const [approval, field] of [
    [{ required: 3 }, "approval.required"],
    [{ required: 0 }, "approval.required"],
    [{ expireMs: 9_999 }, "approval.expireMs"],
    [{ expireMs: 86_400_001 }, "approval.expireMs"],
    [{ keys: 1 }, "approval.keys"],
  ] as const) {
    const options = { params: { pool: "settings" }, body: { approval }, headers: { "if-match": "*" } };
    const reply = await fixture.controller.call("patchPool", options);
    expect([reply.status, reply.problem?.errors?.map((error) => error.field)]).toEqual([400, [field]]);
  }
});

test("proposals on the command line: list, get, approve with a second key, reject", async () => {
  await anInstance("cli", { approval: { required: 2 } });
  const open = await proposed("cli-i");
  const cli = (...args: string[]) => fulcrum(fixture.controller, "proposals", ...args);
  expect((await cli("list", "--pool", "cli", "--state", "open")).stdout).toMatch(
    /cli-i +50\/50 kv 100 +60\/40 kv 100 +0 of 2 +expires in 1\d min/,
  );
  expect((await cli("approve", open.id)).stdout).toBe("1 of 2 keys have approved; 1 other key must too\n");
  expect((await cli("approve", open.id, "--key", bob)).stdout).toBe(
    "approved: cli-i goes to 60/40 kv 100 as generation 1\n",
  );
  const got = await cli("get", open.id);
  expect(got.stdout).toMatch(/approve +bob, just now/);
  const late = await cli("reject", open.id, "--reason", "no");
  expect(late.exitCode).toBe(1);
  expect(late.stderr).toContain("generation: is 1, the proposal's was 0");
});
