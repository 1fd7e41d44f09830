import { spawnSync } from "node:child_process";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCli } from "./program.js";

const NOW = "2026-11-22T12:00:00.000Z";
const SLO = {
  ttft: { percentile: 0.9, boundMs: 300 },
  tpot: { percentile: 0.9, boundMs: 100 },
  attainmentShare: 0.9,
};
const GUARDS = {
  maxStepPct: 15,
  dwellMs: 10_000,
  flapBudget: 6,
  flapWindowMs: 3_600_000,
  minSamples: 30,
  staleAfterMs: 15_000,
  stabilityMargin: 1.1,
};
const ALLOCATION = { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100 };
const pool = (name: string, over: object = {}) => ({
  id: "0199f0c2-0000-7000-8000-000000000001",
  name,
  model: "llama3-8b",
  mode: "observe",
  policy: { name: "static", params: { allocation: ALLOCATION } },
  guards: GUARDS,
  limits: {},
  controlIntervalMs: 5_000,
  lookbackMs: 30_000,
  frozen: false,
  autoRollback: true,
  budgetDays: 28,
  approval: { required: 1, expireMs: 900_000 },
  canary: { share: 0.2 },
  slo: SLO,
  sloVersion: 1,
  version: 3,
  instances: 2,
  createdAt: NOW,
  updatedAt: NOW,
  ...over,
});
const slo = (version: number, createdBy: string, over: object = {}) => ({
  pool: "chat-8b",
  version,
  slo: { ...SLO, ...over },
  createdAt: NOW,
  createdBy,
});
const problem = (status: number, code: string, detail: string, errors?: object[]) => ({
  status,
  body: {
    type: `urn:fulcrum:problem:${code}`,
    title: "The request is not valid",
    status,
    detail,
    code,
    errors,
  },
});

interface Call {
  readonly line: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
}
interface Canned {
  readonly status?: number;
  readonly body?: unknown;
  readonly etag?: string;
  readonly text?: string;
}

/** A stand-in for the controller: answers by "METHOD /path", in turn where there are several. */
class FakeController {
  readonly calls: Call[] = [];
  readonly answers = new Map<string, Canned[]>();
  private readonly server: Server = createServer((request, response) => {
    void this.answer(request).then(({ status = 200, body, etag, text }) => {
      response.writeHead(status, { "content-type": "application/json", ...(etag ? { etag } : {}) });
      return response.end(text ?? (body === undefined ? "" : JSON.stringify(body)));
    });
  });
  url = "";

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  on(line: string, ...answers: Canned[]): this {
    this.answers.set(line, answers);
    return this;
  }

  private async answer(request: IncomingMessage): Promise<Canned> {
    let text = "";
    for await (const chunk of request) text += String(chunk);
    const line = `${request.method} ${request.url}`;
    this.calls.push({ line, headers: request.headers, body: text === "" ? null : JSON.parse(text) });
    const answers = this.answers.get(line);
    const answer = (answers?.length ?? 0) > 1 ? answers?.shift() : answers?.[0];
    return answer ?? problem(404, "not_found", `There is no ${line}.`);
  }
}

let fake: FakeController;
beforeEach(async () => {
  fake = new FakeController();
  await fake.start();
});
afterEach(() => fake.stop());

/** Runs a command line in this process against the fake, with no state folder of this machine in sight. */
async function fulcrum(args: readonly string[], env: Record<string, string> = {}) {
  const written = { out: "", err: "" };
  const into = (name: "out" | "err") =>
    new Writable({
      write(chunk, _encoding, done) {
        written[name] += String(chunk);
        done();
      },
    });
  const code = await runCli(args, {
    stdin: Readable.from([]),
    stdout: into("out"),
    stderr: into("err"),
    env: { FULCRUM_URL: fake.url, FULCRUM_DATA_DIR: "/nonexistent/fulcrum", ...env },
    now: () => Date.parse(NOW) + 5_000,
  });
  return { code, ...written };
}

