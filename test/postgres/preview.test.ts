import { histogramAt } from "@fulcrum/core/fixtures.js";
import { expect, test } from "vitest";

import { until } from "../process/support/until.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { poolBody, registrationEntry, SLO, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers();

async function anAgent(body: ReturnType<typeof poolBody>, ...names: string[]): Promise<TestAgent> {
  await fixture.controller.ask("createPool", { body });
  const agent = new TestAgent(fixture.controller, `${body.name}-agent`);
  await agent.register(...names.map((name) => registrationEntry(name, body.name)));
  return agent;
}

const preview = (pool: string, body: object) =>
  fixture.controller.ask("previewPool", { params: { pool }, body });

async function rows(table: string): Promise<number> {
  const [row] = await fixture.controller.source.query<{ count: number }[]>(
    `SELECT count(*)::int AS count FROM ${table}`,
  );
  return row!.count;
}

test("another target shows what each instance would be told, and nothing is stored", async () => {
  const agent = await anAgent(staticPool("target", splitAt(50)), "target-a", "target-b");
  for (const name of ["target-a", "target-b"]) await agent.report(name);
  const before = await Promise.all(["decisions", "reconfigurations", "audit"].map(rows));
  const change = { policy: { name: "static", params: { allocation: splitAt(70) } } };
  const { items, note } = await preview("target", change);
  expect(items.map(({ instance }) => instance)).toEqual(["target-a", "target-b"]);
  for (const { current, now, then } of items) {
    expect(current).toEqual(splitAt(50));
    expect(now).toMatchObject({ kind: "hold", reason: "AT_TARGET", applies: false });
    expect(then).toMatchObject({
      kind: "move",
      reason: "STATIC_TARGET",
      allocation: splitAt(70),
      applies: true,
    });
  }
  expect(note).toContain("Nothing was stored");
  expect(await Promise.all(["decisions", "reconfigurations", "audit"].map(rows))).toEqual(before);
  expect((await fixture.controller.ask("getPool", { params: { pool: "target" } })).version).toBe(1);
});

test("what the preview says is what is decided once the change is saved", async () => {
  const agent = await anAgent(staticPool("same", splitAt(50)), "same-i");
  await agent.report("same-i");
  const change = {
    policy: { name: "static", params: { allocation: splitAt(65) } },
    guards: { maxStepPct: 10 },
  };
  const { items } = await preview("same", change);
  await fixture.controller.ask("patchPool", {
    params: { pool: "same" },
    body: change,
    headers: { "if-match": "*" },
  });
  const decided = await until("the change is decided on", async () => {
    await agent.report("same-i");
    const { items } = await fixture.controller.ask("listDecisions", {
      query: { instance: "same-i", kind: "move" },
    });
    return items[0];
  });
  const { kind, reason, message, allocation } = items[0]!.then;
  expect(decided).toMatchObject({ kind, reason, message, allocation });
  expect(allocation).not.toEqual(splitAt(50));
});

test("a tighter SLO is weighed with what was measured; mode, limits and SLO each change the answer alone", async () => {
  const params = { stepPct: 5, minBenefitShare: 0 };
  const body = poolBody("slo", {
    mode: "enforce",
    policy: { name: "feedback", params },
    guards: { dwellMs: 0 },
  });
  const agent = await anAgent(body, "slo-i");
  for (let i = 0; i < 4; i += 1)
    await agent.report("slo-i", {
      window: {
        ttft: histogramAt(250, 60),
        tpot: histogramAt(20, 60),
        busy: { prefillShare: 0.9, decodeShare: 0.3 },
      },
    });
  const loose = (await preview("slo", {})).items[0]!;
  expect(loose.then).toEqual(loose.now);
  expect(loose.now).toMatchObject({ kind: "hold", reason: "BOTH_MET" });
  const tight = (await preview("slo", { slo: { ...SLO, ttft: { percentile: 0.9, boundMs: 150 } } }))
    .items[0]!;
  expect(tight.then.observed.ttftMs).toBe(tight.now.observed.ttftMs);
  expect(tight.then.observed.ttftOkShare).toBeLessThan(tight.now.observed.ttftOkShare!);
  expect(tight.then.reason).not.toBe("BOTH_MET");
  const watched = (
    await preview("slo", { slo: { ...SLO, ttft: { percentile: 0.9, boundMs: 150 } }, mode: "observe" })
  ).items[0]!;
  expect(watched.then).toEqual({ ...tight.then, mode: "observe", applies: false });
});

