import type { Route } from "@fulcrum/contracts/route.js";
import { routes } from "@fulcrum/contracts/routes.js";
import { ROUTE } from "@fulcrum/controller/http/handles.js";
import { RequestMethod } from "@nestjs/common";
import { Ajv2020 } from "ajv/dist/2020.js";
import { beforeAll, describe, expect, test } from "vitest";

import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import {
  instanceReport,
  registrationEntry,
  report,
  splitAt,
  staticPool,
  wireWindow,
  WORK,
} from "../support/wire.js";

const fixture = useControllers();

type Json = Record<string, unknown>;
interface Operation {
  readonly operationId: string;
  readonly responses: Record<string, { content?: Record<string, { schema: Json }> }>;
  readonly requestBody?: { content: Record<string, { schema: Json }> };
  readonly parameters: { name: string; in: string; required: boolean; schema: Json }[];
  readonly security: unknown[];
}
interface Document {
  readonly openapi: string;
  readonly info: { title: string; version: string };
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { schemas: Record<string, Json>; securitySchemes: Json };
}

let document: Document;
let ajv: Ajv2020;

beforeAll(async () => {
  document = (await (await fetch(`${fixture.controller.url}/openapi.json`)).json()) as Document;
  ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  ajv.addSchema({ ...document, $id: "openapi" });
});

function operations(): [string, string, Operation][] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, string, Operation] => [
      path,
      method,
      operation,
    ]),
  );
}

/** Everything in the document under a key of that name. */
function found(value: unknown, key: string): unknown[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => [
    ...(name === key ? [inner] : []),
    ...found(inner, key),
  ]);
}

function at(pointer: string): unknown {
  return pointer
    .replace(/^#\//, "")
    .split("/")
    .reduce<unknown>((value, part) => (value as Json | undefined)?.[part.replaceAll("~1", "/")], document);
}

/** Validates as the document says, not as our own zod schemas do. */
function faultsOf(schemaPointer: string, value: unknown): unknown[] {
  const validate = ajv.compile({ $ref: `openapi${schemaPointer}` });
  return validate(value) ? [] : (validate.errors ?? []);
}

function pointerTo(path: string, ...rest: string[]): string {
  return `#/paths/${[path, ...rest].map((part) => encodeURIComponent(part.replaceAll("/", "~1"))).join("/")}`;
}

describe("the document", () => {
  test("is OpenAPI 3.1 with a title, a version, and one security scheme", () => {
    expect(document.openapi).toMatch(/^3\.1\.\d$/);
    expect(document.info.title).toBe("Fulcrum");
    expect(document.info.version).toMatch(/^\d+\.\d+\.\d+/);
    expect(document.components.securitySchemes).toEqual({ apiKey: { type: "http", scheme: "bearer" } });
  });
  test("has no reference that leads nowhere", () => {
    const references = found(document, "$ref") as string[];
    expect(references.length).toBeGreaterThan(50);
    expect(references.filter((reference) => at(reference) === undefined)).toEqual([]);
  });
  test("names every operation once, and describes every parameter of its path", () => {
    const ids = operations().map(([, , { operationId }]) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [path, method, { parameters }] of operations()) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const described = parameters.filter((parameter) => parameter.in === "path");
      expect([path, method, described.map(({ name }) => name)]).toEqual([path, method, inPath]);
      expect(described.every(({ required }) => required)).toBe(true);
    }
  });
  test("has schemas that a JSON Schema 2020-12 validator takes", () => {
    for (const name of Object.keys(document.components.schemas))
      faultsOf(`#/components/schemas/${name}`, null);
    for (const [path, method, { responses }] of operations())
      for (const [status, { content }] of Object.entries(responses))
        for (const type of Object.keys(content ?? {}))
          faultsOf(pointerTo(path, method, "responses", status, "content", type, "schema"), null);
  });
});

/** What serves probes and people, and is no part of the API. */
const OUTSIDE = ["GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json"];

