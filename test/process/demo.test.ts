import { spawnSync } from "node:child_process";
import { chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";

import type { DemoFigures } from "@fulcrum/cli/demo/figures.js";
import { temporaryDataDir } from "@fulcrum/embedded/default-data-dir.js";
import { afterEach, beforeEach, expect, test } from "vitest";

import { fulcrum } from "./support/fulcrum.js";
import { FULCRUM, NodeProcess } from "./support/node-process.js";
import { ProcessTree } from "./support/process-tree.js";
import { until } from "./support/until.js";

const LANES = 4;
/** As a shell tells of Ctrl-C. */
const INTERRUPTED = 130;
/**
 * Lanes whose attainment in virtual time differs by less than this share may swap in real time. Measured on ORDER_LOAD
 * over several runs: fixed splits came out the same, search within 0.04 and feedback within 0.05, since a decision that
 * falls a little earlier or later leads elsewhere.
 */
const MARGIN = 0.1;

/** The user that every system has. */
const NOBODY = { uid: 65_534, gid: 65_534 };

let folder: string;
/** The demo's temporary folder lies here; nothing else does. */
let temporary: string;
let demo: NodeProcess | undefined;
let tree: ProcessTree | undefined;

beforeEach(async () => {
  folder = await temporaryDataDir();
  temporary = join(folder, "tmp");
  // Root's Postgres runs as another user, who must be able to pass through.
  mkdirSync(temporary, { mode: 0o755 });
});
afterEach(async () => {
  await demo?.kill();
  await tree?.killAll();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

function start(args: readonly string[], as?: { uid: number; gid: number }): void {
  demo = NodeProcess.launch({
    script: FULCRUM,
    args: ["demo", ...args],
    env: { TMPDIR: temporary, HOME: folder },
    ownGroup: true,
    cwd: folder,
    ...(as === undefined ? {} : { as }),
  });
  tree = new ProcessTree(demo.pid, temporary);
}

/** Until engines, agent, controller and Postgres are there. */
async function running(): Promise<void> {
  await until(
    "all parts run",
    async () => {
      if (demo?.running !== true) throw new Error(`the demo ended: ${demo?.stderr ?? ""}`);
      await tree?.look();
      const parts = [
        "engine-sim/dist/main.js",
        "agent/dist/main.js",
        "controller/dist/main.js",
        "bin/postgres",
      ];
      const counts = parts.map((part) => tree?.count(part) ?? 0);
      return counts[0] === LANES && counts.slice(1).every((count) => count >= 1);
    },
    60_000,
  );
}

function figuresOf(file: string): DemoFigures {
  return JSON.parse(readFileSync(file, "utf8")) as DemoFigures;
}

function decisionsIn({ lanes }: DemoFigures): number {
  return lanes
    .flatMap(({ moves, holds }) => [...Object.values(moves), ...Object.values(holds)])
    .reduce((sum, count) => sum + count, 0);
}

test("ends by itself with the closing table, its figures in a file, and nothing left behind", async () => {
  const file = join(folder, "figures.json");
  start(["--duration", "15", "--json", file]);
  await running();
  expect(await demo?.end(60_000)).toEqual({ code: 0, signal: null });
  const text = demo?.stdout ?? "";
  for (const words of [
    "After 15 s",
    "within both bounds",
    "goodput",
    "first decision after",
    "fixed-50-50",
    "open-100-100",
    "feedback",
    "search",
  ])
    expect(text).toContain(words);
  const figures = figuresOf(file);
  expect(text).toContain(figures.verdict);
  expect(decisionsIn(figures)).toBeGreaterThan(0);
  for (const lane of figures.lanes) {
    expect(lane.firstDecisionMs).not.toBeNull();
    expect(lane.firstDecisionMs).toBeLessThan(60_000);
    expect(lane.requests.finished).toBeGreaterThan(0);
  }
  // The same arrivals for all.
  const arrived = figures.lanes.map(({ requests }) => requests.arrived);
  expect(Math.max(...arrived) - Math.min(...arrived)).toBeLessThan(0.1 * Math.max(...arrived));
  await tree?.allGone();
  expect(readdirSync(temporary)).toEqual([]);
});

/** Both times of the same load: one round of its three phases, light enough that the policies make a difference. */
const ORDER_LOAD = ["--speed", "8", "--duration", "38", "--rate-scale", "0.8"];

test("ranks the lanes as virtual time does, and every decision comes out the same when it is run again", async () => {
  const virtualFile = join(folder, "virtual.json");
  const { code } = await fulcrum(["demo", "--virtual", ...ORDER_LOAD, "--json", virtualFile]);
  expect(code).toBe(0);
  const expected = byAttainment(figuresOf(virtualFile));
  const pairs = expected.flatMap((better, i) =>
    expected
      .slice(i + 1)
      .flatMap((worse) => (better.share - worse.share >= MARGIN ? [{ better, worse }] : [])),
  );
  // Otherwise this load tells nothing.
  expect(pairs.length).toBeGreaterThanOrEqual(4);

  const file = join(folder, "figures.json");
  start([...ORDER_LOAD, "--keep", "--json", file]);
  await running();
  await demo?.line((line) => line.startsWith("Everything still runs"), 90_000);
  const figures = figuresOf(file);
  const shares = new Map(byAttainment(figures).map(({ name, share }) => [name, share]));
  const swapped = pairs.filter(
    ({ better, worse }) => (shares.get(better.name) ?? 0) <= (shares.get(worse.name) ?? 1),
  );
  expect(swapped, JSON.stringify([expected, [...shares]])).toEqual([]);

  const search = figures.lanes.find(({ name }) => name === "search");
  expect(search?.reconfigurations.count).toBeGreaterThan(0);
  expect(search?.reconfigurations.p50Ms).not.toBeNull();
  const said = (title: string) =>
    new RegExp(`^ {2}${title} +(\\S+)$`, "m").exec(demo?.stdout ?? "")?.[1] ?? "";
  const env = { FULCRUM_URL: said("API"), FULCRUM_KEY: said("key") };
  const verified = await fulcrum(["decisions", "verify", "--pool", "search"], env);
  expect(verified.out + verified.err).toMatch(/checked [1-9]\d* decisions: 0 differ/);
  expect(verified.code).toBe(0);

  // Five minutes of engine time, with real moves: the policy that ran gives its decisions, another one a difference.
  const replayed = await fulcrum(
    ["replay", "--pool", "search", "--from", "10min", "--policy", "feedback"],
    env,
  );
  expect(replayed.out).toMatch(/checked [1-9]\d* decisions: 0 differ, so all come out exactly as they were/);
  expect(replayed.out).toMatch(/^Off by: .* attainment [+-]?[\d.]+ points/m);
  expect(replayed.out).toMatch(
    /^With feedback instead of search: attainment .* points, in the simulator, which is off by .* points on what did happen/m,
  );
  expect(replayed.code).toBe(0);

  // The end that was waited for is no interruption.
  demo?.signalGroup("SIGINT");
  expect(await demo?.end()).toEqual({ code: 0, signal: null });
  await tree?.allGone();
});

function byAttainment({ lanes }: DemoFigures): { name: string; share: number }[] {
  return lanes
    .map(({ name, attainmentShare }) => ({ name, share: attainmentShare ?? 0 }))
    .sort((a, b) => b.share - a.share);
}

/** A checkout in root's own home is closed to others, and so is what this test is about. */
const nobodyCanRead =
  process.getuid?.() === 0 &&
  spawnSync(process.execPath, [FULCRUM, "--version"], { ...NOBODY, cwd: "/" }).status === 0;

test.skipIf(process.getuid?.() === 0 && !nobodyCanRead)(
  "plays a recorded trace, as a user without any rights",
  async () => {
    const trace = join(folder, "trace.csv");
    const rows = Array.from({ length: 120 }, (_, i) => {
      const at = new Date(Date.UTC(2026, 0, 1) + i * 250)
        .toISOString()
        .replace("T", " ")
        .replace("Z", "0000");
      return `${at},${200 + ((i * 37) % 900)},${20 + ((i * 13) % 80)}`;
    });
    writeFileSync(trace, `TIMESTAMP,ContextTokens,GeneratedTokens\n${rows.join("\n")}\n`);
    const file = join(folder, "figures.json");
    if (nobodyCanRead) for (const path of [folder, temporary, trace]) chownSync(path, NOBODY.uid, NOBODY.gid);
    start(
      ["--duration", "5", "--trace", trace, "--trace-format", "azure", "--json", file],
      nobodyCanRead ? NOBODY : undefined,
    );
    await running();
    expect(await demo?.end(60_000)).toEqual({ code: 0, signal: null });
    const figures = figuresOf(file);
    expect(figures.load).toBe(trace);
    if (nobodyCanRead) expect(statSync(file).uid).toBe(NOBODY.uid);
    expect(decisionsIn(figures)).toBeGreaterThan(0);
    // Four requests a second, at four times the speed, for 5 s.
    for (const { requests } of figures.lanes) expect(requests.arrived).toBeGreaterThan(40);
    await tree?.allGone();
    expect(readdirSync(temporary)).toEqual([]);
  },
);

test("stopped by Ctrl-C in the middle: everything ends in order, and nothing is left", async () => {
  start([]);
  await running();
  await until("the first picture is drawn", () => demo?.stdout !== "");
  demo?.signalGroup("SIGINT");
  expect(await demo?.end()).toEqual({ code: INTERRUPTED, signal: null });
  expect(demo?.stderr).toContain("stopping");
  await tree?.allGone();
  expect(readdirSync(temporary)).toEqual([]);
});

test.each(["starting Postgres", "starting the controller"])(
  "stopped by Ctrl-C at “%s”: nothing is left",
  async (moment) => {
    start([]);
    await demo?.line((line) => line.startsWith(moment));
    await tree?.look();
    demo?.signalGroup("SIGINT");
    expect(await demo?.end()).toEqual({ code: INTERRUPTED, signal: null });
    await tree?.allGone();
    expect(readdirSync(temporary)).toEqual([]);
  },
);

test.each([null, "starting Postgres"])(
  "killed with kill -9 (at %j): nothing goes on running, and the next demo clears its folder away",
  async (moment) => {
    start([]);
    if (moment === null) await running();
    else {
      await demo?.line((line) => line.startsWith(moment));
      await tree?.look();
    }
    await demo?.kill();
    await tree?.allGone();
    const [left = ""] = readdirSync(temporary);
    expect(left).toMatch(/^fulcrum-/);

    start([]);
    await demo?.line((line) => line.startsWith("starting Postgres"));
    expect(readdirSync(temporary)).not.toContain(left);
    demo?.signalGroup("SIGINT");
    await demo?.end();
    await tree?.allGone();
    expect(readdirSync(temporary)).toEqual([]);
  },
);
