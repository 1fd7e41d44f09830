import { FEATURES_HEADER, TRACEPARENT_FEATURE } from "@fulcrum/contracts/agent-api.js";
import { afterAll, expect, test } from "vitest";

import { startController, type TestController } from "../support/controller.js";
import { OtlpCollector } from "../support/otlp-collector.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { ack, registrationEntry, splitAt, staticPool } from "../support/wire.js";

const collector = await new OtlpCollector().start();
const fixture = useControllers({
  replicas: 2,
  env: {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=gpu",
    FULCRUM_RETRY_BACKOFF_MS: "10",
    FULCRUM_MAX_ATTEMPTS: "1",
  },
});
afterAll(() => collector.stop());

const FEATURES = { [FEATURES_HEADER]: TRACEPARENT_FEATURE };

/** A pool whose first report makes a move to 80/20, and the agent that has made it. */
async function moved(controller: TestController, name: string): Promise<TestAgent> {
  await controller.ask("createPool", { body: staticPool(name, splitAt(80)) });
  const agent = new TestAgent(controller, `${name}-agent`);
  await agent.register(registrationEntry(`${name}-i`, name));
  await agent.report(`${name}-i`);
  return agent;
}

async function assignmentOf(controller: TestController, agent: TestAgent, headers = {}) {
  const reply = await controller.call("getAssignments", {
    query: { agent: agent.name, waitMs: 0 },
    headers,
    key: await agent.key(),
  });
  return reply.body!.assignments[0]!;
}

test("one trace from the report to the last acknowledgement, also over another replica", async () => {
  const { controller, other } = fixture;
  const agent = await moved(controller, "whole");
  const { traceparent, generation } = await assignmentOf(controller, agent, FEATURES);
  expect(traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  const [, traceId] = traceparent!.split("-");
  // A proxy between agent and controller has put a span of its own between.
  const hop = `00-${traceId}-00f067aa0ba902b7-01`;
  for (const step of ["preparing", "ready", "switched", "verified"] as const) {
    await other.ask("acknowledge", {
      key: await agent.key(),
      headers: { traceparent: step === "ready" ? hop : traceparent! },
      body: { agent: agent.name, sentAtMs: Date.now(), acks: [ack("whole-i", generation, step)] },
    });
  }
  const names = () => collector.spans.filter((span) => span.traceId === traceId).map(({ name }) => name);
  await expect
    .poll(() => names().toSorted(), { timeout: 20_000 })
    .toEqual(
      [
        "fulcrum.report",
        "fulcrum.decide",
        "fulcrum.commit",
        "fulcrum.offer",
        "fulcrum.rank.preparing",
        "fulcrum.rank.ready",
        "fulcrum.rank.switched",
        "fulcrum.rank.verified",
        "fulcrum.rollout",
      ].toSorted(),
    );
  const span = (name: string) => collector.named(name).find((one) => one.traceId === traceId)!;
  const [report, commit] = [span("fulcrum.report"), span("fulcrum.commit")];
  expect(report.parentSpanId).toBe("");
  expect([span("fulcrum.decide").parentSpanId, commit.parentSpanId]).toEqual([report.spanId, report.spanId]);
  expect(traceparent).toBe(`00-${traceId}-${commit.spanId}-01`);
  const below = ["offer", "rank.preparing", "rank.switched", "rank.verified", "rollout"];
  for (const name of below) expect(span(`fulcrum.${name}`).parentSpanId).toBe(commit.spanId);
  expect(span("fulcrum.rank.ready").parentSpanId).toBe("00f067aa0ba902b7");
  expect(span("fulcrum.rollout").attributes).toMatchObject({
    "fulcrum.instance.name": "whole-i",
    "fulcrum.rollout.state": "verified",
    "fulcrum.split.prefill_sm_pct": 80,
  });
  expect(span("fulcrum.decide").attributes).toMatchObject({ "fulcrum.policy.name": "static" });
  for (const one of collector.spans) expect(one.endMs).toBeGreaterThanOrEqual(one.startMs);
  expect(collector.headers[0]?.["x-tenant"]).toBe("gpu");
});

test("a rollout that fails says why, and its rollback goes on in the same trace", async () => {
  const { controller } = fixture;
  const agent = await moved(controller, "failing");
  const { traceparent, generation } = await assignmentOf(controller, agent, FEATURES);
  const failure = { code: "no_memory", message: "the GPU is full", retryable: false };
  expect(await agent.ack("failing-i", generation, "failed", { failure })).toBe("applied");
  const back = await assignmentOf(controller, agent, FEATURES);
  expect(back.generation).toBe(generation + 1);
  expect(back.traceparent).toBe(traceparent);
  const [, traceId] = traceparent!.split("-");
  const failed = () => collector.named("fulcrum.rank.failed").find((one) => one.traceId === traceId);
  await expect.poll(failed, { timeout: 20_000 }).toMatchObject({ status: 2 });
});

test("an agent that has not said that it takes a trace gets none", async () => {
  const agent = await moved(fixture.controller, "older");
  expect(await assignmentOf(fixture.controller, agent)).not.toHaveProperty("traceparent");
  await agent.carryOut("older-i", 1);
});

test("a header that is no traceparent, or of another trace, changes nothing", async () => {
  const { controller } = fixture;
  const agent = await moved(controller, "odd");
  const { traceparent, generation } = await assignmentOf(controller, agent, FEATURES);
  const [, traceId] = traceparent!.split("-");
  const headers = [`00-${"a".repeat(32)}-${"b".repeat(16)}-01`, "'; DROP TABLE"];
  for (const [i, step] of (["preparing", "ready"] as const).entries()) {
    await controller.ask("acknowledge", {
      key: await agent.key(),
      headers: { traceparent: headers[i]! },
      body: { agent: agent.name, sentAtMs: Date.now(), acks: [ack("odd-i", generation, step)] },
    });
  }
  const steps = () => collector.spans.filter((one) => one.traceId === traceId && one.name.includes("rank"));
  await expect.poll(() => steps().length, { timeout: 20_000 }).toBe(2);
});

test("a collector that is away is told of once and stops nothing; without one nothing is traced", async () => {
  const away = await new OtlpCollector().start();
  await away.stop();
  const { url } = fixture.database;
  const deaf = await startController(url, { OTEL_EXPORTER_OTLP_ENDPOINT: away.url });
  try {
    const agent = await moved(deaf, "deaf");
    await agent.carryOut("deaf-i", 1);
    const warnings = () => deaf.logged.filter(({ event }) => event === "traces_not_exported").length;
    await expect.poll(warnings, { timeout: 25_000 }).toBe(1);
  } finally {
    await deaf.close();
  }
  const off = await startController(url);
  try {
    const agent = await moved(off, "off");
    expect(await assignmentOf(off, agent, FEATURES)).not.toHaveProperty("traceparent");
  } finally {
    await off.close();
  }
});
