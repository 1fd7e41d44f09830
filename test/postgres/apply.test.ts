import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import type { TestController } from "../support/controller.js";
import { useControllers } from "../support/use-controllers.js";

const fixture = useControllers();
const folder = mkdtempSync(join(tmpdir(), "fulcrum-apply-"));
afterAll(() => rmSync(folder, { recursive: true }));

beforeEach(async () => {
  const { items } = await fixture.controller.ask("listPools");
  for (const { name } of items) await fixture.controller.ask("deletePool", { params: { pool: name } });
});

const SLO = `slo:
  ttft: {percentile: 0.9, boundMs: 300}
  tpot: {percentile: 0.9, boundMs: 100}
  attainmentShare: 0.9
`;
const pool = (name: string, more = "") => `name: ${name}\nmodel: llama3-8b\n${SLO}${more}`;

function file(...documents: readonly string[]): string {
  const path = join(folder, "pools.yaml");
  writeFileSync(path, documents.join("---\n"));
  return path;
}

function apply(path: string, ...flags: readonly string[]) {
  return fulcrum(fixture.controller, "apply", "-f", path, ...flags);
}

async function stored() {
  const { items } = await fixture.controller.ask("listPools");
  return items.map(({ name, mode, slo, version }) => `${name} ${mode} ${slo.ttft.boundMs} v${version}`);
}

test("creates what is not there, changes what differs in one transaction, leaves the rest", async () => {
  const first = await apply(file(pool("chat"), pool("batch")));
  expect([first.exitCode, first.stdout]).toEqual([0, expect.stringContaining("+ chat: created")]);
  expect(await stored()).toEqual(["batch observe 300 v1", "chat observe 300 v1"]);
  const changed = file(pool("chat", "mode: enforce\n").replace("300", "250"), pool("batch"));
  const second = await apply(changed);
  expect(second.stdout).toContain("~ chat: changed");
  expect(second.stdout).toContain("    slo.ttft.boundMs: 300 -> 250\n");
  expect(second.stdout).toContain('    mode: "observe" -> "enforce"');
  expect(second.stdout).toContain("= batch: unchanged");
  expect(await stored()).toEqual(["batch observe 300 v1", "chat enforce 250 v2"]);
  const { items } = await fixture.controller.ask("listAudit", { query: { subject: "pool/chat", limit: 1 } });
  expect(items[0]?.action).toBe("pool.update");
  const slo = await fixture.controller.ask("getSlo", { params: { pool: "chat" } });
  expect([slo.version, slo.slo.ttft.boundMs]).toEqual([2, 250]);
});

test("shows without writing, and tells a script whether anything differs", async () => {
  const path = file(pool("chat"));
  const dry = await apply(path, "--dry-run");
  expect([dry.exitCode, dry.stdout]).toEqual([0, expect.stringContaining("+ chat: would be created")]);
  expect((await apply(path, "--dry-run", "--exit-code")).exitCode).toBe(1);
  expect(await stored()).toEqual([]);
  await apply(path);
  const same = await apply(path, "--dry-run", "--exit-code");
  expect([same.exitCode, same.stdout]).toEqual([0, expect.stringContaining("nothing would change")]);
  const json = JSON.parse((await apply(path, "--dry-run", "--json")).stdout) as { steps: unknown };
  expect(json.steps).toEqual([{ pool: "chat", step: "keep" }]);
});

test("what is exported applies to no change, whatever the pool was made with", async () => {
  const made = [
    pool("a", "policy: {name: feedback, params: {stepPct: 3}}\nguards: {dwellMs: 1}\n"),
    pool("b", "limits: {minSmPct: 20}\napproval: {required: 2}\nfrozen: true\nmode: recommend\n"),
    pool(
      "c",
      "policy: {name: static, params: {allocation: {split: {prefillSmPct: 80, decodeSmPct: 100}, kvQuotaPct: 70}}}\n",
    ),
  ];
  expect((await apply(file(...made))).exitCode).toBe(0);
  const exported = await fulcrum(fixture.controller, "pools", "export");
  const again = await apply(file(exported.stdout), "--dry-run", "--exit-code");
  expect([again.exitCode, again.stdout]).toEqual([0, expect.stringContaining("nothing would change")]);
  const one = await fulcrum(fixture.controller, "pools", "export", "b");
  expect(one.stdout).toContain("minSmPct: 20");
});

