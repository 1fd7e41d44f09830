import { histogramAt } from "@fulcrum/core/fixtures.js";
import { addHistograms, percentile } from "@fulcrum/core/signal/histogram.js";
import { expect, test } from "vitest";

import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import {
  instanceReport,
  poolBody,
  registrationEntry,
  report,
  SLO,
  splitAt,
  staticPool,
  wireWindow,
} from "../support/wire.js";

const fixture = useControllers();

async function anAgent(body: ReturnType<typeof poolBody>): Promise<TestAgent> {
  await fixture.controller.ask("createPool", { body });
  const agent = new TestAgent(fixture.controller, `${body.name}-agent`);
  await agent.register(registrationEntry(`${body.name}-i`, body.name));
  return agent;
}

const seriesOf = (instance: string, query: Record<string, string | number> = {}) =>
  fixture.controller.ask("getSeries", { params: { instance }, query });

/** Many windows, a second each, the last one ending at `endAtMs`. */
async function reportMany(agent: TestAgent, instance: string, endAtMs: number, count: number): Promise<void> {
  const key = await agent.key();
  for (let from = 0; from < count; from += 32) {
    const windows = Array.from({ length: Math.min(32, count - from) }, (_, i) =>
      wireWindow(from + i + 1, {
        endAtMs: endAtMs - (count - 1 - from - i) * 1_000,
        durationMs: 1_000,
        arrivals: 12,
        promptTokens: 2_400,
      }),
    ).map((window) => ({ ...window, startAtMs: window.endAtMs - 1_000 }));
    await fixture.controller.ask("report", {
      body: report(agent.name, [instanceReport(instance, windows)]),
      key,
    });
  }
}

test("windows are folded into steps: histograms added up, rates over engine time, gauges of the last one", async () => {
  const agent = await anAgent(poolBody("fold"));
  const toMs = Math.floor(Date.now() / 1_000) * 1_000;
  const fast = histogramAt(100, 30);
  const slow = histogramAt(800, 10);
  await agent.report("fold-i", {
    window: { endAtMs: toMs - 9_000, ttft: fast, kv: { totalTokens: 100, usedTokens: 10, preemptions: 0 } },
  });
  await agent.report("fold-i", {
    window: { endAtMs: toMs - 8_500, ttft: slow, kv: { totalTokens: 100, usedTokens: 60, preemptions: 0 } },
  });
  await agent.report("fold-i", { window: { endAtMs: toMs - 1_000, ttft: slow } });
  const series = await seriesOf("fold-i", {
    from: new Date(toMs - 20_000).toISOString(),
    to: new Date(toMs).toISOString(),
    points: 10,
  });
  expect(series).toMatchObject({ stepMs: 2_000, fromMs: toMs - 20_000, toMs, slo: SLO, sampledEvery: 1 });
  expect(series.points.map(({ atMs }) => atMs)).toEqual([toMs - 10_000, toMs - 2_000]);
  const [first] = series.points;
  expect(first!.ttftMs).toBeCloseTo(percentile(addHistograms(fast, slow), 0.9)!.ms, 6);
  expect(first!.ttftP50Ms).toBeCloseTo(percentile(addHistograms(fast, slow), 0.5)!.ms, 6);
  expect(first).toMatchObject({
    arrivalPerS: 10,
    promptTokensPerS: 2_500,
    kvUsedShare: 0.6,
    generation: 0,
    prefillSmPct: 50,
    decodeSmPct: 50,
    kvQuotaPct: 100,
  });
});

test("never more points than asked for, and every window in one of them", async () => {
  const agent = await anAgent(poolBody("many", { controlIntervalMs: 600_000 }));
  const toMs = Date.now();
  await reportMany(agent, "many-i", toMs, 600);
  for (const points of [10, 37, 300, 600]) {
    const series = await seriesOf("many-i", {
      from: new Date(toMs - 600_000).toISOString(),
      to: new Date(toMs).toISOString(),
      points,
    });
    expect(series.points.length).toBeLessThanOrEqual(points);
    expect(series.stepMs * points).toBeGreaterThanOrEqual(600_000);
    expect(series.points.every(({ arrivalPerS }) => arrivalPerS === 12)).toBe(true);
    const steps = series.points.map(({ atMs }) => atMs);
    expect(new Set(steps).size).toBe(steps.length);
    // 600 windows of one second fill a step with as many windows as it has seconds.
    expect(series.points.length).toBe(Math.ceil(600_000 / series.stepMs));
  }
});

