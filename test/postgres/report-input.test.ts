import { describe, expect, test } from "vitest";

import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import {
  ack,
  instanceReport,
  poolBody,
  registrationEntry,
  report,
  registration,
  wireWindow,
} from "../support/wire.js";

const fixture = useControllers({ env: { FULCRUM_BODY_LIMIT_BYTES: "65536" } });

let made = 0;

/** A registered instance of its own for each test. */
async function anInstance(): Promise<{ agent: TestAgent; instance: string; pool: string }> {
  made += 1;
  const pool = `input-${made}`;
  const agent = new TestAgent(fixture.controller, `input-agent-${made}`);
  await fixture.controller.ask("createPool", { body: poolBody(pool) });
  await agent.register(registrationEntry(`input-instance-${made}`, pool));
  return { agent, instance: `input-instance-${made}`, pool };
}

async function storedWindows(instance: string): Promise<number> {
  return (await fixture.controller.ask("listWindows", { params: { instance } })).items.length;
}

describe("a window that cannot be believed is refused, and the answer names the field", () => {
  const HOUR_MS = 3_600_000;
  const cases: [string, (window: Record<string, unknown>) => void, string][] = [
    ["an infinite count", (w) => (w["arrivals"] = "RAW 1e999"), "windows.0.arrivals"],
    ["a NaN count, which JSON writes as null", (w) => (w["finished"] = null), "windows.0.finished"],
    ["a NaN count, written as text", (w) => (w["finished"] = "NaN"), "windows.0.finished"],
    ["a negative count", (w) => (w["arrivals"] = -1), "windows.0.arrivals"],
    ["half a request", (w) => (w["arrivals"] = 0.5), "windows.0.arrivals"],
    ["a window of no length", (w) => (w["durationMs"] = 0), "windows.0.durationMs"],
    ["a window that ends before it starts", (w) => (w["startAtMs"] = Date.now() + 1), "windows.0.endAtMs"],
    ["a window of the future", (w) => (w["endAtMs"] = Date.now() + HOUR_MS / 2), "windows.0.endAtMs"],
    [
      "fewer counts than bounds",
      (w) => (w["ttft"] = { boundsMs: [1, 2], counts: [1, 2], sumMs: 3 }),
      "windows.0.ttft.counts",
    ],
    [
      "a histogram whose counts fell",
      (w) => (w["ttft"] = { boundsMs: [1, 2], counts: [5, -3, 0], sumMs: 3 }),
      "windows.0.ttft.counts.1",
    ],
    [
      "bounds that do not ascend",
      (w) => (w["tpot"] = { boundsMs: [2, 1], counts: [0, 0, 0], sumMs: 0 }),
      "windows.0.tpot.boundsMs[1]",
    ],
    [
      "more KV used than there is",
      (w) => (w["kv"] = { totalTokens: 10, usedTokens: 11, preemptions: null }),
      "windows.0.kv.usedTokens",
    ],
    ["work that is none", (w) => (w["work"] = []), "windows.0.work"],
    ["work with one part only", (w) => (w["work"] = { decodeSteps: 1 }), "windows.0.work.promptTokensSq"],
    ["a field that nobody knows", (w) => (w["gpuTemperature"] = 70), "windows.0.gpuTemperature"],
    ["a missing field", (w) => delete w["busy"], "windows.0.busy"],
    ["a generation that no row can hold", (w) => (w["generation"] = 2 ** 40), "windows.0.generation"],
    [
      "a window from before the clock began",
      (w) => ((w["startAtMs"] = -5), (w["endAtMs"] = -1)),
      "windows.0.startAtMs",
    ],
  ];
  test.each(cases)("%s", async (_what, spoil, field) => {
    const { agent, instance } = await anInstance();
    const window: Record<string, unknown> = { ...wireWindow(1) };
    spoil(window);
    const body = JSON.stringify(report(agent.name, [instanceReport(instance, [window as never])]));
    const reply = await fixture.controller.call("report", { body: body.replace(/"RAW (.*?)"/, "$1") });
    expect(reply.status).toBe(422);
    expect(reply.problem).toMatchObject({
      code: "nothing_accepted",
      errors: [{ field: `${instance}.${field}` }],
    });
    expect(await storedWindows(instance)).toBe(0);
  });
});

test("what the agent says it runs is checked too: a generation that no row can hold is refused", async () => {
  const { agent, instance } = await anInstance();
  const entry = instanceReport(instance, [wireWindow(1)]);
  const body = report(agent.name, [{ ...entry, observed: { ...entry.observed!, generation: 2 ** 31 } }]);
  const reply = await fixture.controller.call("report", { body });
  expect(reply.status).toBe(422);
  expect(reply.problem?.errors).toMatchObject([{ field: `${instance}.observed.generation` }]);
});

test("an agent whose clock stands in the year 275760 is told which time does not fit", async () => {
  const { agent, instance } = await anInstance();
  const windows = [wireWindow(1, { endAtMs: 10_000, startAtMs: 5_000 })];
  const body = report(agent.name, [instanceReport(instance, windows)], 8_640_000_000_000_000);
  const reply = await fixture.controller.call("report", { body });
  expect(reply.status).toBe(422);
  expect(reply.problem?.detail).toMatch(/windows\.0\.startAtMs .* sentAtMs/);
});