test("deletes nothing unless told to, and names what it leaves", async () => {
  await apply(file(pool("keep"), pool("old")));
  const without = await apply(file(pool("keep")));
  expect(without.stdout).toContain("left as they are (--prune deletes them): old");
  expect(await stored()).toHaveLength(2);
  const dry = await apply(file(pool("keep")), "--prune", "--dry-run");
  expect(dry.stdout).toContain("- old: would be deleted");
  await apply(file(pool("keep")), "--prune");
  expect(await stored()).toEqual(["keep observe 300 v1"]);
});

test("a wrong field in the last pool keeps the first from being written", async () => {
  const run = await apply(file(pool("good"), pool("bad", "mod: enforce\n").replace("300", "-3")));
  expect(run.exitCode).toBe(2);
  expect(run.stderr).toContain("pools.yaml:11:36: slo.ttft.boundMs: must be above 0, got -3");
  expect(run.stderr).toMatch(/pools\.yaml:14:1: mod: is no field\. Did you mean mode/);
  expect(await stored()).toEqual([]);
});

test("somebody else's change in between is told, not overwritten", async () => {
  const { controller } = fixture;
  await apply(file(pool("first"), pool("second"), pool("third")));
  const racing = await racingController(controller, async () => {
    const body = { mode: "recommend" };
    await controller.ask("patchPool", { params: { pool: "second" }, body, headers: { "if-match": "*" } });
    return undefined;
  });
  try {
    const path = file(...["first", "second", "third"].map((name) => pool(name, "frozen: true\n")));
    const run = await fulcrum({ ...controller, url: racing.url } as TestController, "apply", "-f", path);
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain("pool second was not changed; nothing of it was applied.");
    expect(run.stderr).toContain('mode "observe" -> "recommend"');
    expect(run.stderr).toContain("Written before it: first. Not written: second, third.");
  } finally {
    await racing.stop();
  }
  expect(await stored()).toEqual(["first observe 300 v2", "second recommend 300 v2", "third observe 300 v1"]);
});

test("an answer that is lost is not taken for a refusal: what may have been written is not called unwritten", async () => {
  const { controller } = fixture;
  await apply(file(pool("first"), pool("second"), pool("third")));
  const losing = await racingController(controller, () => Promise.resolve("lose the answer"));
  try {
    const path = file(...["first", "second", "third"].map((name) => pool(name, "frozen: true\n")));
    const run = await fulcrum({ ...controller, url: losing.url } as TestController, "apply", "-f", path);
    expect(run.exitCode).toBe(3);
    expect(run.stderr).toContain("it is not known whether pool second was changed");
    expect(run.stderr).toContain("Written before it: first. Not written: third.");
  } finally {
    await losing.stop();
  }
  expect(await stored()).toEqual(["first observe 300 v2", "second observe 300 v2", "third observe 300 v1"]);
});

/** The controller; before the first change of pool `second` something comes in between, which may say to lose its answer. */
async function racingController(
  controller: TestController,
  between: () => Promise<"lose the answer" | undefined>,
) {
  let raced = false;
  const server: Server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const isIt = !raced && request.method === "PATCH" && request.url === "/v1/pools/second";
      raced ||= isIt;
      const loses = isIt && (await between()) !== undefined;
      const headers = Object.entries(request.headers).filter(([name]) =>
        ["authorization", "content-type", "if-match", "accept"].includes(name),
      ) as [string, string][];
      const reply = await fetch(`${controller.url}${request.url}`, {
        method: request.method!,
        headers,
        body: chunks.length === 0 ? null : Buffer.concat(chunks),
      });
      if (loses) return void response.destroy();
      const etag = reply.headers.get("etag");
      const told = { "content-type": reply.headers.get("content-type")!, ...(etag ? { etag } : {}) };
      response.writeHead(reply.status, told).end(await reply.text());
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stop };
}