test("what was asked when, moves, rollouts, holds and predictions stand beside it", async () => {
  const { controller } = fixture;
  const agent = await anAgent(staticPool("marks", splitAt(60)));
  const fromMs = Date.now() - 1_000;
  await agent.report("marks-i");
  await agent.carryOut("marks-i", 1, { delivered: splitAt(60) });
  await agent.report("marks-i", {
    window: { generation: 1 },
    entry: { observed: { ...splitAt(60), generation: 1 } },
  });
  await controller.ask("pinInstance", { params: { instance: "marks-i" }, body: { reason: "watching" } });
  const series = await seriesOf("marks-i", { from: new Date(fromMs).toISOString() });
  expect(series.asked.map(({ generation, allocation }) => [generation, allocation])).toEqual([
    [0, splitAt(50)],
    [1, splitAt(60)],
  ]);
  expect(series.asked.at(0)!.fromMs).toBe(fromMs);
  expect(series.points.at(-1)).toMatchObject({ generation: 1, prefillSmPct: 60, decodeSmPct: 40 });
  expect(series.marks.map(({ kind }) => kind).toSorted()).toEqual(["decision", "hold", "rollout"]);
  expect(series.marks.find(({ kind }) => kind === "hold")?.label).toContain("watching");
  const decision = series.marks.find(({ kind }) => kind === "decision")!;
  expect((await controller.ask("getDecision", { params: { id: decision.id } })).message).toBe(decision.label);
  // Later than all of that: what is in force stands at the beginning.
  const later = await seriesOf("marks-i", { from: new Date(Date.now() - 1).toISOString(), points: 10 });
  expect(later.asked.map(({ generation }) => generation)).toEqual([1]);
  // The decision and the rollout were moments; the pin is still in force.
  expect(later.marks.map(({ kind }) => kind)).toEqual(["hold"]);
});

test("what was in force in the range is marked with its end, whenever it began", async () => {
  const { controller } = fixture;
  const agent = await anAgent(poolBody("held"));
  await agent.report("held-i");
  const instance = "held-i";
  const override = await controller.ask("overrideInstance", {
    params: { instance },
    body: { allocation: splitAt(60), ttlMs: 600_000, reason: "by hand" },
  });
  const pause = await controller.ask("createPause", { body: { pool: "held", reason: "for a moment" } });
  const ended = await controller.ask("endHold", { params: { id: pause.id }, query: { reason: "over" } });
  const { source } = controller;
  // As if all of it had begun two minutes earlier, and the pause had been over one minute ago.
  await source.query("UPDATE holds SET starts_at = starts_at - interval '2 min' WHERE id = ANY($1)", [
    [override.id, pause.id],
  ]);
  await source.query("UPDATE holds SET ended_at = ended_at - interval '1 min' WHERE id = $1", [pause.id]);
  const from = new Date(Date.now() - 90_000).toISOString();
  const { marks } = await seriesOf(instance, { from });
  const hold = (id: string) => marks.find((mark) => mark.id === id);
  expect(hold(override.id)).toMatchObject({
    atMs: Date.parse(override.from) - 120_000,
    endMs: Date.parse(override.until!),
    label: expect.stringContaining("by hand") as string,
  });
  expect(hold(pause.id)).toMatchObject({
    endMs: Date.parse(ended.endedAt!) - 60_000,
    label: expect.stringContaining("over") as string,
  });
  const since = await seriesOf(instance, { from: new Date(Date.now() - 30_000).toISOString() });
  expect(since.marks.filter(({ kind }) => kind === "hold").map(({ id }) => id)).toEqual([override.id]);
});

test("a freeze window is marked at the times that it held", async () => {
  const { controller } = fixture;
  await anAgent(poolBody("calendar"));
  const toMs = Math.floor(Date.now() / 3_600_000) * 3_600_000;
  const fromMs = toMs - 3_600_000;
  const hold = await controller.ask("createFreezeWindow", {
    body: {
      pool: "calendar",
      cron: "20 * * * *",
      timeZone: "UTC",
      durationMs: 600_000,
      reason: "backups",
    },
  });
  const range = { from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString() };
  expect((await seriesOf("calendar-i", range)).marks).toEqual([]);
  await controller.source.query("UPDATE holds SET starts_at = starts_at - interval '1 day' WHERE id = $1", [
    hold.id,
  ]);
  const { marks } = await seriesOf("calendar-i", range);
  expect(marks.map(({ id, atMs, endMs }) => [id, atMs - fromMs, endMs! - fromMs])).toEqual([
    [hold.id, 1_200_000, 1_800_000],
  ]);
});