describe("exit codes", () => {
  it("0 with a table, with JSON as it came, and with help that has an example", async () => {
    fake.on("GET /v1/pools", { body: { items: [pool("chat-8b")] } });
    const table = await fulcrum(["pools", "list"]);
    expect(table.code).toBe(0);
    expect(table.out).toMatch(/^POOL +MODEL +POLICY/);
    expect(table.out).toMatch(/chat-8b +llama3-8b +static 50\/50 kv 100 +observe .* 5 s ago/);
    const json = await fulcrum(["pools", "list", "--json"]);
    expect(JSON.parse(json.out)).toEqual({ items: [pool("chat-8b")] });
    const help = await fulcrum(["pools", "create", "--help"]);
    expect(help.code).toBe(0);
    expect(help.out).toContain("Examples:\n  fulcrum pools create chat-8b");
  });

  it("2 when the command line is wrong, with what would be right", async () => {
    const cases: [string[], string][] = [
      [["polls", "list"], "Did you mean pools?"],
      [["pools"], "Usage: fulcrum pools"],
      [["pools", "get"], "missing required argument 'pool'"],
      [["pools", "list", "--limits", "3"], "unknown option '--limits'"],
      [["slo", "set", "chat-8b", "--ttft-ms", "fast"], "must be a number from 0.001 to 3600000"],
      [["slo", "set", "chat-8b"], "say what to change"],
      [["decisions", "list", "--kind", "jump"], "Allowed choices are move, hold"],
      [["pools", "get", "Chat 8B"], 'pool "Chat 8B": must be 1..63 of'],
      [["pools", "list", "--url", "ftp://x"], "--url must be an http or https address"],
      [["decide", "--params", "{"], "take JSON"],
      [["up", "--engines", "99"], "whole number from 0 to 16"],
      [["demo", "--rate", "3"], "need --trace"],
    ];
    for (const [args, want] of cases) {
      const { code, err, out } = await fulcrum(args);
      expect({ args, code }).toEqual({ args, code: 2 });
      expect(err + out).toContain(want);
      expect(err).not.toMatch(/\n\s+at /);
    }
    expect(fake.calls).toEqual([]);
  });

  it("3 when nobody listens, and says how to start it", async () => {
    const port = new URL(fake.url).port;
    await fake.stop();
    const { code, err } = await fulcrum(["pools", "list"]);
    expect(code).toBe(3);
    expect(err).toContain(`cannot reach the controller at http://127.0.0.1:${port}: nobody listens there`);
    expect(err).toContain("`fulcrum up` starts one here");
    await fake.start();
  });

  it("1 when what answers is no controller", async () => {
    fake.on("GET /v1/pools", { text: "<html>hello</html>" });
    expect(await fulcrum(["pools", "list"])).toMatchObject({
      code: 1,
      err: expect.stringContaining("in a shape this fulcrum does not know") as string,
    });
    fake.on("GET /v1/pools", { status: 502, text: "bad gateway" });
    expect(await fulcrum(["pools", "list"])).toMatchObject({
      code: 1,
      err: expect.stringContaining("answered HTTP 502") as string,
    });
  });
});

describe("a refusal", () => {
  it("is one sentence per field", async () => {
    const errors = [
      { field: "slo.ttft.boundMs", message: "Too small: expected number to be >0" },
      { field: "guards.dwellMs", message: "Too small: expected number to be >=0" },
    ];
    fake.on(
      "POST /v1/pools",
      problem(400, "invalid_request", "slo.ttft.boundMs: …; guards.dwellMs: …", errors),
    );
    const args = ["pools", "create", "a", "--model", "m", "--ttft-ms", "1", "--tpot-ms", "1"];
    const { code, err } = await fulcrum(args);
    expect(code).toBe(1);
    expect(err).toBe(
      "fulcrum: The request is not valid.\n" +
        "  slo.ttft.boundMs: Too small: expected number to be >0.\n" +
        "  guards.dwellMs: Too small: expected number to be >=0.\n",
    );
  });

  it("of an unknown pool suggests near names, also where the API only answers an empty list", async () => {
    fake.on("GET /v1/pools", { body: { items: [pool("chat-8b"), pool("batch")] } });
    expect((await fulcrum(["pools", "get", "chta-8b"])).err).toBe(
      'fulcrum: there is no pool "chta-8b".\n  Did you mean chat-8b?\n',
    );
    fake.on("GET /v1/decisions?limit=50&pool=bach", { body: { items: [], nextCursor: null } });
    expect(await fulcrum(["decisions", "list", "--limit", "50", "--pool", "bach"])).toMatchObject({
      code: 1,
    });
    fake.on("GET /v1/decisions?pool=batch", { body: { items: [], nextCursor: null } });
    expect(await fulcrum(["decisions", "list", "--pool", "batch"])).toMatchObject({ code: 0 });
  });

  it("of a missing key says where keys come from", async () => {
    fake.on("GET /v1/pools", problem(401, "unauthenticated", "Send a key"));
    expect((await fulcrum(["pools", "list"])).err).toContain("Give a key with --key or FULCRUM_KEY");
  });
});