test("every handler of the application is in the document, and the other way round", () => {
  const container = fixture.controller.app as unknown as {
    container: {
      getModules(): Map<string, { controllers: Map<unknown, { metatype: { prototype: object } }> }>;
    };
  };
  const handlers = [...container.container.getModules().values()]
    .flatMap((module) => [...module.controllers.values()])
    .flatMap(({ metatype }) =>
      Object.values(Object.getOwnPropertyDescriptors(metatype.prototype))
        .map(({ value }) => value as object)
        .filter((handler) => typeof handler === "function" && Reflect.hasMetadata("method", handler)),
    );
  const served = handlers.map((handler) => {
    const method = RequestMethod[Reflect.getMetadata("method", handler) as number];
    return `${method} ${String(Reflect.getMetadata("path", handler)).replace(/:(\w+)/g, "{$1}")}`;
  });
  const documented = operations().map(([path, method]) => `${method.toUpperCase()} ${path}`);
  expect(served.toSorted()).toEqual([...documented, ...OUTSIDE].toSorted());
  // And each of them asks for the key that its row in the table names.
  const table = new Set<Route>(Object.values(routes));
  const bound = handlers.map((handler) => Reflect.getMetadata(ROUTE, handler) as Route | undefined);
  expect(bound.filter((route) => route === undefined)).toHaveLength(OUTSIDE.length);
  expect(bound.filter((route) => route !== undefined && !table.has(route))).toEqual([]);
});

