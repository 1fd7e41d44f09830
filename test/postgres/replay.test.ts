import { readFileSync } from "node:fs";
import { UNCONTROLLED } from "@fulcrum/core/nouns.js";
import { recordedLane } from "@fulcrum/evaluation/testing/recorded-lane.js";
import { parseProfile } from "@fulcrum/simulator/profile.js";
import { beforeAll, describe, expect, test } from "vitest";

import { fulcrum } from "../support/cli.js";
import { evaluate } from "../support/evaluate.js";
import { TestAgent } from "../support/test-agent.js";
import { useControllers } from "../support/use-controllers.js";
import { instanceReport, poolBody, registrationEntry, report } from "../support/wire.js";

const fixture = useControllers();
const PROFILE = "apps/engine-sim/data/llama3-8b-a100.json";
const SLO = {
  ttft: { percentile: 0.9, boundMs: 400 },
  tpot: { percentile: 0.9, boundMs: 60 },
  attainmentShare: 0.9,
};
/** As many as an agent sends at once after the controller was away. */
const BATCH = 32;

let agent: TestAgent;
let windows: ReturnType<typeof recordedLane>;

/** Four minutes of a simulated engine, reported as if they had just passed, and decided on every ten windows. */
beforeAll(async () => {
  const { controller } = fixture;
  await controller.ask("createPool", {
    body: poolBody("played", { slo: SLO, policy: { name: "search" }, controlIntervalMs: 5_000 }),
  });
  agent = new TestAgent(controller, "played-agent");
  await agent.register(registrationEntry("played-0", "played", { running: UNCONTROLLED }));
  windows = recordedLane({
    profile: parseProfile(JSON.parse(readFileSync(PROFILE, "utf8")), PROFILE),
    slo: SLO,
    durationMs: 240_000,
    ratePerS: 5,
    promptTokens: 800,
    outputTokens: 150,
    plan: [{ fromMs: 0, allocation: UNCONTROLLED }],
  });
  const startMs = Date.now() - 240_000;
  for (let from = 0; from < windows.length; from += BATCH) {
    const batch = windows.slice(from, from + BATCH).map((window) => ({
      ...window,
      generation: 0,
      startAtMs: Math.round(startMs + window.startAtMs),
      endAtMs: Math.round(startMs + window.endAtMs),
    }));
    const entry = instanceReport("played-0", batch, { observed: { ...UNCONTROLLED, generation: 0 } });
    await controller.ask("report", { body: report("played-agent", [entry]), key: await agent.key() });
    await evaluate(controller, "played-0");
  }
});

