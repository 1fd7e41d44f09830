import type { RouteName } from "@fulcrum/contracts/routes.js";
import { DEFAULT_FEEDBACK, DEFAULT_SEARCH, DEFAULT_SEMI_PD } from "@fulcrum/core/defaults.js";
import { beforeAll, describe, expect, test } from "vitest";

import { useControllers } from "../support/use-controllers.js";
import { poolBody, SLO, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers();
const target = (percentile: unknown, boundMs: unknown = 100) => ({ ...SLO, ttft: { percentile, boundMs } });

const PHASE = { kernelMs: [5, 0.07, 1e-6] as [number, number, number], engineMs: 2, sensitivity: 0.9 };
const PRIOR = { prefill: PHASE, decode: PHASE };

beforeAll(async () => {
  await fixture.controller.ask("createPool", { body: poolBody("steady") });
});

describe("a pool that makes no sense is refused, and the answer names the field", () => {
  const cases: [string, Record<string, unknown>, string][] = [
    ["a name with capitals", { name: "Chat" }, "name"],
    ["a name of 64 characters", { name: "a".repeat(64) }, "name"],
    ["a name with a path in it", { name: "../etc" }, "name"],
    ["no SLO", { slo: undefined }, "slo"],
    ["an SLO bound of zero", { slo: target(0.9, 0) }, "slo.ttft.boundMs"],
    ["an SLO bound of NaN", { slo: target(0.9, Number.NaN) }, "slo.ttft.boundMs"],
    ["a negative SLO bound", { slo: target(0.9, -1) }, "slo.ttft.boundMs"],
    ["percentile 1", { slo: target(1) }, "slo.ttft.percentile"],
    ["percentile 0", { slo: target(0) }, "slo.ttft.percentile"],
    ["percentile 90 instead of 0.9", { slo: target(90) }, "slo.ttft.percentile"],
    ["an attainment share of zero", { slo: { ...SLO, attainmentShare: 0 } }, "slo.attainmentShare"],
    ["an unknown mode", { mode: "yolo" }, "mode"],
    ["an unknown policy", { policy: { name: "magic" } }, "policy.name"],
    ["a static policy without a target", { policy: { name: "static" } }, "policy.params"],
    [
      "a static target of 0 %",
      { policy: { name: "static", params: { allocation: splitAt(100) } } },
      "policy.params.allocation.split.decodeSmPct",
    ],
    [
      "a parameter of another policy",
      { policy: { name: "semi-pd", params: { minGainShare: 0.1 } } },
      "policy.params.minGainShare",
    ],
    [
      "half a request per decision",
      { policy: { name: "semi-pd", params: { requestsPerDecision: 0.5 } } },
      "policy.params.requestsPerDecision",
    ],
    [
      "a gain of more than every request",
      { policy: { name: "search", params: { minGainShare: 1.5 } } },
      "policy.params.minGainShare",
    ],
    [
      "a prior of two costs",
      { policy: { name: "search", params: { prior: { ...PRIOR, decode: { ...PHASE, kernelMs: [1, 2] } } } } },
      "policy.params.prior.decode.kernelMs",
    ],
    [
      "a prior that gets faster with fewer SMs",
      { policy: { name: "search", params: { prior: { ...PRIOR, prefill: { ...PHASE, sensitivity: -1 } } } } },
      "policy.params.prior.prefill.sensitivity",
    ],
    [
      "a prior whose sensitivity grows from large to small iterations",
      {
        policy: {
          name: "search",
          params: { prior: { ...PRIOR, decode: { ...PHASE, growth: { small: 64, large: 16, gain: 0.2 } } } },
        },
      },
      "policy.params.prior.decode.growth.large",
    ],
    ["an unknown guard", { guards: { maxStep: 5 } }, "guards.maxStep"],
    ["a dwell of less than nothing", { guards: { dwellMs: -1 } }, "guards.dwellMs"],
    ["limits with min above max", { limits: { minSmPct: 60, maxSmPct: 40 } }, "limits.minSmPct"],
    [
      "KV limits with min above max",
      { limits: { minKvQuotaPct: 60, maxKvQuotaPct: 40 } },
      "limits.minKvQuotaPct",
    ],
    ["a control interval of a millisecond", { controlIntervalMs: 1 }, "controlIntervalMs"],
    ["an infinite lookback", { lookbackMs: "1e999" }, "lookbackMs"],
    ["a field that nobody knows", { sloo: {} }, "sloo"],
  ];
  test.each(cases)("%s", async (_what, over, field) => {
    const body = { ...poolBody("refused"), ...over };
    const reply = await fixture.controller.call("createPool", { body });
    expect([reply.status, reply.problem?.code]).toEqual([400, "invalid_request"]);
    expect(reply.problem?.errors?.map((error) => error.field)).toContain(field);
    expect((await fixture.controller.call("getPool", { params: { pool: "refused" } })).status).toBe(404);
  });
  test("an infinite number in raw JSON", async () => {
    const body = JSON.stringify(poolBody("refused")).replace('"boundMs":300', '"boundMs":1e999');
    const reply = await fixture.controller.call("createPool", { body });
    expect(reply.problem?.errors?.[0]?.field).toBe("slo.ttft.boundMs");
  });
  test("a name that is taken", async () => {
    const reply = await fixture.controller.call("createPool", { body: poolBody("steady") });
    expect([reply.status, reply.problem?.errors]).toEqual([409, [{ field: "name", message: "is taken" }]]);
  });
  test("many faults at once are all named", async () => {
    const body = { ...poolBody("refused"), mode: "x", slo: target(2, -1) };
    const reply = await fixture.controller.call("createPool", { body });
    expect(reply.problem?.errors?.map((error) => error.field).toSorted()).toEqual([
      "mode",
      "slo.ttft.boundMs",
      "slo.ttft.percentile",
    ]);
  });
});

describe("a change needs the version it was made from", () => {
  const writes: [RouteName, unknown][] = [
    ["patchPool", { model: "llama-3-70b" }],
    ["putSlo", SLO],
    ["deletePool", undefined],
  ];
  const params = { pool: "steady" };
  test.each(writes.slice(0, 2))("%s without If-Match is 428", async (name, body) => {
    const reply = await fixture.controller.call(name, { params, body });
    expect([reply.status, reply.problem?.code]).toEqual([428, "precondition_required"]);
  });
  test.each(writes)("%s with a version long gone is 412 and changes nothing", async (name, body) => {
    const before = await fixture.controller.ask("getPool", { params });
    const reply = await fixture.controller.call(name, { params, body, headers: { "if-match": '"9999"' } });
    expect([reply.status, reply.problem?.code]).toEqual([412, "precondition_failed"]);
    expect(await fixture.controller.ask("getPool", { params })).toEqual(before);
  });
  test.each(writes)("%s with something that is no ETag of ours is 400", async (name, body) => {
    for (const given of ["3", '"abc"', '"1", "2"', '"-1"']) {
      const reply = await fixture.controller.call(name, { params, body, headers: { "if-match": given } });
      expect([given, reply.status]).toEqual([given, 400]);
      expect(reply.problem?.errors?.[0]?.field).toBe("If-Match");
    }
  });
  test("of two who read the same version, one is told that the other was first", async () => {
    const read = await fixture.controller.call("getPool", { params });
    const headers = { "if-match": read.headers.get("etag")! };
    const replies = await Promise.all(
      [61, 62].map((seconds) =>
        fixture.controller.call("patchPool", { params, body: { lookbackMs: seconds * 1_000 }, headers }),
      ),
    );
    expect(replies.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 412]);
    const winner = replies.find(({ status }) => status === 200)!;
    expect((await fixture.controller.ask("getPool", { params })).lookbackMs).toBe(winner.body?.lookbackMs);
    expect(winner.headers.get("etag")).toBe(`"${winner.body?.version}"`);
  });
  test("* means whatever version it is at", async () => {
    const reply = await fixture.controller.call("patchPool", {
      params,
      body: { frozen: false },
      headers: { "if-match": "*" },
    });
    expect(reply.status).toBe(200);
  });
});