test("a report for an instance that never registered says so by name", async () => {
  const { agent } = await anInstance();
  const body = report(agent.name, [instanceReport("ghost-1", [wireWindow(1)])]);
  const reply = await fixture.controller.call("report", { body });
  expect(reply.status).toBe(422);
  expect(reply.problem?.detail).toContain("ghost-1 is not registered");
});

test("one bad instance does not cost the others their windows", async () => {
  const good = await anInstance();
  const bad = await anInstance();
  const answer = await fixture.controller.ask("report", {
    body: report(good.agent.name, [
      instanceReport(bad.instance, [wireWindow(1, { arrivals: -1 })]),
      instanceReport("ghost-2", [wireWindow(1)]),
      instanceReport(bad.instance, [wireWindow(1, { generation: 2 ** 35 })]),
      instanceReport(good.instance, [wireWindow(1), wireWindow(2)]),
    ]),
  });
  expect(answer.accepted).toEqual([{ instance: good.instance, lastSeq: 2 }]);
  expect(answer.rejected.map(({ instance, code, field }) => [instance, code, field])).toEqual([
    [bad.instance, "invalid_report", "windows.0.arrivals"],
    [bad.instance, "invalid_report", "windows.0.generation"],
    ["ghost-2", "unknown_instance", "instance"],
  ]);
  expect(await storedWindows(good.instance)).toBe(2);
  expect(await storedWindows(bad.instance)).toBe(0);
});

describe("a body that is no report at all", () => {
  const cases: [string, string, Record<string, string>, number, string][] = [
    ["over the limit", JSON.stringify({ pad: "x".repeat(70_000) }), {}, 413, "body_too_large"],
    ["malformed JSON", '{"agent": "a", ', {}, 400, "invalid_request"],
    ["nothing", "", {}, 400, "invalid_request"],
    ["not JSON", "<agent/>", { "content-type": "application/xml" }, 415, "unsupported_media_type"],
    ["a list", "[]", {}, 400, "invalid_request"],
    ["without an agent", JSON.stringify({ sentAtMs: 1, instances: [] }), {}, 400, "invalid_request"],
    [
      "with an unknown field",
      JSON.stringify({ agent: "a", sentAtMs: 1, instances: [], extra: 1 }),
      {},
      400,
      "invalid_request",
    ],
    [
      "with a __proto__ in it",
      '{"agent":"a","sentAtMs":1,"instances":[],"__proto__":{"x":1}}',
      {},
      400,
      "invalid_request",
    ],
  ];
  test.each(cases)("%s", async (_what, body, headers, status, code) => {
    const reply = await fixture.controller.call("report", { body, headers });
    expect(reply.status).toBe(status);
    expect(reply.problem).toMatchObject({ code, instance: "/agent/v1/report" });
  });

  test("the first wrong field of the envelope is named", async () => {
    const reply = await fixture.controller.call("report", { body: { sentAtMs: 1, instances: [] } });
    expect(reply.problem?.errors).toEqual([{ field: "agent", message: "is required" }]);
  });
});

describe("text that Postgres cannot hold is the caller's mistake, not a failure of the controller", () => {
  const nul = "a\u0000b";
  test("in a registration", async () => {
    const { pool } = await anInstance();
    const body = { ...registration("nul-agent", [registrationEntry("nul-instance", pool)]), node: nul };
    const reply = await fixture.controller.call("register", { body });
    expect([reply.status, reply.problem?.code]).toEqual([400, "invalid_request"]);
  });
  test("in a failure that a rank acknowledges", async () => {
    const { agent, instance } = await anInstance();
    const failure = { code: "driver", message: nul, retryable: false };
    const reply = await fixture.controller.call("acknowledge", {
      body: {
        agent: agent.name,
        sentAtMs: Date.now(),
        acks: [ack(instance, 0, "failed", { failure })],
      },
    });
    // Nothing is open, so the failure is told to nobody and stored nowhere.
    expect(reply.status).toBe(200);
  });
  test("in a pool, a key and a search", async () => {
    const replies = [
      await fixture.controller.call("createPool", { body: poolBody("nul-pool", { model: nul }) }),
      await fixture.controller.call("createKey", { body: { name: nul, role: "viewer" } }),
      await fixture.controller.call("listAudit", { query: { subject: nul } }),
      await fixture.controller.call("listDecisions", { query: { reason: nul } }),
      await fixture.controller.call("listInstances", { query: { cursor: nul } }),
    ];
    expect(replies.map((reply) => [reply.status, reply.problem?.code])).toEqual(
      replies.map(() => [400, "invalid_request"]),
    );
  });
});

test("an acknowledgement of an attempt that no row can hold is refused", async () => {
  const { agent, instance } = await anInstance();
  const reply = await fixture.controller.call("acknowledge", {
    body: {
      agent: agent.name,
      sentAtMs: Date.now(),
      acks: [ack(instance, 0, "verified", { attempt: 2 ** 40 })],
    },
  });
  expect(reply.status).toBe(400);
});
