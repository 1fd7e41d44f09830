import { openApiDocument } from "@fulcrum/contracts/openapi.js";
import type { Role } from "@fulcrum/contracts/resources.js";
import type { Route } from "@fulcrum/contracts/route.js";
import { type RouteName, routes } from "@fulcrum/contracts/routes.js";
import { describe, expect, test } from "vitest";

import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { poolBody, registration, registrationEntry, report } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });
const NOBODY = "01900000-0000-7000-8000-000000000000";
const PARAMS = { pool: "no-pool", instance: "no-instance", agent: "no-agent", id: NOBODY };
const ROLES: readonly Role[] = ["viewer", "operator", "admin", "agent"];
const ALLOWED: Record<Role, readonly Role[]> = {
  viewer: ["viewer", "operator", "admin"],
  operator: ["operator", "admin"],
  admin: ["admin"],
  agent: ["agent"],
};

interface Operation {
  readonly operationId: string;
  readonly "x-fulcrum-role": Role;
}

/** Every operation of the published document: [route, least role]. */
const operations = Object.values(openApiDocument("0").paths as Record<string, Record<string, Operation>>)
  .flatMap((path) => Object.values(path))
  .map((operation) => [operation.operationId as RouteName, operation["x-fulcrum-role"]] as const);

describe.each(operations)("%s, for role %s", (name, needed) => {
  test("answers 401 without a key", async () => {
    const reply = await fixture.controller.call(name, { params: PARAMS, key: null });
    expect([reply.status, reply.problem?.code]).toEqual([401, "unauthenticated"]);
    expect(reply.headers.get("www-authenticate")).toBe("Bearer");
  });
  test.each(ROLES)("lets a key of role %s in, or not, by role alone", async (role) => {
    const key = await fixture.controller.keyOf(role);
    const { status, problem } = await fixture.controller.call(name, { params: PARAMS, key });
    if (ALLOWED[needed].includes(role)) {
      expect([401, 403]).not.toContain(status);
      expect(status).toBeLessThan(500);
    } else {
      expect([status, problem?.code]).toEqual([403, "forbidden"]);
    }
  });
});

test("a viewer's key reaches no route that changes anything, and an agent's none of the admin API", () => {
  const table = Object.values(routes) as Route[];
  const writes = table.filter((route) => route.method !== "GET");
  expect(writes.filter((route) => route.role === "viewer" || route.role === null)).toEqual([]);
  expect(table.filter((route) => route.path.startsWith("/v1/") && route.role === "agent")).toEqual([]);
  expect(operations.length).toBe(table.length);
});

test("a viewer's key is refused by every write of the document, with a body that would do, and leaves no trace", async () => {
  const { controller } = fixture;
  const key = await controller.keyOf("viewer");
  await controller.call("createPool", { body: poolBody("guarded") });
  const agent = new TestAgent(controller, "guarded-agent");
  await agent.register(registrationEntry("guarded-i", "guarded"));
  const params = { pool: "guarded", instance: "guarded-i", agent: "guarded-agent", id: NOBODY };
  const body = { reason: "r", ttlMs: 60_000, mode: "enforce", frozen: true, name: "v", role: "admin" };
  const before = await controller.ask("getAuditCheckpoint");
  const writes = operations.filter(([name]) => (routes[name] as Route).method !== "GET");
  expect(writes.length).toBeGreaterThanOrEqual(18);
  for (const [name] of writes) {
    const withBody = (routes[name] as Route).body ? { body } : {};
    const headers = { "if-match": "*" };
    const reply = await controller.call(name, { params, query: { reason: "r" }, headers, key, ...withBody });
    expect([name, reply.status, reply.problem?.code]).toEqual([name, 403, "forbidden"]);
  }
  const after = await controller.ask("getAuditCheckpoint");
  expect([after.seq, after.hash]).toEqual([before.seq, before.hash]);
  expect((await controller.ask("listHolds")).items).toEqual([]);
});

describe("a key that is no good", () => {
  const unknown = `fk_${"x".repeat(43)}`;
  test.each([
    ["unknown", `Bearer ${unknown}`],
    ["cut short", "Bearer fk_abc"],
    ["of another scheme", "Basic YTpi"],
    ["of nothing", "Bearer"],
    ["with SQL in it", "Bearer ' OR 1=1 --"],
    ["longer than any key", `Bearer ${"k".repeat(300)}`],
  ])("%s", async (_what, authorization) => {
    const reply = await fixture.controller.call("listPools", { key: null, headers: { authorization } });
    expect([reply.status, reply.problem?.code]).toEqual([401, "unauthenticated"]);
  });
});

