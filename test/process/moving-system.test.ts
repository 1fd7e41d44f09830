import { afterAll, beforeAll, expect, test } from "vitest";

import type { VerifyReport } from "@fulcrum/cli/commands/verify-decisions.js";
import type { Decision, Snapshot } from "@fulcrum/core/decision.js";
import type { Window } from "@fulcrum/core/nouns.js";
import { sampleCount } from "@fulcrum/core/signal/histogram.js";

import { EngineWatch, neverFalls } from "./support/engine-control.js";
import { fulcrum, fulcrumJson } from "./support/fulcrum.js";
import { RecordingProxy } from "./support/recording-proxy.js";
import { type Admin, SLO, startServer, System } from "./support/system.js";
import { until } from "./support/until.js";

let postgres: Awaited<ReturnType<typeof startServer>>;
let system: System;
let admin: Admin;
let proxy: RecordingProxy;
let env: Record<string, string>;
const watches: EngineWatch[] = [];

const NAMES = ["chat-0", "chat-1", "chat-2"];
/** Between one kill and the next. */
const MOVES = 12;

/**
 * Three engines under two controllers, and an SLO that swings between what only prefill and what only decode
 * can give, so that they move all the time; meanwhile a controller, the agent and Postgres are killed with
 * kill -9, one after the other.
 */
beforeAll(async () => {
  postgres = await startServer();
  system = await System.open(postgres.server.url);
  const doomed = await system.controller();
  const controller = await system.controller();
  admin = system.api(controller.url);
  env = { FULCRUM_URL: controller.url, FULCRUM_KEY: system.adminKey };
  proxy = await RecordingProxy.to(doomed.url, controller.url);
  system.defer(() => proxy.close());
  await admin.staticPool("chat", {
    policy: { name: "feedback" },
    controlIntervalMs: 200,
    lookbackMs: 2_000,
    guards: { dwellMs: 0, minSamples: 5, flapBudget: 60, flapWindowMs: 1_000, staleAfterMs: 2_000 },
  });
  const instances = [];
  for (const [i, name] of NAMES.entries()) {
    const engine = await system.engine(name, "--speed=10", "--prepare-ms=2000", `--seed=${i + 1}`);
    const watch = new EngineWatch(engine.socket);
    system.defer(() => watch.stop());
    watches.push(watch);
    instances.push({ instance: name, pool: "chat", engine });
  }
  const options = { name: "node-a", controllerUrl: proxy.url, instances, windowMs: 200 };
  const setup = await system.agentSetup(admin, options);
  const agent = await system.startAgent(setup);
  await moves(MOVES);
  await doomed.process.kill();
  await moves(2 * MOVES);
  await agent.kill();
  const second = await system.startAgent(setup);
  await moves(3 * MOVES);
  const { pid, port } = postgres.server;
  process.kill(pid, "SIGKILL");
  await postgres.server.exited;
  postgres = { ...postgres, ...(await startServer({ dataDir: postgres.folder, port })) };
  await moves(4 * MOVES);
  // A change freeze, so that it comes to rest.
  const { etag } = await admin.client.call("getPool", { params: { pool: "chat" } });
  const ifMatch = etag ?? "";
  await admin.client.call("patchPool", { params: { pool: "chat" }, body: { frozen: true }, ifMatch });
  await until("every engine runs what was asked last, and no rollout is open", async () => {
    const all = await Promise.all(NAMES.map((name) => admin.instance(name)));
    return all.every(
      (each) => each.rollout === null && each.observed?.generation === each.desired.generation,
    );
  });
  await second.terminate();
});
afterAll(async () => {
  await system?.close();
  await postgres?.close();
});

/** Swings the SLO about once a second until so many decisions have been applied. */
async function moves(least: number): Promise<void> {
  let swing = 0;
  await until(
    `${least} moves`,
    async () => {
      if (swing % 25 === 0) await setSlo(swing % 50 === 0);
      swing += 1;
      const [row] = await system.sql<{ moves: number }>(
        "SELECT count(*)::int AS moves FROM decisions WHERE outcome = 'applied'",
      );
      return (row?.moves ?? 0) >= least;
    },
    60_000,
  );
}

