import { histogramAt } from "@fulcrum/core/fixtures.js";
import { expect, test } from "vitest";

import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { type PoolBody, poolBody, registrationEntry, splitAt } from "../support/wire.js";

const fixture = useControllers();

const GUARDS = { maxStepPct: 99, dwellMs: 0, minSamples: 5, flapBudget: 2, flapWindowMs: 3_600_000 };
const LOADS = {
  ttft: { ttft: histogramAt(777.7, 40), tpot: histogramAt(33.3, 40) },
  tpot: { ttft: histogramAt(100.1, 40), tpot: histogramAt(151.51, 40) },
};
const LASTING = { code: "driver_gone", message: "no such device", retryable: false };

/** An instance of a pool with policy feedback, decided on only when a test says so. */
async function anInstance(pool: string, over: Partial<PoolBody> = {}) {
  const instance = `${pool}-i`;
  await fixture.controller.ask("createPool", {
    body: poolBody(pool, {
      mode: "enforce",
      policy: { name: "feedback" },
      guards: GUARDS,
      controlIntervalMs: 600_000,
      ...over,
    }),
  });
  const agent = new TestAgent(fixture.controller, `${pool}-agent`);
  await agent.register(registrationEntry(instance, pool));
  const read = () => fixture.controller.ask("getInstance", { params: { instance } });
  const last = async () => {
    const { items } = await fixture.controller.ask("listDecisions", { query: { instance, limit: 1 } });
    return items[0];
  };
  return {
    agent,
    instance,
    used: async () => (await read()).flaps.used,
    last,
    patch: (body: object) =>
      fixture.controller.ask("patchPool", { params: { pool }, body, headers: { "if-match": "*" } }),
    /** The load under which `broken` is not kept, and a decision; answers with the generation that is asked for then. */
    load: async (broken: keyof typeof LOADS) => {
      const { generation } = (await read()).desired;
      const startAtMs = Date.now();
      const window = { ...LOADS[broken], generation, startAtMs, endAtMs: startAtMs + 1 };
      await agent.report(instance, { window, entry: { observed: null } });
      // The first report is due by itself; then the rollout is open, and this says so.
      await evaluate(fixture.controller, instance, Date.now() + 1);
      return (await read()).desired.generation;
    },
    /** Whatever is asked for now is carried out. */
    carryOut: async () => agent.carryOut(instance, (await read()).desired.generation),
  };
}

test("changes of direction count, not changes; past the budget the policy is held, further on is free", async () => {
  const { load, carryOut, used, last } = await anInstance("counts");
  const seen: number[] = [];
  for (const [index, broken] of (["ttft", "ttft", "tpot", "ttft"] as const).entries()) {
    expect(await load(broken)).toBe(index + 1);
    await carryOut();
    seen.push(await used());
  }
  expect(seen).toEqual([0, 0, 1, 2]);
  expect(await load("tpot")).toBe(4);
  expect(await last()).toMatchObject({ kind: "hold", reason: "FLAP_BUDGET" });
  expect(await load("ttft")).toBe(5);
});

test("what people move leaves the policy its budget: overrides, rollbacks, static targets, approved proposals", async () => {
  const { instance, load, carryOut, used, patch } = await anInstance("people");
  const params = { instance };
  for (const prefillPct of [70, 30, 70]) {
    const body = { allocation: splitAt(prefillPct), ttlMs: 3_600_000, reason: "a trial" };
    await fixture.controller.ask("overrideInstance", { params, body });
    await carryOut();
  }
  for (const generation of [2, 1, 0]) {
    const body = { generation, ttlMs: 3_600_000, reason: "back" };
    await fixture.controller.ask("rollbackInstance", { params, body });
    await carryOut();
  }
  await fixture.controller.ask("unpinInstance", { params });
  for (const prefillPct of [70, 30, 50]) {
    await patch({ policy: { name: "static", params: { allocation: splitAt(prefillPct) } } });
    expect(await evaluate(fixture.controller, instance)).toBe(true);
    await carryOut();
  }
  await patch({ mode: "recommend", policy: { name: "feedback" } });
  for (const broken of ["ttft", "tpot", "ttft"] as const) {
    await load(broken);
    const { items } = await fixture.controller.ask("listProposals", { query: { instance, state: "open" } });
    await fixture.controller.ask("approveProposal", { params: { id: items[0]!.id }, body: {} });
    await carryOut();
  }
  const { items } = await fixture.controller.ask("listReconfigurations", { query: { instance } });
  expect(items.map(({ state }) => state)).toEqual(Array.from({ length: 12 }, () => "verified"));
  expect(await used()).toBe(0);
  await patch({ mode: "enforce" });
  expect(await load("tpot")).toBe(13);
  await carryOut();
  // Nor does what was overtaken on its way.
  expect(await load("ttft")).toBe(14);
  const body = { allocation: splitAt(50), ttlMs: 60_000, reason: "now" };
  await fixture.controller.ask("overrideInstance", { params, body });
  await carryOut();
  await fixture.controller.ask("unpinInstance", { params });
  expect(await load("tpot")).toBe(16);
  await carryOut();
  expect(await used()).toBe(0);
});

test("a move that was rolled back was not switched, and does not count", async () => {
  const { agent, instance, load, carryOut, used } = await anInstance("rolled");
  expect(await load("ttft")).toBe(1);
  await carryOut();
  expect(await load("tpot")).toBe(2);
  await agent.ack(instance, 2, "failed", { failure: LASTING });
  await carryOut();
  expect(await used()).toBe(0);
});
