/** `fulcrum demo`: four engines with the same arrivals side by side, in a folder that is gone afterwards. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ApiClient } from "../api/client.js";
import { failed } from "../failure.js";
import { printLine, type Io } from "../io.js";
import { agentConfigText, ensureAgentKey } from "../local/agent-config.js";
import { Interrupted, onInterrupt } from "../local/interrupt.js";
import { startAgent, startController, startDatabase, startEngine, type Engine } from "../local/services.js";
import { Stack } from "../local/stack.js";
import { makeFolder, newKey, statePaths, writePrivate } from "../local/state-folder.js";
import { untilEnd } from "../local/until-end.js";
import { tellFigures } from "./closing.js";
import { scrapeCounts } from "./engine-counts.js";
import { fetchRows, laneFigures, type DemoFigures } from "./figures.js";
import { LANES, lanePool, type Lane } from "./lanes.js";
import { liveLines } from "./live-view.js";
import { blankView, observeLanes, type LaneView } from "./observe-lanes.js";
import { pacingOf } from "./pacing.js";
import { demoFolder, removeDeadDemos } from "./demo-folder.js";
import { openScreen } from "./screen.js";
import { PREPARE_MS, type DemoSetting } from "./setting.js";
import { verdictOf } from "./verdict.js";

export interface DemoOptions extends DemoSetting {
  readonly jsonFile?: string;
  readonly keep: boolean;
}

/** The engines are told to start this much later, so that all of them are up by then. */
const START_IN_MS = 6_000;
const REDRAW_MS = 500;
/** Once a second, as often as windows come at most speeds. */
const OBSERVE_EVERY = 2;
const AGENT = "demo";

interface Run {
  readonly folder: string;
  readonly databaseUrl: string;
  readonly api: ApiClient;
  readonly adminKey: string;
  readonly lanes: readonly { readonly lane: Lane; readonly engine: Engine }[];
  /** When the load begins, and before that when the engines' processes were started. */
  readonly startAtMs: number;
  readonly enginesAtMs: number;
}

/** @throws CliFailure when a part fails or the person stops it; everything has been stopped then. */
export async function runDemo(io: Io, options: DemoOptions): Promise<void> {
  const interrupt = onInterrupt(io);
  const dead = await removeDeadDemos();
  if (dead > 0) io.stderr.write(`removed the folders that killed demos had left: ${dead}\n`);
  const folder = await demoFolder();
  const stack = new Stack();
  const halt = new AbortController();
  const signal = AbortSignal.any([interrupt.signal, halt.signal]);
  const ended = untilEnd(stack, interrupt.signal);
  const playing = play(io, options, stack, folder, signal);
  // After a failure elsewhere its own end is of no interest.
  playing.catch(() => undefined);
  try {
    const run = await Promise.race([playing, ended]);
    if (options.keep) {
      printKept(io, run);
      await ended;
    }
  } catch (error) {
    // Ctrl-C while all is kept running is how it is meant to end.
    if (!(error instanceof Interrupted) || !(await settledWell(playing))) throw error;
  } finally {
    halt.abort();
    await playing.catch(() => undefined);
    await stack.stop();
    rmSync(folder, { recursive: true, force: true });
    interrupt.release();
  }
}

/** Runs the demo to its closing table. */
async function play(
  io: Io,
  options: DemoOptions,
  stack: Stack,
  folder: string,
  signal: AbortSignal,
): Promise<Run> {
  const run = await startAll(io, options, stack, folder, signal);
  await watch(io, options, run, signal);
  const figures = await collect(options, run, signal);
  tellFigures(io, figures, options.jsonFile);
  return run;
}