async function setSlo(prefillSuffers: boolean): Promise<void> {
  const { etag } = await admin.client.call("getSlo", { params: { pool: "chat" } });
  const boundsMs = prefillSuffers ? { ttft: 30, tpot: 500 } : { ttft: 5_000, tpot: 12 };
  await admin.client.call("putSlo", {
    params: { pool: "chat" },
    body: {
      ...SLO,
      ttft: { ...SLO.ttft, boundMs: boundsMs.ttft },
      tpot: { ...SLO.tpot, boundMs: boundsMs.tpot },
    },
    ifMatch: etag ?? "",
  });
}

test("every stored decision gives the same answer when it is run again, and how many were checked is said", async () => {
  const [row] = await system.sql<{ count: number }>("SELECT count(*)::int AS count FROM decisions");
  const report = await fulcrumJson<VerifyReport>(["decisions", "verify"], env);
  expect(report).toEqual({ checked: row?.count, otherVersions: [], different: [] });
  expect(report.checked).toBeGreaterThan(4 * MOVES);
  const { code, out } = await fulcrum(["decisions", "verify", "--instance", "chat-1"], env);
  expect(code).toBe(0);
  expect(out).toMatch(/^checked [1-9]\d* decisions: 0 differ$/m);
});

interface AppliedRow {
  readonly id: string;
  readonly reason: string;
  readonly message: string;
  readonly predicted: { readonly ttftMs: number | null; readonly tpotMs: number | null } | null;
  readonly based_on_generation: number;
  readonly generation: number;
  readonly decided_at_ms: string;
  readonly at: Date;
  readonly snapshot: Snapshot;
  readonly decision: Decision;
  readonly allocation: Decision["allocation"];
  readonly rollout: string | null;
  readonly rollout_generation: number;
  readonly rollout_state: string;
  readonly created_at: Date;
  readonly ended_at: Date | null;
  readonly to_allocation: Decision["allocation"];
}

test("every applied decision's row says what was seen, weighed, chosen and expected, and its reconfiguration what became of it, step by step", async () => {
  const applied = await system.sql<AppliedRow>(
    `SELECT d.*, r.id AS rollout, r.generation AS rollout_generation, r.state AS rollout_state,
            r.created_at, r.ended_at, r.to_allocation
     FROM decisions d LEFT JOIN reconfigurations r ON r.decision_id = d.id AND r.kind = 'decision'
     WHERE d.outcome = 'applied' ORDER BY d.id`,
  );
  expect(applied.length).toBeGreaterThanOrEqual(4 * MOVES);
  for (const row of applied) {
    expect(row.reason).toMatch(/^[A-Z_]+$/);
    expect(row.message).toMatch(/\d/);
    expect(row.snapshot.signal.freshness).toBe("fresh");
    expect(row.snapshot.current.generation).toBe(row.based_on_generation);
    expect(row.generation).toBe(row.based_on_generation + 1);
    expect(row.predicted).not.toBeNull();
    expect(row.decision.reason).toBe(row.reason);
    expect(row.decision.allocation).toEqual(row.allocation);
    // Only the quota moves without a split having been weighed.
    if (!row.reason.startsWith("KV_")) {
      expect(row.decision.candidates.filter(({ verdict }) => verdict === "chosen")).toHaveLength(1);
    }
    expect(row.rollout).not.toBeNull();
    expect(row.rollout_generation).toBe(row.generation);
    expect(row.to_allocation).toEqual(row.allocation);
    const steps = await system.sql<{ step: string; at: Date; attempt: number }>(
      "SELECT step, at, attempt FROM reconfiguration_steps WHERE reconfiguration_id = $1 ORDER BY id",
      [row.rollout],
    );
    expect(steps[0]).toMatchObject({ step: "offered", attempt: 1 });
    const times = [row.created_at, ...steps.map(({ at }) => at), row.ended_at ?? new Date()].map(Number);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    // In this order; of what a killed agent did, its next life tells only the end.
    const order = ["offered", "preparing", "ready", "switched", "verified"];
    if (row.rollout_state === "verified") {
      const last = steps
        .filter(({ attempt }) => attempt === steps.at(-1)?.attempt)
        .map(({ step }) => order.indexOf(step));
      expect([last[0], last.at(-1)]).toEqual([0, 4]);
      expect(last).toEqual(last.toSorted((x, y) => x - y));
    }
  }
  expect(applied.filter(({ rollout_state }) => rollout_state === "verified").length).toBeGreaterThan(
    2 * MOVES,
  );
  // One line in the audit log for each.
  const [audit] = await system.sql<{ count: number }>(
    "SELECT count(*)::int AS count FROM audit WHERE action = 'decision.applied'",
  );
  expect(audit?.count).toBe(applied.length);
});

