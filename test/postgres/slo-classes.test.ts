import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Decision } from "@fulcrum/core/decision.js";
import type { SloTarget, Window } from "@fulcrum/core/nouns.js";
import { afterAll, beforeAll, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import {
  instanceReport,
  poolBody,
  registrationEntry,
  report,
  RUNNING,
  SLO,
  wireWindow,
  WORK,
} from "../support/wire.js";

const fixture = useControllers();
const BATCH = { name: "batch", ...SLO, ttft: { percentile: 0.9, boundMs: 5_000 }, attainmentShare: 0.8 };
const folder = mkdtempSync(join(tmpdir(), "fulcrum-classes-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A third of the window's requests is of the class. */
function toldWindow(seq: number, endAtMs: number): Window {
  const window = wireWindow(seq, { work: WORK, startAtMs: endAtMs - 5_000, endAtMs, durationMs: 5_000 });
  const third = (of: Window["ttft"]) => ({
    ...of,
    counts: of.counts.map((count) => Math.floor(count / 3)),
    sumMs: of.sumMs / 3,
  });
  const batch = { name: "batch", arrivals: 10, promptTokens: 20_000, promptTokensSq: 45e6 };
  return { ...window, classes: [{ ...batch, ttft: third(window.ttft), tpot: third(window.tpot) }] };
}

beforeAll(async () => {
  const { controller } = fixture;
  await controller.ask("createPool", {
    body: poolBody("mixed", {
      slo: { ...SLO, classes: [BATCH] },
      policy: { name: "search" },
      lookbackMs: 600_000,
    }),
  });
  const agent = new TestAgent(controller, "mixed-agent");
  await agent.register(registrationEntry("mixed-0", "mixed"));
  const nowMs = Date.now();
  for (let i = 0; i < 4; i += 1) {
    const windows = [1, 2, 3].map((n) => toldWindow(3 * i + n, nowMs - (12 - 3 * i - n) * 5_000));
    const entry = instanceReport("mixed-0", windows, { observed: { ...RUNNING, generation: 0 } });
    await controller.ask("report", { body: report("mixed-agent", [entry]), key: await agent.key() });
    await evaluate(controller, "mixed-0");
  }
});

test("a decision tells of each promise what was seen of its own requests, and what each split promises it", async () => {
  const { items } = await fixture.controller.ask("listDecisions", { query: { pool: "mixed", limit: 1 } });
  const row = await fixture.controller.ask("getDecision", { params: { id: items[0]!.id } });
  const decision = row.decision as unknown as Decision;
  expect(decision.observed.classes).toMatchObject([
    { name: null, own: true },
    { name: "batch", own: true },
  ]);
  expect(decision.candidates.length).toBeGreaterThan(0);
  for (const { classes } of decision.candidates)
    expect(classes?.map(({ name }) => name)).toEqual([null, "batch"]);
  expect(row.message).toContain("for batch");
  const verified = await fulcrum(fixture.controller, "decisions", "verify", "--pool", "mixed");
  expect(verified.stdout).toMatch(/checked [1-9]\d* decisions: 0 differ/);
  const explained = await fulcrum(fixture.controller, "explain", items[0]!.id);
  expect(explained.stdout).toMatch(/batch: \d.* of first tokens/);
});

test("they are set from a file, shown, kept through other changes, and taken away", async () => {
  const file = join(folder, "classes.yaml");
  writeFileSync(file, JSON.stringify([BATCH, { ...BATCH, name: "night" }]));
  const set = await fulcrum(fixture.controller, "slo", "set", "mixed", "--classes", file);
  expect([set.exitCode, set.stderr]).toEqual([0, ""]);
  expect(set.stdout).toContain("then batch, night");
  await fulcrum(fixture.controller, "slo", "set", "mixed", "--ttft-ms", "250");
  const { slo } = await fixture.controller.ask("getSlo", { params: { pool: "mixed" } });
  expect(slo).toMatchObject({ ttft: { boundMs: 250 }, classes: [{ name: "batch" }, { name: "night" }] });
  const got = await fulcrum(fixture.controller, "slo", "get", "mixed");
  expect(got.stdout).toMatch(/then night +TTFT p90 < 5.00 s/);
  await fulcrum(fixture.controller, "slo", "set", "mixed", "--no-classes");
  const after = await fixture.controller.ask("getSlo", { params: { pool: "mixed" } });
  expect(after.slo).not.toHaveProperty("classes");
});

const classes = (...all: readonly object[]): SloTarget => ({ ...SLO, classes: all }) as SloTarget;

test.each([
  ["five", classes(...["a", "b", "c", "d", "e"].map((name) => ({ ...BATCH, name }))), "slo.classes"],
  ["one name twice", classes(BATCH, BATCH), "slo.classes"],
  ["a share above all", classes({ ...BATCH, attainmentShare: 1.2 }), "slo.classes.0.attainmentShare"],
  ["a field that there is not", classes({ ...BATCH, weight: 3 }), "slo.classes.0.weight"],
])("%s of them are refused with the field", async (_what, slo, field) => {
  const reply = await fixture.controller.call("createPool", { body: poolBody("refused", { slo }) });
  expect([reply.status, reply.problem?.code]).toEqual([400, "invalid_request"]);
  expect(reply.problem?.errors?.map((error) => error.field)).toContain(field);
});