describe("fulcrum slo set", () => {
  const changed = { tpot: { percentile: 0.9, boundMs: 80 } };

  it("reads the ETag first and sends it, and leaves what is not named", async () => {
    fake
      .on("GET /v1/pools/chat-8b/slo", { body: slo(4, "ann"), etag: '"4"' })
      .on("PUT /v1/pools/chat-8b/slo", { body: slo(5, "bob", changed), etag: '"5"' });
    const { code, out } = await fulcrum(["slo", "set", "chat-8b", "--tpot-ms", "80"], {
      FULCRUM_KEY: "fk_k",
    });
    expect(code).toBe(0);
    expect(out).toContain("version 5: TTFT p90 < 300 ms, TPOT p90 < 80 ms");
    const put = fake.calls[1];
    expect(put?.headers["if-match"]).toBe('"4"');
    expect(put?.headers["authorization"]).toBe("Bearer fk_k");
    expect(put?.body).toEqual({ ...SLO, ...changed });
  });

  it("says who changed what when somebody was faster", async () => {
    fake
      .on("GET /v1/pools/chat-8b/slo", { body: slo(4, "ann"), etag: '"4"' }, { body: slo(5, "bob", changed) })
      .on("PUT /v1/pools/chat-8b/slo", problem(412, "precondition_failed", "It is now at version 5"));
    const { code, err } = await fulcrum(["slo", "set", "chat-8b", "--ttft-ms", "200"]);
    expect(code).toBe(1);
    expect(err).toContain("yours was not applied");
    expect(err).toContain("bob made version 5 5 s ago: TTFT p90 < 300 ms, TPOT p90 < 80 ms");
  });
});

it("fulcrum pools set names the fields that somebody else changed meanwhile", async () => {
  fake
    .on(
      "GET /v1/pools/chat-8b",
      { body: pool("chat-8b"), etag: '"3"' },
      { body: pool("chat-8b", { mode: "enforce", version: 4 }) },
    )
    .on("PATCH /v1/pools/chat-8b", problem(412, "precondition_failed", "It is now at version 4"));
  const { code, err } = await fulcrum(["pools", "set", "chat-8b", "--guard", "dwellMs=5"]);
  expect(code).toBe(1);
  expect(err).toContain('somebody made version 4 5 s ago: mode "observe" -> "enforce".');
  expect(fake.calls[1]?.body).toEqual({ guards: { dwellMs: 5 } });
});

it("takes --url and --json before the command as well as after it", async () => {
  fake.on("GET /v1/pools", { body: { items: [] } });
  const { code, out } = await fulcrum(["--json", "--url", fake.url, "pools", "list"], {
    FULCRUM_URL: "http://x.invalid",
  });
  expect({ code, out: JSON.parse(out) as unknown }).toEqual({ code: 0, out: { items: [] } });
});

describe("the installed command", () => {
  const bin = fileURLToPath(new URL("../bin/fulcrum.js", import.meta.url));
  const run = (args: readonly string[]) => spawnSync(process.execPath, [bin, ...args], { encoding: "utf8" });

  it("prints its version and the OpenAPI document", () => {
    expect(run(["--version"])).toMatchObject({ status: 0, stdout: "0.1.0\n" });
    const document = JSON.parse(run(["openapi"]).stdout) as { openapi: string; paths: object };
    expect(document.openapi).toBe("3.1.0");
    expect(Object.keys(document.paths)).toContain("/v1/pools/{pool}");
  });

  it("documents its exit codes", () => {
    expect(run(["--help"]).stdout).toMatch(/Exit codes:\n +0 .*\n +1 .*\n +2 .*\n +3 /);
  });
});