test("no engine ever ran or prepared a lower generation than before, and no generation was given twice", async () => {
  for (const watch of watches) {
    const { ran, prepared } = watch.generations;
    expect(Math.max(...ran)).toBeGreaterThan(3);
    expect(neverFalls(ran)).toBe(true);
    expect(neverFalls(prepared)).toBe(true);
  }
  const [twice] = await system.sql(
    "SELECT instance_id, generation FROM decisions WHERE outcome = 'applied' GROUP BY 1, 2 HAVING count(*) > 1",
  );
  expect(twice).toBeUndefined();
});

test("no window that was answered 2xx is missing, and none is there twice", async () => {
  for (const name of NAMES) {
    const stored = await system.storedWindows(name);
    const kept = new Set(stored);
    expect(kept.size).toBe(stored.length);
    expect(proxy.answeredWindows(name).filter((seq) => !kept.has(seq))).toEqual([]);
  }
});

test("every window tells what the workers did, and it fits what was counted besides", async () => {
  for (const name of NAMES) {
    const windows = await system.sql<{ body: Window }>(
      "SELECT body FROM windows w JOIN instances i ON i.id = w.instance_id WHERE i.name = $1 ORDER BY w.seq",
      [name],
    );
    expect(windows.length).toBeGreaterThan(20);
    for (const { body } of windows) {
      const { work, busy } = body;
      const [prefillBusy, decodeBusy] = [busy.prefillShare ?? 0, busy.decodeShare ?? 0];
      expect(work?.overlapShare).toBeLessThanOrEqual(Math.min(prefillBusy, decodeBusy) + 1e-6);
      expect(work?.prefillGpuShare).toBeLessThanOrEqual(prefillBusy + 1e-6);
      expect(work?.decodeGpuShare).toBeLessThanOrEqual(decodeBusy + 1e-6);
      // Each token but a request's first is one sequence's in one iteration; after a preemption prefill makes it.
      const laterTokens = body.outputTokens - sampleCount(body.ttft);
      const sequences = (work?.decodeSteps ?? 0) * (work?.decodeBatchMean ?? 0);
      expect(sequences).toBeLessThanOrEqual(laterTokens + 1e-6);
      if (body.kv.preemptions === 0 || body.kv.preemptions === null) {
        expect(sequences).toBeCloseTo(laterTokens, 6);
      }
    }
    expect(windows.some(({ body }) => (body.work?.decodeContextMean ?? 0) > 100)).toBe(true);
  }
  const [told] = await system.sql<{ snapshot: Snapshot }>(
    "SELECT snapshot FROM decisions WHERE outcome = 'applied' ORDER BY id DESC LIMIT 1",
  );
  expect(told?.snapshot.signal.work?.decodeStepMeanMs).toBeGreaterThan(1);
});

test("a row that somebody has changed is found and named", async () => {
  const [row] = await system.sql<{ id: string }>(
    "SELECT id FROM decisions WHERE outcome = 'applied' ORDER BY id LIMIT 1",
  );
  await system.sql(
    `UPDATE decisions SET decision = replace(decision::text, '"kind":"move"', '"kind":"hold"')::json WHERE id = $1`,
    [row?.id],
  );
  const { code, out, err } = await fulcrum(["decisions", "verify"], env);
  expect(code).toBe(1);
  expect(out).toContain(`${row?.id} of `);
  expect(out).toContain("kind");
  expect(err).toMatch(/1 of \d+ decisions came out differently/);
});