test("a revoked key is refused at once by the replica that revoked it and within seconds by the others", async () => {
  const made = await fixture.controller.ask("createKey", { body: { name: "leaver", role: "operator" } });
  for (const replica of [fixture.controller, fixture.other])
    expect((await replica.call("listPools", { key: made.key })).status).toBe(200);
  await fixture.controller.ask("revokeKey", { params: { id: made.id } });
  expect((await fixture.controller.call("listPools", { key: made.key })).status).toBe(401);
  await expect
    .poll(async () => (await fixture.other.call("listPools", { key: made.key })).status, { timeout: 10_000 })
    .toBe(401);
  const listed = (await fixture.controller.ask("listKeys")).items.find(({ id }) => id === made.id);
  expect(listed?.revokedAt).not.toBeNull();
  expect(listed?.lastUsedAt).not.toBeNull();
});

test("keys are shown once and never stored or listed", async () => {
  const made = await fixture.controller.ask("createKey", { body: { name: "shown-once", role: "viewer" } });
  const listed = JSON.stringify(await fixture.controller.ask("listKeys"));
  const audited = JSON.stringify(await fixture.controller.ask("listAudit"));
  const stored = JSON.stringify(await fixture.controller.source.query("SELECT * FROM api_keys"));
  for (const text of [listed, audited, stored]) {
    expect(text).toContain(made.id);
    expect(text).not.toContain(made.key);
  }
});

describe("an agent key that is bound to one agent", () => {
  test("speaks for it and for no other", async () => {
    await fixture.controller.ask("createPool", { body: poolBody("bound") });
    const one = new TestAgent(fixture.controller, "bound-1");
    const two = new TestAgent(fixture.controller, "bound-2");
    await one.register(registrationEntry("bound-i", "bound"));
    await two.register();
    const key = await two.key();
    const foreign = "bound-1";
    const replies = [
      await fixture.controller.call("register", { body: registration(foreign, []), key }),
      await fixture.controller.call("report", { body: report(foreign, []), key }),
      await fixture.controller.call("getAssignments", { query: { agent: foreign }, key }),
      await fixture.controller.call("acknowledge", {
        body: { agent: foreign, sentAtMs: Date.now(), acks: [] },
        key,
      }),
    ];
    expect(replies.map(({ status }) => status)).toEqual([403, 403, 403, 400]);
    expect(replies.at(0)!.problem?.detail).toBe(
      "This key is bound to agent bound-2 and may not speak for bound-1.",
    );
    expect((await fixture.controller.call("report", { body: report("bound-2", []), key })).status).toBe(200);
  });
  test("is refused for any other role", async () => {
    const body = { name: "odd", role: "viewer", agent: "a" };
    const reply = await fixture.controller.call("createKey", { body });
    expect(reply.status).toBe(400);
    expect(reply.problem?.errors).toEqual([{ field: "agent", message: "can be given for role agent only" }]);
  });
});

test("two agents cannot both look after one rank; a silent agent's rank can be taken over", async () => {
  await fixture.controller.ask("createPool", { body: poolBody("ranks") });
  const first = new TestAgent(fixture.controller, "rank-a");
  const second = new TestAgent(fixture.controller, "rank-b");
  await first.register(registrationEntry("rank-i", "ranks"));
  await expect(second.register(registrationEntry("rank-i", "ranks"))).rejects.toThrow(
    "Rank 0 is looked after by agent rank-a",
  );
  await fixture.controller.source.query(
    "UPDATE agents SET last_seen_at = last_seen_at - interval '2 minutes' WHERE name = 'rank-a'",
  );
  await second.register(registrationEntry("rank-i", "ranks"));
  const { agents } = await fixture.controller.ask("getInstance", { params: { instance: "rank-i" } });
  expect(agents).toEqual(["rank-b"]);
});

describe("a registration that cannot be", () => {
  const cases: [string, Parameters<typeof registrationEntry>[2], string, string][] = [
    ["names no pool", { pool: "nowhere" }, "unknown_pool", "pool"],
    ["names another pool", { pool: "other-pool" }, "wrong_pool", "pool"],
    ["has another size", { rankCount: 2, ranks: [0] }, "wrong_rank_count", "rankCount"],
    ["has ranks past the end", { ranks: [0, 1] }, "rank_out_of_range", "ranks"],
  ];
  test.each(cases)("%s", async (_what, over, code, field) => {
    const agent = new TestAgent(fixture.controller, "odd-agent");
    for (const name of ["odd-pool", "other-pool"])
      await fixture.controller.call("createPool", { body: poolBody(name) });
    await agent.register(registrationEntry("odd-i", "odd-pool"), registrationEntry("odd-j", "odd-pool"));
    const entries = [registrationEntry("odd-i", "odd-pool", over), registrationEntry("odd-j", "odd-pool")];
    const answer = await fixture.controller.ask("register", { body: registration("odd-agent", entries) });
    expect(answer.rejected).toMatchObject([{ instance: "odd-i", code, field }]);
    expect(answer.instances.map(({ instance }) => instance)).toEqual(["odd-j"]);
  });
});