test("what ran is what was read back, not what was asked", async () => {
  const agent = await anAgent(staticPool("got", splitAt(65)));
  await agent.report("got-i");
  const first = splitAt(64.5);
  await agent.carryOut("got-i", 1, { delivered: first });
  const window = { generation: 1 };
  await agent.report("got-i", { window, entry: { observed: { ...first, generation: 1 } } });
  const last = async () => (await seriesOf("got-i", { points: 600 })).points.at(-1)!;
  expect(await last()).toMatchObject({ generation: 1, prefillSmPct: 64.5, decodeSmPct: 35.5 });
  // The worker was restarted and runs a little more: the last report counts.
  const observed = { ...splitAt(64.75), generation: 1 };
  await agent.report("got-i", { window, entry: { observed } });
  expect(await last()).toMatchObject({ generation: 1, prefillSmPct: 64.75 });
  // Another generation is under way: the one before is what its acknowledgement said.
  const body = { allocation: splitAt(70), ttlMs: 600_000, reason: "by hand" };
  await fixture.controller.ask("overrideInstance", { params: { instance: "got-i" }, body });
  await agent.carryOut("got-i", 2, { delivered: null });
  const entry = { observed: null };
  await agent.report("got-i", { window, entry });
  expect((await last()).prefillSmPct).toBe(64.75);
  await agent.report("got-i", {
    window: { generation: 2 },
    entry: { observed: { ...splitAt(69.25), generation: 2 } },
  });
  await agent.report("got-i", { window, entry });
  expect((await last()).prefillSmPct).toBe(64.5);
});

test("the past is judged by the SLO of its time", async () => {
  const { controller } = fixture;
  const agent = await anAgent(poolBody("promise"));
  const toMs = Math.floor(Date.now() / 1_000) * 1_000;
  const window = { ttft: histogramAt(250, 40), tpot: histogramAt(20, 40) };
  await agent.report("promise-i", { window: { ...window, endAtMs: toMs - 9_000 } });
  await agent.report("promise-i", { window: { ...window, endAtMs: toMs - 1_000 } });
  const tight = { ...SLO, ttft: { percentile: 0.5, boundMs: 100 } };
  await controller.ask("putSlo", {
    params: { pool: "promise" },
    body: tight,
    headers: { "if-match": "*" },
  });
  const at = (ms: number) => new Date(ms);
  const versions =
    "UPDATE slo_versions v SET created_at = $2 FROM pools p WHERE p.id = v.pool_id AND p.name = 'promise' AND v.version = $1";
  await controller.source.query(versions, [1, at(toMs - 60_000)]);
  await controller.source.query(versions, [2, at(toMs - 5_000)]);
  const series = await seriesOf("promise-i", {
    from: at(toMs - 20_000).toISOString(),
    to: at(toMs).toISOString(),
    points: 20,
  });
  expect(series.slo).toEqual(tight);
  expect(series.slos).toEqual([
    { fromMs: toMs - 20_000, version: 1, slo: SLO },
    { fromMs: toMs - 5_000, version: 2, slo: tight },
  ]);
  const [before, after] = series.points;
  expect(before!.ttftMs).toBeCloseTo(percentile(window.ttft, 0.9)!.ms, 6);
  expect(before!.attainmentShare).toBe(1);
  expect(after!.ttftMs).toBeCloseTo(percentile(window.ttft, 0.5)!.ms, 6);
  expect(after!.attainmentShare).toBe(0);
});

test("the last 15 minutes unless told, and no further back than windows are kept", async () => {
  await anAgent(poolBody("spans"));
  const usual = await seriesOf("spans-i");
  expect(usual.toMs - usual.fromMs).toBe(900_000);
  expect(usual.stepMs).toBe(3_000);
  const longest = await seriesOf("spans-i", { from: "2020-01-01T00:00:00Z" });
  expect(longest.toMs - longest.fromMs).toBe(24 * 3_600_000);
  expect(longest.points).toEqual([]);
});

test.each([
  [{ points: 9 }, "points"],
  [{ points: 601 }, "points"],
  [{ from: "yesterday" }, "from"],
  [{ from: "2031-01-01T00:00:00Z" }, "from"],
  [{ from: "2020-01-01T00:00:00Z", to: "2020-01-02T00:00:00Z" }, "from"],
  [{ step: 5 }, "step"],
])("%o is refused by name", async (query, field) => {
  await fixture.controller.call("createPool", { body: poolBody("refused") });
  const agent = new TestAgent(fixture.controller, "refused-agent");
  await agent.register(registrationEntry("refused-i", "refused"));
  const reply = await fixture.controller.call("getSeries", {
    params: { instance: "refused-i" },
    query: query as Record<string, string | number>,
  });
  expect(reply.status).toBe(400);
  expect(reply.problem?.errors?.map((error) => error.field)).toEqual([field]);
});

test("an instance that is not there is 404", async () => {
  expect((await fixture.controller.call("getSeries", { params: { instance: "nobody" } })).status).toBe(404);
});