test("every answer of a session is what the document says, and so is every body that was sent", async () => {
  const { controller } = fixture;
  const seen = new Set<string>();
  const drive: typeof controller.call = async (name, options = {}) => {
    const reply = await controller.call(name, options);
    const found = operations().find(([, , { operationId }]) => operationId === name)!;
    const [path, method, operation] = found;
    seen.add(name);
    if (options.body !== undefined && reply.status < 400)
      expect([
        name,
        faultsOf(
          pointerTo(path, method, "requestBody", "content", "application/json", "schema"),
          options.body,
        ),
      ]).toEqual([name, []]);
    const status = operation.responses[reply.status] ? String(reply.status) : "default";
    const content = operation.responses[status]?.content;
    const answer = reply.problem ?? reply.body;
    if (!content) expect([name, answer]).toEqual([name, null]);
    for (const type of Object.keys(content ?? {}))
      expect([
        name,
        faultsOf(pointerTo(path, method, "responses", status, "content", type, "schema"), answer),
      ]).toEqual([name, []]);
    return reply;
  };
  const pool = { pool: "doc" };
  const instance = { instance: "doc-i" };
  const any = { "if-match": "*" };
  const staticRecommend = {
    mode: "recommend",
    policy: { name: "static", params: { allocation: splitAt(75) } },
  };
  await drive("createPool", {
    body: staticPool("doc", splitAt(60), { limits: { minSmPct: 10 }, guards: { dwellMs: 0 } }),
  });
  const agent = new TestAgent(controller, "doc-agent");
  await agent.register(registrationEntry("doc-i", "doc"));
  await drive("register", {
    body: {
      agent: "doc-agent",
      node: "n",
      agentVersion: "1",
      sentAtMs: Date.now(),
      instances: [registrationEntry("doc-i", "doc"), registrationEntry("doc-j", "nowhere")],
    },
  });
  await drive("report", {
    body: report("doc-agent", [
      instanceReport("doc-i", [wireWindow(1), wireWindow(2, { work: WORK })]),
      instanceReport("ghost", []),
    ]),
  });
  await drive("getAssignments", { query: { agent: "doc-agent" } });
  await drive("acknowledge", {
    body: {
      agent: "doc-agent",
      sentAtMs: Date.now(),
      acks: [
        {
          instance: "doc-i",
          rank: 0,
          generation: 1,
          attempt: 1,
          step: "failed",
          atMs: Date.now(),
          delivered: splitAt(55),
          failure: { code: "x", message: "y", retryable: false },
        },
      ],
    },
  });
  await agent.carryOut("doc-i", 2);
  await evaluate(controller, "doc-i", Date.now() + 86_400_000);
  for (const name of ["listPools", "listInstances", "listAgents", "listKeys", "listAudit"] as const)
    await drive(name);
  for (const name of ["getPool", "getSlo", "listSloVersions"] as const) await drive(name, { params: pool });
  for (const name of ["getInstance", "listWindows"] as const) await drive(name, { params: instance });
  await drive("getEvidence", { params: pool });
  await drive("getCanary", { params: pool });
  await drive("getCapacity", { params: pool });
  await drive("clearDegraded", { params: instance, query: { reason: "r" } });
  await drive("getAuditCheckpoint");
  await drive("getFleet");
  await drive("getSeries", { params: instance });
  await drive("streamEvents", { query: { instance: "doc-i" } });
  await drive("previewPool", { params: pool, body: { mode: "observe", limits: { minSmPct: 20 } } });
  await drive("getAgent", { params: { agent: "doc-agent" } });
  const decisions = await drive("listDecisions");
  for (const { id } of decisions.body!.items) await drive("getDecision", { params: { id } });
  const rollouts = await drive("listReconfigurations");
  for (const { id } of rollouts.body!.items) await drive("getReconfiguration", { params: { id } });
  await drive("patchPool", {
    params: pool,
    body: { policy: { name: "feedback", params: { stepPct: 2 } } },
    headers: any,
  });
  for (const name of ["semi-pd", "search"] as const)
    await drive("patchPool", { params: pool, body: { policy: { name } }, headers: any });
  await drive("putSlo", { params: pool, body: staticPool("x", splitAt(50)).slo, headers: any });
  await drive("pinInstance", { params: instance, body: { reason: "r" } });
  await drive("unpinInstance", { params: instance });
  const { body: pause } = await drive("createPause", { body: { ...pool, ttlMs: 60_000, reason: "r" } });
  await drive("endHold", { params: { id: pause!.id }, query: { reason: "r" } });
  await drive("createFreezeWindow", {
    body: { ...pool, cron: "0 3 * * *", timeZone: "UTC", durationMs: 60_000, reason: "r" },
  });
  const byHand = { ttlMs: 1_000, reason: "r" };
  await drive("listGenerations", { params: instance });
  await drive("rollbackInstance", { params: instance, body: { generation: 0, ...byHand } });
  await drive("overrideInstance", { params: instance, body: { allocation: splitAt(55), ...byHand } });
  await drive("listHolds");
  await drive("unpinInstance", { params: instance });
  await drive("patchPool", {
    params: pool,
    body: { ...staticRecommend, approval: { required: 2 } },
    headers: any,
  });
  const { desired } = await controller.ask("getInstance", { params: instance });
  await agent.carryOut("doc-i", desired.generation);
  for (const [vote, body] of [
    ["approveProposal", { comment: "yes" }],
    ["rejectProposal", { reason: "no" }],
  ] as const) {
    await evaluate(controller, "doc-i", Date.now() + 86_400_000);
    const proposals = await drive("listProposals");
    const { id } = proposals.body!.items[0]!;
    await drive(vote, { params: { id }, body });
    await drive("getProposal", { params: { id } });
  }
  await drive("getBudget", { params: pool });
  await drive("listAlerts");
  const hook = await drive("createWebhook", { body: { url: "http://127.0.0.1:1/", pool: "doc" } });
  await drive("listWebhooks");
  const tried = await drive("testWebhook", { params: { id: hook.body!.id } });
  await drive("listDeliveries", { query: { webhook: hook.body!.id } });
  await drive("retryDelivery", { params: { id: tried.body!.id } });
  await drive("deleteWebhook", { params: { id: hook.body!.id } });
  const key = await drive("createKey", { body: { name: "k", role: "agent", agent: "doc-agent" } });
  await drive("revokeKey", { params: { id: key.body!.id } });
  await drive("getPool", { params: { pool: "nowhere" } });
  await drive("deleteInstance", { params: instance });
  await drive("deletePool", { params: pool });
  expect([...seen].toSorted()).toEqual(Object.keys(routes).toSorted());
});