describe("a policy's parameters are filled in from its defaults", () => {
  const policies = [
    ["search", DEFAULT_SEARCH, { minGainShare: 0.25 }],
    ["feedback", DEFAULT_FEEDBACK, { stepPct: 7 }],
    ["semi-pd", DEFAULT_SEMI_PD, { requestsPerDecision: 50 }],
  ] as const;
  test.each(policies)("%s", async (name, defaults, change) => {
    const pool = `of-${name}`;
    const policy = { name };
    const made = await fixture.controller.ask("createPool", { body: poolBody(pool, { policy }) });
    expect(made.policy).toEqual({ name, params: defaults });
    const patched = await fixture.controller.ask("patchPool", {
      params: { pool },
      body: { policy: { name, params: change } } as { policy: typeof policy },
      headers: { "if-match": "*" },
    });
    expect(patched.policy).toEqual({ name, params: { ...defaults, ...change } });
  });
  test("a pool that names no policy searches", async () => {
    const made = await fixture.controller.ask("createPool", { body: poolBody("unnamed") });
    expect(made.policy).toEqual({ name: "search", params: DEFAULT_SEARCH });
  });
  test("a prior is kept as it was given", async () => {
    const growth = { small: 256, large: 4096, gain: 0.3 };
    const prior = { prefill: { ...PHASE, growth }, decode: PHASE };
    const policy = { name: "search" as const, params: { prior } };
    const made = await fixture.controller.ask("createPool", { body: poolBody("prior", { policy }) });
    expect(made.policy).toEqual({ name: "search", params: { ...DEFAULT_SEARCH, prior } });
  });
});

