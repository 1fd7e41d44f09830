#!/usr/bin/env node
/** `fulcrum` agent: node main.js --config agent.yaml [--status-port N] [--exit-with-parent] [--check-config] */
import { parseArgs } from "node:util";
import { pino } from "pino";
import { Agent } from "./agent.js";
import { type AgentConfig, ConfigError, loadConfig, readKey } from "./config.js";
import { startStatusServer, statusUrl } from "./status-server.js";

const USAGE =
  "usage: main.js --config <agent.yaml> [--status-port <port>] [--exit-with-parent] [--check-config]";
/** A stop waits for a report in flight; after this the process ends regardless. */
const STOP_LIMIT_MS = 15_000;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      config: { type: "string" },
      "status-port": { type: "string" },
      "exit-with-parent": { type: "boolean", default: false },
      "check-config": { type: "boolean", default: false },
    },
  });
  if (values.config === undefined) throw new ConfigError(USAGE);
  const config = loadConfig(values.config);
  const statusPort = values["status-port"] === undefined ? config.statusPort : portOf(values["status-port"]);
  readKey(config.controller.keyFile, process.env["FULCRUM_AGENT_KEY"]);
  if (values["check-config"]) {
    process.stdout.write(`${values.config} is valid: ${config.instances.length} instances\n`);
    return;
  }
  await run(config, statusPort, values["exit-with-parent"]);
}

async function run(config: AgentConfig, statusPort: number | null, exitWithParent: boolean): Promise<void> {
  const log = pino({ base: { agent: config.agent } }, pino.destination({ fd: 2, sync: true }));
  const agent = await Agent.create(config, log);
  const server = statusPort === null ? null : await startStatusServer(agent, statusPort);
  agent.start();

  let stopping = false;
  const stop = (why: string): void => {
    if (stopping) return;
    stopping = true;
    log.info({ event: "stopping", why });
    setTimeout(() => process.exit(1), STOP_LIMIT_MS).unref();
    server?.close();
    server?.closeAllConnections();
    agent.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ event: "stop_failed", error: String(error) });
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", () => stop("SIGTERM"));
  process.on("SIGINT", () => stop("SIGINT"));
  if (exitWithParent) {
    process.stdin.on("end", () => stop("stdin closed"));
    process.stdin.on("error", () => stop("stdin closed"));
    process.stdin.resume();
  }
  const ready = {
    event: "ready",
    agent: config.agent,
    pid: process.pid,
    statusUrl: server && statusUrl(server),
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

function portOf(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535 && text.trim() !== "") return port;
  throw new ConfigError(`--status-port must be 0..65535, got ${text}`);
}

main().catch((error: unknown) => {
  const known =
    error instanceof ConfigError || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS");
  process.stderr.write(`${known ? (error as Error).message : ((error as Error).stack ?? String(error))}\n`);
  process.exit(known ? 2 : 1);
});
