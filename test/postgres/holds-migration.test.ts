import "reflect-metadata";

import { dataSourceOptions, openDatabase } from "@fulcrum/controller/db/data-source.js";
import { MIGRATIONS } from "@fulcrum/migrations/all.js";
import { HoldsAndProposals1764000000004 } from "@fulcrum/migrations/1764000000004-holds-and-proposals.js";
import { expect, inject, test } from "vitest";

import { createDatabase } from "../support/database.js";

test("pins from before holds were kept become holds, with actor and reason out of the audit log, and go back", async () => {
  const fresh = await createDatabase(inject("postgresUrl"));
  const source = await openDatabase(dataSourceOptions(fresh.url, 2));
  const later = MIGRATIONS.slice(MIGRATIONS.indexOf(HoldsAndProposals1764000000004));
  for (const _ of later) await source.undoLastMigration({ transaction: "each" });
  await source.query(
    `INSERT INTO pools (id, name, model, mode, policy, guards, limits, control_interval_ms, lookback_ms, frozen,
                        slo_version, version, created_at, updated_at)
     VALUES (gen_random_uuid(), 'p', 'm', 'enforce', '{}', '{}', '{}', 1000, 1000, false, 1, 1, now(), now())`,
  );
  const instance = (name: string, pinned: boolean, until: string) =>
    source.query(
      `INSERT INTO instances (id, pool_id, name, rank_count, capabilities, generation, attempt, allocation, issued_at,
                              issue_reason, last_good, pinned, pinned_until, degraded, created_at)
       SELECT gen_random_uuid(), id, $1, 1, '{}', 0, 1, '{}', now(), 'r', '{}', $2, ${until}, false, now() FROM pools`,
      [name, pinned],
    );
  await instance("for-ever", true, "NULL");
  await instance("an-hour", true, "now() + interval '1 hour'");
  await instance("ran-out", true, "now() - interval '1 hour'");
  await instance("free", false, "NULL");
  await source.query(
    `SELECT append_audit(ARRAY[now()], '{ops}', '{NULL}', '{NULL}', '{instance.pin}', '{instance/for-ever}',
                         '{null}', ARRAY['{"reason": "load test"}'], '{x}')`,
  );
  await source.runMigrations({ transaction: "each" });
  const held = `SELECT i.name, h.kind, h.actor, h.reason, h.until IS NULL AS always
                FROM holds h JOIN instances i ON i.id = h.instance_id ORDER BY 1`;
  expect(await source.query(held)).toEqual([
    {
      name: "an-hour",
      kind: "pin",
      actor: "unknown",
      reason: "pinned before holds were kept",
      always: false,
    },
    { name: "for-ever", kind: "pin", actor: "ops", reason: "load test", always: true },
  ]);
  const [first] = await source.query<{ id: string }[]>("SELECT id FROM holds LIMIT 1");
  const { id } = first!;
  expect(Math.abs(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) - Date.now())).toBeLessThan(
    3_600_000,
  );
  for (const _ of later) await source.undoLastMigration({ transaction: "each" });
  const pinned = "SELECT name, pinned_until IS NULL AS always FROM instances WHERE pinned ORDER BY 1";
  expect(await source.query(pinned)).toEqual([
    { name: "an-hour", always: false },
    { name: "for-ever", always: true },
  ]);
  await source.destroy();
  await fresh.drop();
});
