/** An agent that is killed at any step: its workers live, and the next agent ends in the old or the new allocation. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { type WorkerSite, WorkerSites, makeSiteFolder, steady } from "../testing/worker-site.js";

const WORKER_HOST = fileURLToPath(new URL("../../dist/testing/worker-host.js", import.meta.url));
const sites = new WorkerSites();
const folders: string[] = [];
let host: ChildProcess | null = null;
afterEach(async () => {
  host?.kill("SIGKILL");
  await sites.end();
  // Of a host that did not get there: workers end with the folder of their turn.
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

async function makeFolder(): Promise<string> {
  const folder = await makeSiteFolder();
  folders.push(folder);
  return folder;
}

/** Killed when it has reached the step. */
async function killedAt(folder: string, step: string): Promise<void> {
  host = spawn(process.execPath, [WORKER_HOST, folder, step], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(host, "exit");
  await Promise.race([once(host.stdout!, "data"), ended]);
  expect(host.exitCode, "the host reached the step").toBeNull();
  host.kill("SIGKILL");
  await ended;
}

const workers = (site: WorkerSite) => [...site.workers("prefill"), ...site.workers("decode")];
const shares = async (site: WorkerSite) => [
  (await site.holder("prefill")).smPct,
  (await site.holder("decode")).smPct,
];

describe("an agent that is killed", () => {
  test.each([
    ["while its workers start", "starting", 0],
    ["while it prepares", "preparing", 0],
    ["when all is ready", "ready", 0],
    ["when the switch is armed", "armed", 1],
    ["when the switch is written down", "committed", 1],
    ["when one role has switched", "half", 1],
    ["when both have", "switched", 1],
  ])("%s", async (_what, step, generation) => {
    const folder = await makeFolder();
    await killedAt(folder, step);
    const site = sites.open(folder);
    // What was prepared stays so: whoever asked for it asks again.
    const state = await site.until(
      (now) => now.generation === generation && (now.phase === "steady" || now.prepared?.ready === true),
    );
    if (state.phase === "preparing" && step !== "armed") {
      expect(state.prepared).toEqual({ generation: 1, ready: true });
      await site.driver.rollback(1);
    }
    await site.until(steady(generation));
    expect(await shares(site)).toEqual(generation === 0 ? [60, 40] : [50, 30]);
    await site.until(() => workers(site).length === 2);
    const { iteration } = site.turn("decode");
    await site.until(() => site.turn("decode").iteration > iteration + 10);
    const left = readdirSync(site.workersDir).filter((file) => !file.endsWith(".sock"));
    expect(left).toHaveLength(5);
  });

  test("as often as you like: the workers are never without a holder for good", async () => {
    const folder = await makeFolder();
    for (const step of ["starting", "ready", "committed"]) await killedAt(folder, step);
    const site = sites.open(folder);
    await site.until(steady(1));
    expect(await shares(site)).toEqual([50, 30]);
  });
});

test("what a killed agent left half done neither stops the next one nor outlives it", async () => {
  const folder = await makeFolder();
  const workersDir = join(folder, "workers");
  // Killed while it looked whether the rank is free, and in the middle of two writes.
  const lock = join(workersDir, "chat~0.sock.lock");
  mkdirSync(lock, { recursive: true });
  const justNow = new Date(Date.now() + 200);
  utimesSync(lock, justNow, justNow);
  const half = ["chat~supervisor.json.fulcrum-17-3", "chat~resident-0.json.fulcrum-17-4"];
  for (const file of half) writeFileSync(join(workersDir, file), "{");
  // Of an instance whose name begins like this one's.
  writeFileSync(join(workersDir, "chat-2~supervisor.json.fulcrum-17-5"), "{");
  const site = sites.open(folder);
  await site.until(steady(0));
  await site.until(() => workers(site).length === 2);
  const left = readdirSync(workersDir).filter((file) => !file.includes("worker-"));
  expect(left.sort()).toEqual(["chat-2~supervisor.json.fulcrum-17-5", "chat~0.sock", "chat~supervisor.json"]);
});

test("of agents that start at the same time on one rank exactly one has it", async () => {
  const folder = await makeSiteFolder();
  const started = [0, 1, 2, 3].map(() => sites.open(folder));
  const codes = await Promise.all(
    started.map((site) =>
      site.driver.probe().then(
        () => "has it",
        (error: { code?: string }) => error.code,
      ),
    ),
  );
  expect(codes.filter((code) => code === "has it")).toHaveLength(1);
  expect(codes.filter((code) => code === "rank_claimed")).toHaveLength(3);
  const owner = started[codes.indexOf("has it")];
  await owner?.until(steady(0));
  expect(readdirSync(join(folder, "turn-0")).filter((file) => file.startsWith("decode."))).toHaveLength(1);
});
