import type { AuditEntry } from "@fulcrum/contracts/resources.js";
import { auditHash, GENESIS } from "@fulcrum/controller/audit/append-audit.js";
import { expect, test } from "vitest";

import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { poolBody, registrationEntry, SLO, splitAt, staticPool } from "../support/wire.js";

const fixture = useControllers({ replicas: 2 });

/** The whole log as anyone can export it, oldest first. */
async function wholeLog(): Promise<AuditEntry[]> {
  const entries: AuditEntry[] = [];
  for (let cursor: string | null = "", page; cursor !== null; cursor = page.nextCursor) {
    page = await fixture.controller.ask("listAudit", {
      query: { limit: 500, ...(cursor ? { cursor } : {}) },
    });
    entries.push(...page.items);
  }
  return entries.reverse();
}

/** The first row that does not fit on the one before, by what the export itself says; null when the chain holds. */
function brokenAt(entries: readonly AuditEntry[]): number | null {
  let prevHash = GENESIS;
  for (const [index, entry] of entries.entries()) {
    if (entry.seq !== index + 1 || entry.prevHash !== prevHash || auditHash(entry) !== entry.hash)
      return entry.seq;
    prevHash = entry.hash;
  }
  return null;
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
  expect(brokenAt(entries)).toBeNull();
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

test("a changed, a dropped and a swapped row are each noticed from the export alone", async () => {
  const entries = await wholeLog();
  expect(brokenAt(entries.with(3, { ...entries.at(3)!, actor: "nobody" }))).toBe(4);
  expect(brokenAt(entries.toSpliced(2, 1))).not.toBeNull();
  expect(brokenAt(entries.with(1, entries.at(2)!).with(2, entries.at(1)!))).not.toBeNull();
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
  expect(brokenAt(entries)).toBeNull();
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