async function replayed(...args: string[]) {
  const { exitCode, stdout, stderr } = await fulcrum(
    fixture.controller,
    ..."replay --pool played --from 1h --json".split(" "),
    ...args,
  );
  expect([exitCode, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout);
}

test("every decision of the time comes out as it was, and the simulator is near what its own engine did", async () => {
  const found = await replayed();
  expect(found.verified.checked).toBeGreaterThanOrEqual(1);
  expect(found.verified.different).toEqual([]);
  const [{ instance, result }] = found.instances;
  expect(instance).toBe("played-0");
  expect(result.other).toBeNull();
  const { measured, asRecorded } = result;
  expect(measured.finished).toBeGreaterThan(500);
  expect(Math.abs(asRecorded.attainmentShare - measured.attainmentShare)).toBeLessThan(0.1);
  expect(Math.abs(asRecorded.tpotP50Ms / measured.tpotP50Ms - 1)).toBeLessThan(0.1);
});

test("another policy and another SLO stand beside the policy that ran, judged alike", async () => {
  const found = await replayed("--policy", "static", "--split", "30,70", "--ttft-ms", "200");
  expect(found).toMatchObject({ ran: "search", other: "static 30/70 under the SLO asked for" });
  expect(found.slo.ttft.boundMs).toBe(200);
  const [{ result }] = found.instances;
  expect(result.other.attainmentShare).not.toBeNull();
  expect(result.other.moves).toBeGreaterThanOrEqual(1);
});

test("in words: the decisions, how far off the simulator is, the rows, and what it cannot know", async () => {
  const { exitCode, stdout } = await fulcrum(
    fixture.controller,
    ..."replay --pool played --from 1h --policy feedback".split(" "),
  );
  expect(exitCode).toBe(0);
  const at = (text: string) => stdout.indexOf(text);
  const order = [
    at("all come out exactly as they were"),
    at("Off by: TTFT p50"),
    at("measured"),
    at("simulated, allocations as recorded"),
    at("simulated, search had it moved (mode observe)"),
    at("simulated, feedback"),
    at("What this cannot know"),
  ];
  expect(order).toEqual([...order].sort((a, b) => a - b));
  expect(order[0]).toBeGreaterThan(0);
});

describe("what cannot be asked is refused with the option's name", () => {
  test.each([
    ["replay --pool played --from yesterday", "--from must be an instant"],
    ["replay --pool played --from 1h --to 2h", "--from must be before --to"],
    ["replay --pool playd --from 1h", 'there is no pool "playd"'],
    ["replay --pool played --from 1h --split 30,70", "--split is for --policy static"],
    ["replay --pool played --from 1h --profile no-such", "no-such cannot be read"],
  ])("%s", async (line, message) => {
    const { exitCode, stderr } = await fulcrum(fixture.controller, ...line.split(" "));
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain(message);
  });
});

test("explain tells a decision from what was seen to how it turned out", async () => {
  const { items } = await fixture.controller.ask("listDecisions", { query: { pool: "played", limit: 1 } });
  const { exitCode, stdout } = await fulcrum(fixture.controller, "explain", items[0]!.id);
  expect(exitCode).toBe(0);
  const heads = ["Seen: ", "Weighed: ", "Chosen: ", "Guards: ", "Rolled out: ", "Turned out: "];
  const places = heads.map((head) => stdout.indexOf(`\n${head}`));
  expect(places.every((place) => place > 0)).toBe(true);
  expect(places).toEqual([...places].sort((a, b) => a - b));
  expect(stdout).toContain(items[0]!.message);
  const json = await fulcrum(fixture.controller, "explain", items[0]!.id, "--json");
  expect(JSON.parse(json.stdout)).toMatchObject({ decision: { id: items[0]!.id }, reconfiguration: null });
});

test("time under other settings is left out of what is said to have run, and told", async () => {
  const { controller } = fixture;
  const params = { pool: "played" };
  const headers = { "if-match": "*" };
  const policy = { name: "static" as const, params: { allocation: UNCONTROLLED } };
  await controller.ask("patchPool", { params, body: { policy }, headers });
  const slo = { ...SLO, ttft: { percentile: 0.9, boundMs: 5_000 } };
  await controller.ask("putSlo", { params, body: slo, headers });
  const nowMs = Date.now();
  const window = { ...windows.at(-1)!, generation: 0, startAtMs: nowMs - 500, endAtMs: nowMs };
  const entry = instanceReport("played-0", [window], { observed: { ...UNCONTROLLED, generation: 0 } });
  await controller.ask("report", { body: report("played-agent", [entry]), key: await agent.key() });
  await evaluate(controller, "played-0");
  const { items } = await controller.ask("listDecisions", { query: { pool: "played", limit: 1 } });
  expect(items[0]?.policy.name).toBe("static");
  const [{ cut, ran }] = (await replayed()).instances;
  expect([cut.at, ran]).toEqual([items[0]!.at, "static"]);
  expect(cut.change).toContain('policy.name "search" -> "static"');
  expect(cut.change).toContain("slo.ttft.boundMs 400 -> 5000");
  const { stdout } = await fulcrum(controller, ..."replay --pool played --from 1h".split(" "));
  expect(stdout).toContain(
    `played-0: only from ${items[0]!.at} on. Decisions before that went by other settings`,
  );
  // The time before, as it asks for: search, on its own.
  const before = await replayed("--to", /ask with --to (\S+)\.\n/.exec(stdout)![1]!);
  expect(before.instances[0]).toMatchObject({ cut: null, ran: "search" });
});
