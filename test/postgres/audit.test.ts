import type { AuditEntry } from "@fulcrum/contracts/resources.js";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyChain } from "@fulcrum/contracts/audit-chain.js";
import { visible } from "@fulcrum/cli/text/visible.js";
import { Housekeeping } from "@fulcrum/controller/db/housekeeping.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { poolBody, registrationEntry, SLO, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2, env: { FULCRUM_AUDIT_RETENTION_MONTHS: "3" } });

/** The whole log as anyone can export it, oldest first. */
async function wholeLog(): Promise<AuditEntry[]> {
  const entries: AuditEntry[] = [];
  for (let cursor: string | null = "", page; cursor !== null; cursor = page.nextCursor) {
    page = await fixture.controller.ask("listAudit", {
      query: { limit: 500, order: "asc", ...(cursor ? { cursor } : {}) },
    });
    entries.push(...page.items);
  }
  return entries;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

async function faultsOf(entries: readonly AuditEntry[]): Promise<readonly string[]> {
  return (await verifyChain(entries, sha256)).faults.map(({ kind, seq }) => `${kind} ${seq}`);
}

test("everything that changes anything is recorded, with who did it, before and after, in one chain", async () => {
  const operator = await fixture.controller.keyOf("operator");
  const params = { pool: "audited" };
  const odd = { model: 'ünï "quoted" \\ back 😀 1e21', lookbackMs: 12_345 };
  await fixture.controller.ask("createPool", { body: staticPool("audited", splitAt(60)), key: operator });
  await fixture.controller.ask("patchPool", {
    params,
    body: odd,
    key: operator,
    headers: { "if-match": "*" },
  });
  await fixture.controller.ask("putSlo", {
    params,
    body: { ...SLO, attainmentShare: 0.123456789012345 },
    key: operator,
    headers: { "if-match": "*" },
  });
  const agent = new TestAgent(fixture.other, "audited-agent");
  await agent.register(registrationEntry("audited-i", "audited"));
  const instance = { instance: "audited-i" };
  await fixture.controller.ask("pinInstance", {
    params: instance,
    body: { reason: "why", ttlMs: 60_000 },
    key: operator,
  });
  await fixture.controller.ask("unpinInstance", { params: instance, key: operator });
  await evaluate(fixture.controller, "audited-i");
  await agent.carryOut("audited-i", 1);
  await fixture.controller.ask("deleteInstance", { params: instance, key: operator });
  await fixture.controller.ask("deletePool", { params, key: operator });
  const { id } = await fixture.controller.ask("createKey", { body: { name: "temp", role: "viewer" } });
  await fixture.controller.ask("revokeKey", { params: { id } });

  const entries = await wholeLog();
  expect(await faultsOf(entries)).toEqual([]);
  const told = entries.map(({ actor, action, subject }) => `${actor}: ${action} ${subject}`);
  expect(told.filter((line) => line.includes("audited"))).toEqual(
    [
      "operator: pool.create pool/audited",
      "operator: pool.update pool/audited",
      "operator: slo.set pool/audited",
      "bootstrap: key.create",
      "agent audited-agent: agent.register agent/audited-agent",
      "agent audited-agent: instance.register instance/audited-i",
      "operator: instance.pin instance/audited-i",
      "operator: instance.unpin instance/audited-i",
      "controller: decision.applied instance/audited-i",
      ...["preparing", "ready", "switched", "verified"].map(
        (step) => `agent audited-agent: rank.${step} instance/audited-i`,
      ),
      "controller: reconfiguration.verified instance/audited-i",
      "operator: instance.delete instance/audited-i",
      "operator: pool.delete pool/audited",
    ].filter((line) => line.includes("audited")),
  );
  const patched = entries.find(({ action }) => action === "pool.update")!;
  expect(patched.after).toMatchObject(odd);
  expect(patched.before).toMatchObject({ model: "llama-3-8b" });
  expect(patched.keyId).not.toBeNull();
  expect(patched.address).toBe("127.0.0.1");
});

test("writers on two replicas at once keep one unbroken chain", async () => {
  const before = (await wholeLog()).length;
  const writes = 40;
  await Promise.all(
    Array.from({ length: writes }, (_, index) =>
      (index % 2 === 0 ? fixture.controller : fixture.other).ask("createPool", {
        body: poolBody(`chain-${index}`),
      }),
    ),
  );
  const entries = await wholeLog();
  expect(entries.length).toBe(before + writes);
  expect(await faultsOf(entries)).toEqual([]);
});

test("a change that is refused leaves no record", async () => {
  const before = await wholeLog();
  await fixture.controller.call("createPool", { body: poolBody("chain-0") });
  await fixture.controller.call("patchPool", {
    params: { pool: "chain-0" },
    body: { frozen: true },
    headers: { "if-match": '"999"' },
  });
  expect((await wholeLog()).length).toBe(before.length);
});

describe("fulcrum audit", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "fulcrum-audit-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const audit = (...args: readonly string[]) => fulcrum(fixture.controller, "audit", ...args);

  /** As a person with the database's own password can. */
  async function tamper(...statements: readonly string[]): Promise<void> {
    await fixture.controller.source.transaction(async (manager) => {
      await manager.query("SET LOCAL session_replication_role = replica");
      for (const statement of statements) await manager.query(statement);
    });
  }

  test("export gives the rows that verify then holds without the controller, with a checkpoint", async () => {
    const { stdout } = await audit("export");
    expect(stdout.trim().split("\n")).toHaveLength((await wholeLog()).length);
    await writeFile(join(folder, "audit.jsonl"), stdout);
    await writeFile(join(folder, "checkpoint.json"), (await audit("checkpoint")).stdout);
    await fixture.controller.ask("createPool", { body: poolBody("after-checkpoint") });
    const flags = ["--checkpoint", join(folder, "checkpoint.json")];
    const offline = await audit("verify", "--file", join(folder, "audit.jsonl"), ...flags);
    expect(offline).toMatchObject({ exitCode: 0 });
    const live = await audit("verify", ...flags);
    expect(live).toMatchObject({ exitCode: 0, stderr: "" });
    expect(live.stdout).toContain("each fits its hash and the row before");
    expect(live.stdout).toContain("checkpoints found");
  });

  test.each<[what: string, statements: string[], told: RegExp]>([
    ["a changed actor", ["UPDATE audit SET actor = 'nobody' WHERE seq = 3"], /changed\s+3\s+row 3 .*nobody/],
    [
      "a time moved by a microsecond",
      ["UPDATE audit SET at = at + interval '1 microsecond' WHERE seq = 2"],
      /changed\s+2/,
    ],
    [
      "a value within what was set",
      [
        "UPDATE audit SET after = replace(after::text, 'llama', 'lama')::json WHERE action = 'pool.create' AND subject = 'pool/audited'",
      ],
      /changed\s+\d+\s+row \d+ .*pool.create pool\/audited/,
    ],
    [
      "two rows that changed places",
      [
        "UPDATE audit SET seq = 0 WHERE seq = 4",
        "UPDATE audit SET seq = 4 WHERE seq = 5",
        "UPDATE audit SET seq = 5 WHERE seq = 0",
      ],
      /moved\s+4[^]*moved\s+5/,
    ],
    ["a removed row", ["DELETE FROM audit WHERE seq = 3"], /missing\s+3\s+row 3 is gone/],
    ["a removed beginning", ["DELETE FROM audit WHERE seq < 4"], /beginning\s+1\s+rows 1 to 3 are gone/],
    [
      "a row that somebody added",
      [
        "INSERT INTO audit SELECT (SELECT max(seq) + 1 FROM audit), month, at, 'nobody', key_id, address, action, subject, before, after, prev_hash, hash FROM audit WHERE seq = 2",
      ],
      /changed\s+\d+\s+row \d+ .*nobody/,
    ],
  ])("verify names %s, and exits with 1", async (_what, statements, told) => {
    await tamper("CREATE TABLE kept AS SELECT * FROM audit", ...statements);
    const found = await audit("verify");
    await tamper("DELETE FROM audit", "INSERT INTO audit SELECT * FROM kept", "DROP TABLE kept");
    expect(found).toMatchObject({ exitCode: 1 });
    expect(found.stdout).toMatch(told);
    expect((await audit("verify")).exitCode).toBe(0);
  });

  test("a log whose end was cut off holds, but is not called complete; against a checkpoint it does not", async () => {
    const checkpoint = join(folder, "of-the-end.json");
    await writeFile(checkpoint, (await audit("checkpoint")).stdout);
    await tamper(
      "CREATE TABLE kept AS SELECT * FROM audit",
      "DELETE FROM audit WHERE seq > (SELECT max(seq) - 5 FROM audit)",
    );
    const plain = await audit("verify");
    const held = await audit("verify", "--checkpoint", checkpoint);
    await tamper("DELETE FROM audit", "INSERT INTO audit SELECT * FROM kept", "DROP TABLE kept");
    expect(plain).toMatchObject({ exitCode: 0 });
    expect(plain.stdout).toContain("without a checkpoint nothing shows that the end was not cut off");
    expect(held).toMatchObject({ exitCode: 1 });
    expect(held.stdout).toMatch(/cut +\d+ .*the log ends at/);
  });

  test.each<[what: string, statement: string, told: RegExp]>([
    [
      "a time without end",
      "UPDATE audit SET at = 'infinity' WHERE seq = 12",
      /changed +12 +row 12 \(infinity/,
    ],
    [
      "a time before all",
      "UPDATE audit SET at = '-infinity' WHERE seq = 12",
      /changed +12 +row 12 \(-infinity/,
    ],
    ["a time far off", "UPDATE audit SET at = '20000-01-01' WHERE seq = 12", /changed +12 +row 12 \(20000-/],
    [
      "the same day before our era",
      "UPDATE audit SET at = (left(at::text, 19) || '+00 BC')::timestamptz WHERE seq = 12",
      /changed +12 +row 12 \(.* BC/,
    ],
    [
      "the largest number",
      "UPDATE audit SET seq = 9223372036854775807 WHERE seq = 12",
      /missing +12[^]*changed +\d+ +row 9223372036854775807 /,
    ],
    [
      "a number below all",
      "UPDATE audit SET seq = -9223372036854775808 WHERE seq = 12",
      /row -9223372036854775808 /,
    ],
    ["another month", "UPDATE audit SET month = 'infinity', action = 'x' WHERE seq = 12", /changed +12/],
    [
      "a key twice, which reads as before",
      `UPDATE audit SET after = ('{"name":"FORGED",' || substr(after::text, 2))::json WHERE action = 'pool.create' AND subject = 'pool/audited'`,
      /changed +\d+ .*pool\/audited\) holds \{"name":"FORGED"/,
    ],
    [
      "other spaces",
      "UPDATE audit SET after = (' ' || after::text)::json WHERE seq = 12",
      /changed +12 .*as its after/,
    ],
    [
      "null for JSON's null",
      "UPDATE audit SET before = NULL WHERE seq = 12",
      /changed +12 .*holds a null as its before/,
    ],
    [
      "JSON deeper than anyone reads",
      "UPDATE audit SET after = (repeat('[', 3000) || repeat(']', 3000))::json WHERE seq = 12",
      /changed +12 .*as its after/,
    ],
    [
      "more than anyone reads",
      "UPDATE audit SET after = to_json(repeat('x', 40000000)) WHERE seq = 12",
      /changed +12 .*as its after/,
    ],
    [
      "a key's id of no version",
      "UPDATE audit SET key_id = '00000000-0000-0000-0000-000000000001' WHERE seq = 12",
      /changed +12/,
    ],
    [
      "a second row of one number",
      "INSERT INTO audit SELECT seq, 'infinity', at, 'nobody', key_id, address, action, subject, before, after, prev_hash, hash FROM audit WHERE seq = 12",
      /row 12 comes after row 12/,
    ],
  ])("one row with %s knocks nothing out: it is named", async (_what, statement, told) => {
    await tamper("CREATE TABLE kept AS SELECT * FROM audit", statement);
    const found = await audit("verify");
    const { stdout } = await audit("export");
    await tamper("DELETE FROM audit", "INSERT INTO audit SELECT * FROM kept", "DROP TABLE kept");
    expect(found).toMatchObject({ exitCode: 1 });
    expect(found.stdout).toMatch(told);
    const file = join(folder, "odd.jsonl");
    await writeFile(file, stdout);
    expect((await audit("verify", "--file", file)).stdout).toBe(found.stdout);
  });

  test("a second row of a number is read also where a page ends between the two", async () => {
    await tamper(
      "CREATE TABLE kept AS SELECT * FROM audit",
      "INSERT INTO audit SELECT seq, 'infinity', at, 'nobody', key_id, address, action, subject, before, after, prev_hash, hash FROM audit WHERE seq = 3",
    );
    const seen: string[] = [];
    let cursor: string | null = "";
    for (let page = 0; page < 3 && cursor !== null; page += 1) {
      const query: { limit: number; order: "asc"; cursor?: string } = { limit: 3, order: "asc" };
      if (cursor !== "") query.cursor = cursor;
      const body = await fixture.controller.ask("listAudit", { query });
      seen.push(...body.items.map(({ seq, actor }) => `${seq}${actor === "nobody" ? " twice" : ""}`));
      cursor = body.nextCursor;
    }
    await tamper("DELETE FROM audit", "INSERT INTO audit SELECT * FROM kept", "DROP TABLE kept");
    expect(seen).toEqual(["1", "2", "3", "3 twice", "4", "5", "6", "7", "8"]);
  });

  test("a beginning that was cut off and accounted for by hand is told, and so is a checkpoint of it", async () => {
    const checkpoint = join(folder, "of-row-3.json");
    await writeFile(checkpoint, JSON.stringify({ seq: 3, hash: "0".repeat(64) }));
    const account = async (month: string) => {
      await tamper("CREATE TABLE kept AS SELECT * FROM audit");
      const [row] = await fixture.controller.source.query("SELECT hash FROM audit WHERE seq = 5");
      await tamper("DELETE FROM audit WHERE seq <= 5");
      const at = new Date().toISOString();
      const after = JSON.stringify({ rows: 5, fromSeq: 1, toSeq: 5, lastHash: row.hash });
      const tail = `"${at}","controller",null,null,"audit.retention","audit/${month}",null,${after}`;
      await fixture.controller.source.query(
        "SELECT append_audit(ARRAY[$1::timestamptz], '{controller}', '{NULL}', '{NULL}', '{audit.retention}', ARRAY[$2], '{\"null\"}', ARRAY[$3], ARRAY[$4])",
        [at, `audit/${month}`, after, tail],
      );
      const found = { plain: await audit("verify"), held: await audit("verify", "--checkpoint", checkpoint) };
      await tamper("DELETE FROM audit", "INSERT INTO audit SELECT * FROM kept", "DROP TABLE kept");
      return found;
    };
    const present = await account(new Date().toISOString().slice(0, 7));
    expect(present.plain).toMatchObject({ exitCode: 1 });
    expect(present.plain.stdout).toMatch(/retention +\d+ .*that month was not over/);
    const past = await account("2020-01");
    expect(past.plain).toMatchObject({ exitCode: 0 });
    expect(past.plain.stdout).toMatch(/rows 1 to 5 were dropped at .* by controller .*: not checked/);
    expect(past.held).toMatchObject({ exitCode: 4 });
    expect(past.held.stdout).toContain("checkpoint 3 could not be checked");
  });

  test("an escape sequence is refused in what people write, and shown where it stands already", async () => {
    const { status, problem } = await fixture.controller.call("createKey", {
      body: { name: "fine\u001b[2K", role: "viewer" },
    });
    expect(status).toBe(400);
    expect(problem).toMatchObject({
      errors: [{ field: "name", message: expect.stringContaining("control char") }],
    });
    await tamper(
      "CREATE TABLE kept AS SELECT * FROM audit",
      "UPDATE audit SET actor = U&'\\001b[2K\\202e', subject = U&'a\\009b1A' WHERE seq = (SELECT max(seq) FROM audit)",
    );
    const runs = [];
    for (const args of [["list"], ["list", "--json"], ["verify"], ["export"]])
      runs.push(await audit(...args));
    await tamper("DELETE FROM audit", "INSERT INTO audit SELECT * FROM kept", "DROP TABLE kept");
    for (const { stdout } of runs) {
      expect(stdout).toContain("\\u001b[2K\\u202e");
      expect(visible(stdout)).toBe(stdout);
    }
  });

  test.each([
    [["verify", "--file", "/nowhere/audit.jsonl"], "/nowhere/audit.jsonl"],
    [["verify", "--checkpoint", "/nowhere/c.json"], "--checkpoint /nowhere/c.json"],
  ])("%j: says what is wrong", async (args, told) => {
    const { exitCode, stderr } = await audit(...args);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(told);
  });

  test("old months are dropped whole, and the chain still begins where a row of it says", async () => {
    const months = async () => {
      const rows = await fixture.controller.source.query<{ name: string }[]>(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit'::regclass ORDER BY 1",
      );
      return rows.map(({ name }) => name);
    };
    const now = new Date();
    const first = (ago: number) =>
      new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - ago, 1)).toISOString().slice(0, 10);
    const partOf = (ago: number) => `audit_${first(ago).slice(0, 7).replace("-", "")}`;
    for (const [ago, upTo] of [
      [5, 10],
      [4, 20],
      [3, 30],
    ] as const) {
      const bounds = `FROM ('${first(ago)}') TO ('${first(ago - 1)}')`;
      await tamper(
        `CREATE TABLE ${partOf(ago)} PARTITION OF audit FOR VALUES ${bounds}`,
        `UPDATE audit SET month = '${first(ago)}' WHERE seq > ${upTo - 10} AND seq <= ${upTo}`,
      );
    }
    const checkpoint = join(folder, "before-drop.json");
    await writeFile(checkpoint, (await audit("checkpoint")).stdout);
    const { length } = await wholeLog();
    const housekeeping = fixture.controller.app.get(Housekeeping);
    expect(await housekeeping.run()).toMatchObject({ auditMonths: 2 });
    expect(await months()).toContain(partOf(3));
    expect(await months()).not.toContain(partOf(4));
    const left = await wholeLog();
    expect(left[0]).toMatchObject({ seq: 21 });
    expect(left.slice(-2)).toMatchObject([
      { seq: length + 1, action: "audit.retention", after: { fromSeq: 1, toSeq: 10 } },
      { seq: length + 2, action: "audit.retention", after: { fromSeq: 11, toSeq: 20 } },
    ]);
    expect(await audit("verify", "--checkpoint", checkpoint)).toMatchObject({ exitCode: 0 });
    expect(await housekeeping.run()).toMatchObject({ auditMonths: 0 });
    await fixture.controller.ask("createPool", { body: poolBody("after-drop") });
    expect((await audit("verify")).exitCode).toBe(0);
  });
});