function settledWell(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

async function startAll(
  io: Io,
  options: DemoOptions,
  stack: Stack,
  folder: string,
  signal: AbortSignal,
): Promise<Run> {
  const say = (what: string) => {
    signal.throwIfAborted();
    io.stderr.write(`starting ${what}\n`);
  };
  const paths = statePaths(folder);
  makeFolder(paths.logs);
  makeFolder(paths.agentState);
  say("Postgres");
  const databaseUrl = await startDatabase(stack, { dataDir: paths.postgres, logs: paths.logs });
  say("the controller");
  const adminKey = newKey();
  const url = await startController(stack, { databaseUrl, adminKey, port: 0, logs: paths.logs, signal });
  const api = new ApiClient({ url, key: adminKey });
  const pacing = pacingOf(options.speed);
  for (const lane of LANES) await api.call("createPool", { body: lanePool(lane, options.slo, pacing) });
  await ensureAgentKey(api, AGENT, paths.agentKey);

  say("four engines and the agent");
  const enginesAtMs = Date.now();
  const startAtMs = enginesAtMs + START_IN_MS;
  const engines = await startEngines(stack, options, { folder, logs: paths.logs, startAtMs, signal });
  const config = agentConfigText({
    agent: AGENT,
    controllerUrl: url,
    keyFile: paths.agentKey,
    stateDir: paths.agentState,
    windowMs: pacing.windowMs,
    instances: engines.map((engine) => ({ engine, pool: engine.name })),
  });
  writePrivate(paths.agentConfig, config);
  await startAgent(stack, { configFile: paths.agentConfig, logs: paths.logs, signal });
  if (Date.now() > startAtMs) {
    io.stderr.write("this machine was slow to start: the engines ran a moment before the agent watched\n");
  }
  io.stderr.write(`to watch it in a browser: ${pageUrl({ api, adminKey })}\n`);
  const lanes = LANES.flatMap((lane) => {
    const engine = engines.find(({ name }) => name === lane.name);
    return engine === undefined ? [] : [{ lane, engine }];
  });
  return { folder, databaseUrl, api, adminKey, lanes, startAtMs, enginesAtMs };
}

async function startEngines(
  stack: Stack,
  options: DemoOptions,
  place: { folder: string; logs: string; startAtMs: number; signal: AbortSignal },
): Promise<Engine[]> {
  const { slo, speed, seed, load } = options;
  const flags = [
    ...load.flags,
    `--seed=${seed}`,
    `--speed=${speed}`,
    `--prepare-ms=${PREPARE_MS}`,
    "--fine-buckets",
    `--start-at=${place.startAtMs}`,
    `--slo-ttft-ms=${slo.ttft.boundMs}`,
    `--slo-tpot-ms=${slo.tpot.boundMs}`,
  ];
  const starts = LANES.map((lane, i) =>
    startEngine(stack, {
      name: lane.name,
      socket: join(place.folder, `${i}.sock`),
      initial: lane.initial,
      flags,
      logs: place.logs,
      signal: place.signal,
    }),
  );
  // All have joined the stack, or failed, before the first failure is told.
  const settled = await Promise.allSettled(starts);
  for (const result of settled) if (result.status === "rejected") throw result.reason;
  if (Date.now() > place.startAtMs) {
    throw failed(
      `the engines were not ready within ${START_IN_MS / 1_000} s, so their arrivals would differ`,
      ["Try again when this machine is less busy."],
    );
  }
  return settled.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
}

/** Draws until the time is over; observes the lanes beside. */
async function watch(io: Io, options: DemoOptions, run: Run, signal: AbortSignal): Promise<void> {
  const { durationS, speed, slo } = options;
  const screen = openScreen(io);
  let views: readonly LaneView[] = LANES.map(blankView);
  let observing: Promise<void> | null = null;
  const observe = async () => {
    // A late answer costs a frame's news, not the demo: a part that has died is told by the stack.
    views = await observeLanes(run.api, run.lanes, slo, signal).catch(() => views);
    observing = null;
  };
  try {
    for (let frame = 0; ; frame += 1) {
      const elapsedS = (Date.now() - run.startAtMs) / 1_000;
      if (elapsedS >= durationS) break;
      if (frame % OBSERVE_EVERY === 0) observing ??= observe();
      screen.draw((width) =>
        liveLines({ elapsedS, durationS, speed, slo, lanes: views, nowMs: Date.now() }, width),
      );
      // The counters are read when the time is over, not up to a frame later.
      await pause(Math.min(REDRAW_MS, 1_000 * (durationS - elapsedS)), signal);
    }
  } finally {
    screen.close();
  }
}

async function collect(options: DemoOptions, run: Run, signal: AbortSignal): Promise<DemoFigures> {
  // The counters of all lanes first, at the same moment; the rows can wait.
  const counts = await Promise.all(run.lanes.map(({ engine }) => scrapeCounts(engine.metricsUrl, signal)));
  const lanes = [];
  for (const [i, { lane }] of run.lanes.entries()) {
    const count = counts[i];
    if (count === undefined) continue;
    lanes.push(laneFigures(lane.name, count, await fetchRows(run.api, lane.name), run.enginesAtMs));
  }
  return {
    time: "real",
    startedAt: new Date(run.startAtMs).toISOString(),
    durationS: options.durationS,
    speed: options.speed,
    seed: options.seed,
    load: options.load.name,
    slo: options.slo,
    lanes,
    verdict: verdictOf(lanes),
  };
}

function printKept(io: Io, run: Run): void {
  const lines = [
    "",
    "Everything still runs, until Ctrl-C:",
    `  page       ${pageUrl(run)}`,
    `  API        ${run.api.url}`,
    `  docs       ${run.api.url}/docs`,
    `  key        ${run.adminKey}`,
    `  CLI        FULCRUM_URL=${run.api.url} FULCRUM_KEY=${run.adminKey} npx fulcrum decisions list`,
    `  database   psql '${run.databaseUrl}'`,
    `  logs       ${statePaths(run.folder).logs}`,
  ];
  for (const line of lines) printLine(io, line);
}

/** Signed in already: the page takes the key out of its address. */
function pageUrl({ api, adminKey }: Pick<Run, "api" | "adminKey">): string {
  return `${api.url}/#key=${adminKey}`;
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}
