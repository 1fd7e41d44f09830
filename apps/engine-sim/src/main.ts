#!/usr/bin/env node
import { randomUUID } from "node:crypto";
import { pino, type Logger } from "pino";
import { SimulatorInputError } from "@fulcrum/simulator/input-check.js";
import { listenControl } from "./control-server.js";
import { Engine } from "./engine.js";
import { listenHttp } from "./http-server.js";
import { loadProfile, openArrivals } from "./input-files.js";
import { EngineMetrics } from "./metrics.js";
import { HELP, OptionError, parseOptions, type EngineOptions } from "./options.js";

const TICK_MS = 10;
/** A lag is worth a line in the log from here on, and then at most every LAG_LOG_MS. */
const LAG_WALL_MS = 1000;
const LAG_LOG_MS = 10_000;

async function run(options: EngineOptions): Promise<void> {
  const log = pino({ name: options.name }, pino.destination({ dest: 2, sync: true }));
  const bootId = randomUUID();
  const profile = loadProfile(options.profile);
  const arrivals = openArrivals(options);
  const metrics = new EngineMetrics(profile, options.fineBuckets, options.slo, options.tellsClasses);
  const clock = createClock(options.startAtMs ?? Date.now(), options.speed);
  const engine = new Engine({
    profile,
    initial: options.initial,
    arrivals: arrivals.requests,
    speed: options.speed,
    prepareMs: options.prepareMs,
    bootMs: options.startAtMs === null ? 0 : Math.max(0, clock()),
    clock,
    onEvents: (events) => metrics.record(events),
    onSubmit: (request) => metrics.submitted(request),
  });
  // HTTP first: should its port be taken, no socket file is left behind.
  const http = await listenHttp(options.host, options.port, {
    contentType: metrics.contentType,
    render: () => {
      // Brought up to the present first.
      engine.advance();
      return metrics.expose(engine.state());
    },
  });
  const control = await listenControl(options.socket, {
    engine,
    profile,
    prepareMs: options.prepareMs,
    bootId,
  });
  const ticker = startTicking(engine, options.speed, log);

  let stopping = false;
  const stop = (why: string): void => {
    if (stopping) return;
    stopping = true;
    clearInterval(ticker);
    log.info({ why, engineTimeMs: Math.round(engine.state().nowMs) }, "stopping");
    // Closing the control server removes its socket file; what clients still have open goes with the process.
    http.server.close();
    control.close();
    process.exitCode = 0;
    setImmediate(() => process.exit());
  };
  process.once("SIGTERM", () => stop("SIGTERM"));
  process.once("SIGINT", () => stop("SIGINT"));
  if (options.exitWithParent) {
    process.stdin.once("end", () => stop("standard input ended"));
    process.stdin.once("close", () => stop("standard input closed"));
    process.stdin.once("error", () => stop("standard input failed"));
    process.stdin.resume();
  }
  const about = { ...arrivals.about, skippedArrivals: engine.skippedArrivals };
  log.info({ ...about, profile: profile.name, seed: options.seed, speed: options.speed, bootId }, "ready");
  const ready = { event: "ready", port: http.port, socket: options.socket, name: options.name, bootId };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

/** Milliseconds of engine time; follows the monotonic clock, so that a step of the wall clock moves nothing. */
function createClock(startAtMs: number, speed: number): () => number {
  const behindMs = Date.now() - performance.now() - startAtMs;
  return () => (performance.now() + behindMs) * speed;
}

/** Ticks are for the engine's own progress; every scrape and control request brings it up to date as well. */
function startTicking(engine: Engine, speed: number, log: Logger): NodeJS.Timeout {
  let loggedAtMs = Number.NEGATIVE_INFINITY;
  return setInterval(() => {
    const missingMs = engine.advance() / speed;
    const nowMs = performance.now();
    if (missingMs < LAG_WALL_MS || nowMs - loggedAtMs < LAG_LOG_MS) return;
    loggedAtMs = nowMs;
    log.warn({ behindMs: Math.round(missingMs) }, "behind the clock; catching up a second per tick");
  }, TICK_MS);
}

/** The engine in one process, or a part of one in several (docs/engine-sim-workers.md). */
async function runCommand(args: readonly string[]): Promise<void> {
  if (args[0] === "resident") {
    const { parseResidentOptions, RESIDENT_HELP } = await import("./workers/resident-options.js");
    const { runResident } = await import("./workers/resident.js");
    const options = parseResidentOptions(args.slice(1), process.env);
    if (options === "help") process.stdout.write(RESIDENT_HELP);
    else await runResident(options);
  } else if (args[0] === "worker") {
    const { parseWorkerOptions, WORKER_HELP } = await import("./workers/worker-options.js");
    const { Worker } = await import("./workers/worker.js");
    const options = parseWorkerOptions(args.slice(1), process.env);
    if (options === "help") process.stdout.write(WORKER_HELP);
    else new Worker(options).start();
  } else {
    const options = parseOptions(args, Date.now());
    if (options === "help") process.stdout.write(HELP);
    else await run(options);
  }
}

try {
  await runCommand(process.argv.slice(2));
} catch (error) {
  // 2: the command line or an input file is wrong; 1: everything else.
  const wrongInput = error instanceof OptionError || error instanceof SimulatorInputError;
  process.stderr.write(`engine-sim: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(wrongInput ? 2 : 1);
}
