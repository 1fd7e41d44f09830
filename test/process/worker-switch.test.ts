import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runConformance } from "@fulcrum/cli/conformance/run-conformance.js";
import { ResidentClient } from "@fulcrum/engine-sim/workers/resident-client.js";
import type { HandOver } from "@fulcrum/engine-sim/workers/resident-protocol.js";
import { EngineWorkers, type EngineWorkersSetup } from "../bench/switching-engine.js";
import { appMain } from "./support/node-process.js";
import { until } from "./support/until.js";

let folder = "";
let engine: EngineWorkers | null = null;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "fulcrum-switch-"));
});
afterEach(async () => {
  await engine?.end();
  engine = null;
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

async function start(change: Partial<EngineWorkersSetup> = {}): Promise<EngineWorkers> {
  engine = await EngineWorkers.start({
    folder: join(folder, "e"),
    ratePerS: 4,
    outputTokens: [20, 60],
    speed: 1,
    prepareMs: 300,
    split: [60, 40],
    deadlines: { hangMs: 1_500, takeMs: 1_500, leaveMs: 500, sigtermMs: 300, terminateMs: 300 },
    ...change,
  });
  return engine;
}

/** Every request was answered to its end, each token went out once, and no KV block is still somebody's. */
async function expectNothingLost(site: EngineWorkers): ReturnType<EngineWorkers["finish"]> {
  const end = await site.finish();
  expect(end).toMatchObject({ inside: 0, refused: 0, repeatedTokens: 0, lostTokens: 0 });
  expect(end.finished).toBe(end.arrived);
  expect(end.finished).toBeGreaterThan(0);
  await until("all blocks free again", () => {
    const { prefill, decode } = site.usage();
    return prefill.usedBlocks + decode.usedBlocks === 0;
  });
  return end;
}

/** By request, its tokens in the order in which they went out. */
function sentTokens(file: string): ReadonlyMap<string, readonly number[]> {
  const sent = new Map<string, number[]>();
  for (const line of readFileSync(file, "utf8").trim().split("\n")) {
    const [, id = "", token] = line.split(",");
    sent.set(id, [...(sent.get(id) ?? []), Number(token)]);
  }
  return sent;
}

function valueOf(page: string, metric: string): number {
  const line = page.split("\n").find((one) => one.startsWith(metric));
  return Number(line?.split(" ").at(-1));
}

const pairs = { prefill: [60, 50, 45], decode: [40, 50, 55] };

describe("engine-sim as a resident and workers", () => {
  test("its workers keep the worker protocol", async () => {
    const main = `'${process.execPath}' '${appMain("engine-sim")}'`;
    const { rules } = await runConformance({
      exec: `exec ${main} worker --prepare-ms 200`,
      resident: `${main} resident`,
      roles: ["prefill", "decode"],
      attachMs: 20_000,
      env: { PATH: process.env["PATH"] },
      note: () => undefined,
    });
    expect(rules.filter(({ result }) => result !== "pass")).toEqual([]);
  });

  test("switches under steady load without a stall, a lost request or a repeated token", async () => {
    const tokenLog = join(folder, "tokens.csv");
    // A quarter of real time: what the machine adds to an iteration of some 25 ms weighs a quarter as much.
    const deadlines = { hangMs: 10_000, takeMs: 10_000 };
    const site = await start({ speed: 0.25, prepareMs: 500, tokenLog, deadlines });
    await site.measure();
    const enough = async (): Promise<boolean> => (await site.measure(false)).tokens > 300;
    await until("tokens to compare with", enough, 60_000);
    const before = await site.measure();
    for (const generation of [1, 2, 3, 4]) {
      const at = generation % 2;
      await site.switchTo(generation, pairs.prefill[at] ?? 0, pairs.decode[at] ?? 0);
    }
    const ofDecode = async (): Promise<readonly HandOver[]> =>
      (await site.measure(false)).handOvers.filter(({ role }) => role === "decode");
    await until("the first iterations of all four", async () => (await ofDecode()).length === 4);
    const handOvers = await ofDecode();
    const switched = await site.measure();
    const iterationMs = Math.max(before.largestIterationMs.decode, switched.largestIterationMs.decode);
    expect(switched.largestPauseMs.decode).toBeLessThan(before.largestPauseMs.decode + iterationMs);
    expect(switched.largestGapMs).toBeLessThan(before.largestGapMs + iterationMs);
    // At the hand-overs themselves, without what the machine took: less than an iteration.
    for (const { pauseMs, coreWaitMs } of handOvers)
      expect(pauseMs - (coreWaitMs ?? 0)).toBeLessThan(switched.medianIterationMs.decode);
    await expectNothingLost(site);
    const sent = [...sentTokens(tokenLog).values()];
    expect(sent.every((tokens) => tokens.every((token, index) => token === index))).toBe(true);
    const { finished } = await site.measure(false);
    const page = await (await fetch(`http://127.0.0.1:${site.port}/metrics`)).text();
    expect(valueOf(page, "sglang:num_requests_total")).toBe(finished);
    expect(valueOf(page, "sglang:num_used_tokens")).toBe(0);
    expect(valueOf(page, "fulcrum_sim:repeated_tokens_total")).toBe(0);
    expect(valueOf(page, "fulcrum_sim:generation")).toBe(4);
    expect(site.usage().prefill.quotaBlocks).toBe(Math.round(0.6 * site.usage().blocks));
  });

  test("the naive way stalls requests for the preparation", async () => {
    const site = await start({ switching: "naive", prepareMs: 2_000 });
    await site.switchTo(1, 50, 50);
    expect((await expectNothingLost(site)).largestGapMs).toBeGreaterThan(2_000);
  });

  test("a result that comes under an old turn is refused and changes nothing", async () => {
    const site = await start();
    await site.switchTo(1, 60, 50);
    const late = await ResidentClient.connect(join(folder, "e/r0"), () => undefined);
    await late.ask({ op: "attach", worker: "late", role: "decode", generation: 0, smPct: 40 });
    expect(await late.ask({ op: "take", turn: 1, coreWaitMs: null })).toMatchObject({
      ok: false,
      code: "stale_turn",
    });
    const results = [{ id: 0, token: 0, blocks: [1] }];
    expect(await late.ask({ op: "post", turn: 1, batch: 1, share: 1, results, joined: [] })).toMatchObject({
      ok: false,
      code: "stale_turn",
    });
    late.close();
    expect((await site.measure()).refusedResults).toBe(1);
    await expectNothingLost(site);
  });
});

describe("a worker that is killed", () => {
  test.each([
    ["before the switch: the new one, while it prepares", "decode 1", { die: "attach" }],
    ["before the switch: the new one, ready", "prefill 1", { die: "ready" }],
    ["during it: the new one, with the turn and nothing begun", "decode 1", { die: "turn" }],
    ["during it: the new one, with the old one's blocks and not said", "decode 1", { die: "inherited" }],
    ["during it: the new one, with blocks taken", "decode 1", { die: "allocated" }],
    ["during it: the new prefill, with blocks taken", "prefill 1", { die: "allocated" }],
    ["during it: the old one, about to pass the turn", "decode 0", { die: "hand_over" }],
    ["during it: the old one, the turn passed and not said", "decode 0", { die: "handed_over" }],
    ["after it: the new one, a result computed and not posted", "decode 1", { die: "computed", after: 5 }],
    ["after it: the new prefill, a result posted", "prefill 1", { die: "posted", after: 1 }],
  ] as const)("%s", async (_when, who, fault) => {
    const site = await start({ faults: { [who]: fault } });
    await site.commit(1, 50, 50).catch((error: Error) => {
      expect(error.message).toMatch(/worker_died/);
    });
    // Those that take its place are sound.
    site.faults({});
    await expectOneAllocation(site);
  });

  test.each(["prefill", "decode"] as const)("from outside: %s, under load", async (role) => {
    const site = await start();
    await site.switchTo(1, 50, 50);
    const [holder] = site.workers(role);
    process.kill(holder?.pid ?? 0, "SIGKILL");
    await site.until(() => site.workers(role).some(({ pid }) => pid !== holder?.pid));
    await expectOneAllocation(site);
  });

  test("one that is stopped in the middle of an iteration is replaced; what it held is found again", async () => {
    const site = await start();
    site.faults({ "decode 1": { stop: "computed", after: 10 } });
    await site.commit(1, 50, 50);
    site.faults({});
    const [stopped] = site.workers("decode").filter(({ generation }) => generation === 1);
    await site.until(() => !site.workers("decode").some(({ pid }) => pid === stopped?.pid));
    await expectOneAllocation(site);
  });
});

async function expectOneAllocation(site: EngineWorkers): Promise<void> {
  await expectNothingLost(site);
  const { split } = (await site.until(({ phase }) => phase === "steady")).delivered;
  expect([59.26, 50]).toContain(split.prefillSmPct);
  expect([38.89, 50]).toContain(split.decodeSmPct);
}
