/** A client that knows nothing but the document that the controller serves. */
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { startServer, System } from "./support/system.js";

interface Schema {
  readonly [key: string]: unknown;
}
interface Content {
  readonly [type: string]: { readonly schema: Schema };
}
interface Operation {
  readonly operationId: string;
  readonly parameters: readonly {
    name: string;
    in: "path" | "query" | "header";
    required: boolean;
    schema: Schema;
  }[];
  readonly requestBody?: { readonly required: boolean; readonly content: Content };
  readonly responses: Readonly<
    Record<string, { readonly content?: Content; readonly headers?: Record<string, unknown> }>
  >;
  readonly security: readonly Record<string, unknown>[];
}
interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

interface Answer {
  readonly status: number;
  readonly etag: string | null;
  /** Parsed, and held against the document's schema. */
  readonly body: Json;
}

/** Whatever the document says that it is: reached into, and a wrong reach fails the test. */
type Json = ReturnType<typeof JSON.parse>;

class OpenApiClient {
  private readonly ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });

  constructor(
    private readonly url: string,
    readonly document: Document,
    private readonly key: string,
  ) {
    this.ajv.addSchema({ $id: "openapi", ...document });
  }

  static async read(url: string, key: string): Promise<OpenApiClient> {
    const document = (await (await fetch(`${url}/openapi.json`)).json()) as Document;
    return new OpenApiClient(url, document, key);
  }

  get operations(): { path: string; method: string; operation: Operation }[] {
    return Object.entries(this.document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
    );
  }

  /** `values` are parameters by name, wherever the document puts them. */
  async call(
    id: string,
    values: Readonly<Record<string, string | number>> = {},
    body?: unknown,
  ): Promise<Answer> {
    const found = this.operations.find(({ operation }) => operation.operationId === id);
    if (found === undefined) throw new Error(`the document has no operation ${id}`);
    const { operation, method } = found;
    const query = new URLSearchParams();
    const headers: Record<string, string> = {};
    let path = found.path;
    if (operation.security.length > 0) headers["authorization"] = `Bearer ${this.key}`;
    for (const parameter of operation.parameters) {
      const value = values[parameter.name];
      if (value === undefined) {
        if (parameter.required) throw new Error(`${id} needs ${parameter.name}`);
        continue;
      }
      this.check(`${id} ${parameter.name}`, parameter.schema, value);
      if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
      else if (parameter.in === "query") query.set(parameter.name, String(value));
      else headers[parameter.name] = String(value);
    }
    if (body !== undefined) {
      const schema = operation.requestBody?.content["application/json"]?.schema;
      if (schema === undefined) throw new Error(`${id} takes no body`);
      this.check(`the body of ${id}`, schema, body);
      headers["content-type"] = "application/json";
    }
    const search = query.size > 0 ? `?${query.toString()}` : "";
    const response = await fetch(`${this.url}${path}${search}`, {
      method: method.toUpperCase(),
      headers,
      body: body === undefined ? null : JSON.stringify(body),
    });
    return this.answer(id, operation, response);
  }

  /** Every answer must be one that the document announces, in the shape that it announces. */
  private async answer(id: string, operation: Operation, response: Response): Promise<Answer> {
    const announced = operation.responses[String(response.status)] ?? operation.responses["default"];
    if (announced === undefined) throw new Error(`${id} answered ${response.status}, which is not announced`);
    if (response.status < 400 && operation.responses[String(response.status)] === undefined)
      throw new Error(`${id} answered ${response.status}, which is not announced`);
    const text = await response.text();
    const type = response.headers.get("content-type")?.split(";")[0] ?? "";
    if (announced.content === undefined) {
      expect(text).toBe("");
      return { status: response.status, etag: response.headers.get("etag"), body: null };
    }
    const schema = announced.content[type]?.schema;
    if (schema === undefined) throw new Error(`${id} answered ${response.status} as ${type}: ${text}`);
    const body: unknown = JSON.parse(text);
    this.check(`the answer of ${id}`, schema, body);
    const etag = response.headers.get("etag");
    if (announced.headers?.["ETag"] !== undefined) expect(etag).not.toBeNull();
    return { status: response.status, etag, body };
  }

  private check(what: string, schema: Schema, value: unknown): void {
    // References in the document are relative to its root.
    const text = JSON.stringify(schema).replaceAll('"#/components', '"openapi#/components');
    const validate = this.ajv.compile(JSON.parse(text) as Schema);
    if (!validate(value))
      throw new Error(`${what} does not fit the document: ${this.ajv.errorsText(validate.errors)}`);
  }
}

