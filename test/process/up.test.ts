import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";

import type { VerifyReport } from "@fulcrum/cli/commands/verify-decisions.js";
import type { Pool } from "@fulcrum/contracts/pools.js";
import type { Instance } from "@fulcrum/contracts/resources.js";
import { temporaryDataDir } from "@fulcrum/embedded/default-data-dir.js";
import { afterAll, beforeAll, expect, test } from "vitest";

import { fulcrum, fulcrumJson } from "./support/fulcrum.js";
import { FULCRUM, NodeProcess } from "./support/node-process.js";
import { descendantsOf, ProcessTree } from "./support/process-tree.js";
import { until } from "./support/until.js";

let folder: string;
let dataDir: string;
let up: NodeProcess;
let tree: ProcessTree;
let env: Record<string, string>;
const started: { process: NodeProcess; tree: ProcessTree }[] = [];

beforeAll(async () => {
  folder = await temporaryDataDir();
  dataDir = join(folder, "data");
  env = { FULCRUM_DATA_DIR: dataDir };
  await startUp();
});
afterAll(async () => {
  for (const { process, tree } of started) {
    await process.kill();
    await tree.killAll();
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** Returns the address that it says. */
async function startUp(): Promise<string> {
  up = NodeProcess.launch({
    script: FULCRUM,
    args: ["up", "--data-dir", dataDir, "--port", "0"],
    ownGroup: true,
  });
  tree = new ProcessTree(up.pid, dataDir);
  started.push({ process: up, tree });
  const line = await up.line((line) => line.startsWith("Fulcrum is up: "), 60_000);
  await tree.look();
  return line.split(": ")[1] ?? "";
}

const pools = async () => (await fulcrumJson<{ items: Pool[] }>(["pools", "list"], env)).items;

async function stopByCtrlC(): Promise<void> {
  up.signalGroup("SIGINT");
  expect(await up.end()).toEqual({ code: 0, signal: null });
  await tree.allGone();
  expect(existsSync(join(dataDir, "running.json"))).toBe(false);
  expect(existsSync(join(dataDir, "run"))).toBe(false);
}

test("the other commands find it by themselves, with its key", async () => {
  expect((await pools()).map(({ name, mode }) => [name, mode])).toEqual([["local", "enforce"]]);
  const [instance] = await until("the engine is measured", async () => {
    const { items } = await fulcrumJson<{ items: Instance[] }>(["instances", "list"], env);
    return items[0]?.lastWindowAt !== null && items;
  });
  expect(instance).toMatchObject({ name: "local-0", pool: "local", agents: ["local"] });
  const { code, out } = await fulcrum(["pools", "list"], env);
  expect(code).toBe(0);
  expect(out).toMatch(/^local\s/m);
});

test("a second one on the same folder says that it runs already, where, and what to do", async () => {
  const { code, err } = await fulcrum(["up", "--data-dir", dataDir, "--port", "0"]);
  expect(code).toBe(1);
  expect(err).toMatch(/fulcrum up already runs on .*: http:\/\/127\.0\.0\.1:\d+/);
  expect(err).toContain(`It is process ${up.pid}`);
  expect(err).toContain("--data-dir");
  expect(up.running).toBe(true);
});

test("an SLO is set as a person sets it; one written over a state that is no longer there is refused", async () => {
  const { code, out } = await fulcrum(["slo", "set", "local", "--tpot-ms", "80"], env);
  expect(code).toBe(0);
  expect(out).toContain("version 2");
  const { url } = JSON.parse(readFileSync(join(dataDir, "running.json"), "utf8")) as { url: string };
  const key = readFileSync(join(dataDir, "admin.key"), "utf8").trim();
  const stale = await fetch(`${url}/v1/pools/local/slo`, {
    method: "PUT",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json", "if-match": '"1"' },
    body: JSON.stringify({
      ttft: { percentile: 0.9, boundMs: 1 },
      tpot: { percentile: 0.9, boundMs: 1 },
      attainmentShare: 0.9,
    }),
  });
  expect(stale.status).toBe(412);
  expect(await stale.json()).toMatchObject({ code: "precondition_failed", status: 412 });
  expect((await pools())[0]?.slo.tpot.boundMs).toBe(80);
});

/** Windows that were measured after this moment have come in. */
async function measuredAfter(what: string, atMs: number): Promise<void> {
  await until(what, async () => {
    const { items } = await fulcrumJson<{ items: Instance[] }>(["instances", "list"], env);
    const last = items[0]?.lastWindowAt;
    return items[0]?.conditions.length === 0 && typeof last === "string" && Date.parse(last) > atMs;
  });
}

test.each(["controller/dist/main.js", "agent/dist/main.js", "engine-sim/dist/main.js", "bin/postgres"])(
  "a part that is killed with -9 is started again, and the system goes on: %s",
  async (part) => {
    const victim = descendantsOf(up.pid).find(({ command }) => command.includes(part));
    expect(victim, part).toBeDefined();
    process.kill(victim!.pid, "SIGKILL");
    await until("it is gone", async () => !descendantsOf(up.pid).some(({ pid }) => pid === victim!.pid));
    await until("another one is there", async () =>
      descendantsOf(up.pid).some(({ command }) => command.includes(part)),
    );
    await measuredAfter(`windows after ${part} was killed`, Date.now());
    await tree.look();
    expect(up.running).toBe(true);
  },
);

test("an instance that is deleted comes back by itself, is measured, and can be moved", async () => {
  const target = ["--policy", "static", "--split", "80,60"];
  expect((await fulcrum(["pools", "set", "local", ...target], env)).code).toBe(0);
  const at = (decodeSmPct: number) => async () => {
    const { items } = await fulcrumJson<{ items: Instance[] }>(["instances", "list"], env);
    return items[0]?.lastGood.split.decodeSmPct === decodeSmPct && items[0].rollout === null;
  };
  await until("the split is in force", at(60));
  expect((await fulcrum(["instances", "delete", "local-0"], env)).code).toBe(0);
  await measuredAfter("windows of the instance that came back", Date.now());
  expect((await fulcrum(["pools", "set", "local", "--policy", "static", "--split", "80,70"], env)).code).toBe(
    0,
  );
  await until("the next split is in force", at(70));
  expect((await fulcrum(["pools", "set", "local", "--policy", "feedback"], env)).code).toBe(0);
});

test("it decides, and its decisions can be verified", async () => {
  await fulcrum(["pools", "set", "local", "--control-interval-ms", "500"], env);
  const report = await until("a decision is stored", async () => {
    const report = await fulcrumJson<VerifyReport>(["decisions", "verify"], env);
    return report.checked > 0 && report;
  });
  expect(report.different).toEqual([]);
});

test("Ctrl-C ends all of it; started again on its folder it has the same pools, key and instance", async () => {
  const before = await pools();
  const key = readFileSync(join(dataDir, "admin.key"), "utf8");
  await stopByCtrlC();
  const unreachable = await fulcrum(["pools", "list", "--url", "http://127.0.0.1:1"], env);
  expect(unreachable.code).toBe(3);

  await startUp();
  expect(readFileSync(join(dataDir, "admin.key"), "utf8")).toBe(key);
  const after = await pools();
  expect(after).toEqual(before);
  const seen = Date.now();
  await until("the engine is measured again", async () => {
    const { items } = await fulcrumJson<{ items: Instance[] }>(["instances", "list"], env);
    return items.length === 1 && Date.parse(items[0]?.lastWindowAt ?? "") > seen;
  });
  await stopByCtrlC();
});

test("after kill -9 it starts again on its folder at once, and nothing of its first life runs on", async () => {
  await startUp();
  await up.kill();
  const first = tree;
  await startUp();
  await first.seenGone();
  expect((await pools()).map(({ name }) => name)).toEqual(["local"]);
  await stopByCtrlC();
});