test("a patch changes what it names and nothing else", async () => {
  const body = poolBody("patched", { guards: { dwellMs: 1_234 }, limits: { minSmPct: 20 } });
  const before = await fixture.controller.ask("createPool", { body });
  const after = await fixture.controller.ask("patchPool", {
    params: { pool: "patched" },
    body: { guards: { minSamples: 7 } },
    headers: { "if-match": "*" },
  });
  expect(after).toEqual({
    ...before,
    guards: { ...before.guards, minSamples: 7 },
    version: before.version + 1,
    updatedAt: after.updatedAt,
  });
});

test("every SLO a pool ever had can be read again, newest first, with who set it", async () => {
  await fixture.controller.ask("createPool", { body: poolBody("slos") });
  const params = { pool: "slos" };
  for (const boundMs of [200, 250]) {
    const { headers } = await fixture.controller.call("getSlo", { params });
    const slo = { ...SLO, ttft: { percentile: 0.9, boundMs } };
    const key = await fixture.controller.keyOf("operator");
    await fixture.controller.ask("putSlo", {
      params,
      body: slo,
      key,
      headers: { "if-match": headers.get("etag")! },
    });
  }
  const { items } = await fixture.controller.ask("listSloVersions", { params });
  expect(items.map(({ version, slo, createdBy }) => [version, slo.ttft.boundMs, createdBy])).toEqual([
    [3, 250, "operator"],
    [2, 200, "operator"],
    [1, 300, "bootstrap"],
  ]);
  const pool = await fixture.controller.ask("getPool", { params });
  expect([pool.sloVersion, pool.slo.ttft.boundMs]).toEqual([3, 250]);
});

test("a deleted pool's name is free again, and the new pool is another one", async () => {
  const first = await fixture.controller.ask("createPool", { body: poolBody("phoenix") });
  await fixture.controller.ask("deletePool", { params: { pool: "phoenix" } });
  const second = await fixture.controller.ask("createPool", { body: staticPool("phoenix", splitAt(60)) });
  expect(second.id).not.toBe(first.id);
  expect((await fixture.controller.ask("listPools")).items.filter(({ name }) => name === "phoenix")).toEqual([
    second,
  ]);
});

describe("a search that makes no sense is refused", () => {
  const cases: [RouteName, Record<string, string>, string][] = [
    ["listDecisions", { limit: "0" }, "limit"],
    ["listDecisions", { limit: "501" }, "limit"],
    ["listDecisions", { limit: "NaN" }, "limit"],
    ["listDecisions", { kind: "shove" }, "kind"],
    ["listDecisions", { from: "yesterday" }, "from"],
    ["listDecisions", { cursor: "not-a-uuid" }, "cursor"],
    ["listReconfigurations", { state: "lost" }, "state"],
    ["listAudit", { cursor: "1e9" }, "cursor"],
    ["listInstances", { pool: "Not A Name" }, "pool"],
  ];
  test.each(cases)("%s %o", async (name, query, field) => {
    const reply = await fixture.controller.call(name, { query });
    expect(reply.status).toBe(400);
    expect(reply.problem?.errors?.map((error) => error.field)).toEqual([field]);
  });
  test("with an unknown parameter", async () => {
    const reply = await fixture.controller.call("listDecisions", { query: { colour: "red" } });
    expect(reply.status).toBe(400);
    expect(reply.problem?.detail).toContain("colour");
  });
  test("a path that does not exist is a problem too", async () => {
    const reply = await fetch(`${fixture.controller.url}/v1/nowhere`);
    expect(reply.status).toBe(404);
    expect(await reply.json()).toMatchObject({ code: "not_found", instance: "/v1/nowhere" });
  });
});

test("pages neither repeat nor skip while rows are added", async () => {
  const seen: number[] = [];
  let cursor: string | null = null;
  do {
    const page: { items: { seq: number }[]; nextCursor: string | null } = await fixture.controller.ask(
      "listAudit",
      {
        query: { limit: 3, ...(cursor ? { cursor } : {}) },
      },
    );
    seen.push(...page.items.map(({ seq }) => seq));
    cursor = page.nextCursor;
    await fixture.controller.ask("createKey", { body: { name: "while-paging", role: "viewer" } });
  } while (cursor);
  expect(seen).toEqual(Array.from({ length: seen.length }, (_, index) => seen.length - index));
  expect(seen.length).toBeGreaterThan(6);
});