let postgres: Awaited<ReturnType<typeof startServer>>;
let system: System;
let url: string;
let client: OpenApiClient;
beforeAll(async () => {
  postgres = await startServer();
  system = await System.open(postgres.server.url);
  url = (await system.controller()).url;
  client = await OpenApiClient.read(url, system.adminKey);
});
afterAll(async () => {
  await system?.close();
  await postgres?.close();
});

const SLO = {
  ttft: { percentile: 0.9, boundMs: 300 },
  tpot: { percentile: 0.9, boundMs: 100 },
  attainmentShare: 0.9,
};

describe("from the document alone", () => {
  test("a pool is made, its SLO is set with If-Match, and a stale write is refused", async () => {
    expect(client.document.openapi).toMatch(/^3\.1\./);
    const made = await client.call("createPool", {}, { name: "chat", model: "llama3-8b", slo: SLO });
    expect(made).toMatchObject({ status: 201, body: { name: "chat", mode: "observe", sloVersion: 1 } });
    const { etag } = await client.call("getSlo", { pool: "chat" });
    const tighter = { ...SLO, ttft: { percentile: 0.95, boundMs: 250 } };
    const set = await client.call("putSlo", { pool: "chat", "If-Match": etag ?? "" }, tighter);
    expect(set).toMatchObject({ status: 200, body: { version: 2, slo: tighter } });
    const stale = await client.call("putSlo", { pool: "chat", "If-Match": etag ?? "" }, SLO);
    expect(stale).toMatchObject({ status: 412, body: { code: "precondition_failed" } });
    const { body } = await client.call("listSloVersions", { pool: "chat" });
    expect(body.items).toHaveLength(2);
  });

  test("a key is made, and with it an agent registers, reports and is told what to run", async () => {
    const { status, body: key } = await client.call(
      "createKey",
      {},
      { name: "node-a", role: "agent", agent: "node-a" },
    );
    expect(status).toBe(201);
    const agent = new OpenApiClient(url, client.document, key.key);
    const limits = {
      minSmPct: 5,
      maxSmPct: 100,
      maxSumPct: 200,
      granularityPct: 1,
      minKvQuotaPct: 5,
      maxKvQuotaPct: 100,
    };
    const running = { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 };
    const registered = await agent.call(
      "register",
      {},
      {
        agent: "node-a",
        node: "gpu-1",
        agentVersion: "1.0.0",
        sentAtMs: Date.now(),
        instances: [
          {
            instance: "chat-0",
            pool: "chat",
            ranks: [0],
            rankCount: 1,
            capabilities: { driver: "own", live: true, limits, prepareMs: null, smCount: null },
            running,
          },
        ],
      },
    );
    expect(registered).toMatchObject({
      status: 200,
      body: { rejected: [], instances: [{ lastSeq: 0, assignment: { generation: 0 } }] },
    });
    const nowMs = Date.now();
    const histogram = { boundsMs: [100, 200], counts: [3, 2, 0], sumMs: 500 };
    const window = {
      seq: 1,
      startAtMs: nowMs - 1_000,
      endAtMs: nowMs,
      durationMs: 1_000,
      generation: 0,
      arrivals: 5,
      promptTokens: 500,
      finished: 5,
      outputTokens: 250,
      ttft: histogram,
      tpot: histogram,
      queue: { prefillWaiting: 0, decodeRunning: 2 },
      kv: { totalTokens: null, usedTokens: null, preemptions: null },
      busy: { prefillShare: 0.5, decodeShare: 0.5 },
    };
    const reported = await agent.call(
      "report",
      {},
      {
        agent: "node-a",
        sentAtMs: Date.now(),
        instances: [
          { instance: "chat-0", windows: [window], observed: { ...running, generation: 0 }, conditions: [] },
        ],
      },
    );
    expect(reported).toMatchObject({
      status: 200,
      body: { accepted: [{ instance: "chat-0", lastSeq: 1 }], rejected: [] },
    });
    const { etag, body } = await agent.call("getAssignments", { agent: "node-a", waitMs: 0 });
    expect(body.assignments).toHaveLength(1);
    const unchanged = await agent.call("getAssignments", {
      agent: "node-a",
      waitMs: 0,
      "If-None-Match": etag ?? "",
    });
    expect(unchanged.status).toBe(304);
  });

  test("everything that can be listed or read is", async () => {
    const lists = client.operations.filter(
      ({ method, path, operation }) =>
        method === "get" &&
        !operation.parameters.some((p) => p.required) &&
        path.startsWith("/v1/") &&
        operation.responses["200"]?.content?.["application/json"] !== undefined,
    );
    expect(lists.length).toBeGreaterThanOrEqual(7);
    for (const { operation } of lists) {
      const { status, body } = await client.call(operation.operationId);
      expect([operation.operationId, status]).toEqual([operation.operationId, 200]);
      if ("items" in body) expect(Array.isArray(body.items)).toBe(true);
    }
    const { body: decisions } = await client.call("listDecisions", { pool: "chat", limit: 1 });
    const { body: decision } = await client.call("getDecision", { id: decisions.items[0].id });
    expect(decision).toMatchObject({ instance: "chat-0", kind: "hold" });
    const { body: windows } = await client.call("listWindows", { instance: "chat-0", limit: 5 });
    expect(windows.items).toHaveLength(1);
    expect((await client.call("getAgent", { agent: "node-a" })).body.instances).toEqual(["chat-0"]);
    const unknown = await client.call("getPool", { pool: "nobody-made-this" });
    expect(unknown).toMatchObject({ status: 404, body: { code: "not_found" } });
  });

  test("an instance is pinned and unpinned, and all of it is deleted", async () => {
    const pinned = await client.call(
      "pinInstance",
      { instance: "chat-0" },
      { reason: "load test", ttlMs: 60_000 },
    );
    expect(pinned.body).toMatchObject({
      pinned: true,
      conditions: expect.arrayContaining(["Pinned"]) as string[],
    });
    expect((await client.call("unpinInstance", { instance: "chat-0" })).body.pinned).toBe(false);
    const { etag } = await client.call("getPool", { pool: "chat" });
    const patched = await client.call(
      "patchPool",
      { pool: "chat", "If-Match": etag ?? "" },
      { mode: "recommend", frozen: true },
    );
    expect(patched.body).toMatchObject({ mode: "recommend", frozen: true });
    expect((await client.call("deleteInstance", { instance: "chat-0" })).status).toBe(204);
    expect((await client.call("deletePool", { pool: "chat", "If-Match": patched.etag ?? "" })).status).toBe(
      204,
    );
    const { body: keys } = await client.call("listKeys");
    for (const { id, role } of keys.items)
      if (role === "agent") expect((await client.call("revokeKey", { id })).status).toBe(204);
    expect((await client.call("listPools")).body.items).toEqual([]);
    const { body: audit } = await client.call("listAudit", { limit: 100 });
    const actions = audit.items.map(({ action }: { action: string }) => action);
    for (const action of [
      "pool.create",
      "slo.set",
      "key.create",
      "instance.pin",
      "instance.unpin",
      "pool.delete",
      "key.revoke",
    ])
      expect(actions).toContain(action);
  });
});

test("every path of the document is there, and asks for a key where the document says so", async () => {
  for (const { path, method, operation } of client.operations) {
    const target = path.replaceAll(/\{[a-z]+\}/gi, "0199f0c2-0000-7000-8000-000000000000");
    const response = await fetch(`${url}${target}`, { method: method.toUpperCase() });
    await response.text();
    expect([path, method, response.status]).toEqual([
      path,
      method,
      operation.security.length > 0 ? 401 : 200,
    ]);
  }
});