test("a longer or shorter look back and a freeze are previewed as they would be decided", async () => {
  const body = poolBody("back", {
    mode: "enforce",
    policy: { name: "feedback", params: { stepPct: 5, minBenefitShare: 0 } },
    guards: { dwellMs: 0, staleAfterMs: 600_000 },
    lookbackMs: 5_000,
  });
  const agent = await anAgent(body, "back-i");
  const nowMs = Date.now();
  // All that was measured ended 60 s ago: beyond the pool's lookback, within the drafted one.
  for (let i = 0; i < 4; i += 1)
    await agent.report("back-i", {
      window: {
        endAtMs: nowMs - 60_000 + i * 1_000,
        ttft: histogramAt(800, 60),
        tpot: histogramAt(20, 60),
        busy: { prefillShare: 0.9, decodeShare: 0.3 },
      },
    });
  const longer = (await preview("back", { lookbackMs: 120_000 })).items[0]!;
  expect(longer.now).toMatchObject({ kind: "hold", reason: "NO_SIGNAL", unheld: null });
  expect(longer.then).toMatchObject({ kind: "move", reason: "TTFT_MISSED", applies: true });
  const frozen = (await preview("back", { lookbackMs: 120_000, frozen: true })).items[0]!;
  expect(frozen.then).toMatchObject({
    kind: "hold",
    reason: "FROZEN",
    applies: false,
    unheld: { kind: "move", reason: "TTFT_MISSED", applies: true },
  });
  const shorter = (await preview("back", { lookbackMs: 1_000 })).items[0]!;
  expect(shorter.then).toEqual(shorter.now);
});

test("in a pause it says who holds it, and what would be decided without", async () => {
  const { controller } = fixture;
  const agent = await anAgent(staticPool("paused", splitAt(50)), "paused-i");
  await agent.report("paused-i");
  const hold = await controller.ask("createPause", { body: { pool: "paused", reason: "network change" } });
  const target = (prefill: number) => ({
    policy: { name: "static", params: { allocation: splitAt(prefill) } },
  });
  const item = async () => (await preview("paused", target(70))).items[0]!;
  const held = await item();
  expect(held.now).toMatchObject({
    kind: "hold",
    reason: "FROZEN",
    unheld: { kind: "hold", reason: "AT_TARGET" },
  });
  expect(held.then).toMatchObject({
    kind: "hold",
    reason: "FROZEN",
    applies: false,
    message: expect.stringContaining("network change") as string,
    unheld: { kind: "move", reason: "STATIC_TARGET", allocation: splitAt(70), applies: true },
  });
  await controller.ask("pinInstance", { params: { instance: "paused-i" }, body: { reason: "firmware" } });
  expect((await item()).then).toMatchObject({ reason: "PINNED", unheld: { reason: "STATIC_TARGET" } });
  await controller.ask("unpinInstance", { params: { instance: "paused-i" } });
  await controller.ask("endHold", { params: { id: hold.id }, query: { reason: "over" } });
  expect((await item()).then).toMatchObject({ reason: "STATIC_TARGET", applies: true, unheld: null });
});

test.each([
  [{ slo: { ...SLO, attainmentShare: 2 } }, "slo.attainmentShare"],
  [{ guards: { maxStepPct: 0 } }, "guards.maxStepPct"],
  [{ limits: { minSmPct: 60, maxSmPct: 40 } }, "limits.minSmPct"],
  [{ budgetDays: 7 }, "budgetDays"],
  [{ lookbackMs: 10 }, "lookbackMs"],
  [{ policy: { name: "magic" } }, "policy.name"],
])("%o is refused by name", async (body, field) => {
  await fixture.controller.call("createPool", { body: poolBody("bounds") });
  const reply = await fixture.controller.call("previewPool", { params: { pool: "bounds" }, body });
  expect(reply.status).toBe(400);
  expect(reply.problem?.errors?.map((error) => error.field)).toEqual([field]);
});

test("a pool that is not there is 404, and one without instances is an empty answer", async () => {
  expect(
    (await fixture.controller.call("previewPool", { params: { pool: "nowhere" }, body: {} })).status,
  ).toBe(404);
  await fixture.controller.ask("createPool", { body: poolBody("empty") });
  expect((await preview("empty", {})).items).toEqual([]);
});
