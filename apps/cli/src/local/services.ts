/** Starts what one machine needs: Postgres, controller, engines, agent. Each joins the stack. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { failed } from "../failure.js";
import { ChildLog } from "./child-log.js";
import {
  childFailure,
  endWords,
  startChild,
  type Child,
  type ChildEnd,
  type ChildSpec,
} from "./processes.js";
import type { Stack } from "./stack.js";

/** Built beside us: the same folder seen from src and from dist. */
export function appMain(app: "controller" | "agent" | "engine-sim"): string {
  return fileURLToPath(new URL(`../../../${app}/dist/main.js`, import.meta.url));
}

/** Returns the connection URL, password included. */
export async function startDatabase(
  stack: Stack,
  options: { dataDir: string; logs: string },
): Promise<string> {
  const { startPostgres } = await import("@fulcrum/embedded/postgres.js");
  const log = new ChildLog(join(options.logs, "postgres.log"));
  try {
    const postgres = await startPostgres({
      dataDir: options.dataDir,
      database: "fulcrum",
      log: (line) => log.write(`${line}\n`),
    });
    const stop = async () => {
      await postgres.stop();
      log.close();
    };
    stack.add("Postgres", { ended: postgres.exited, stop }, () => childFailure("Postgres", "ended", log));
    return postgres.url;
  } catch (error) {
    log.close();
    throw failed(`Postgres did not start: ${(error as Error).message}`, log.tail());
  }
}

/** Returns the controller's address. */
export async function startController(
  stack: Stack,
  options: { databaseUrl: string; adminKey: string; port: number; logs: string; signal: AbortSignal },
): Promise<string> {
  const child = await startWatched(stack, options.signal, {
    name: "controller",
    script: appMain("controller"),
    args: ["--exit-with-parent"],
    env: {
      DATABASE_URL: options.databaseUrl,
      HOST: "127.0.0.1",
      PORT: String(options.port),
      FULCRUM_BOOTSTRAP_ADMIN_KEY: options.adminKey,
    },
    logFile: join(options.logs, "controller.log"),
  });
  return field(child, "url", "string");
}

export interface EngineOptions {
  readonly name: string;
  readonly socket: string;
  readonly initial: Allocation;
  /** Flags of the load, the speed and the start; the rest is set here. */
  readonly flags: readonly string[];
  readonly logs: string;
  readonly signal: AbortSignal;
}

export interface Engine {
  readonly name: string;
  readonly socket: string;
  readonly metricsUrl: string;
}

export async function startEngine(stack: Stack, options: EngineOptions): Promise<Engine> {
  const { split, kvQuotaPct } = options.initial;
  const initial = [split.prefillSmPct, split.decodeSmPct, kvQuotaPct].join(",");
  const child = await startWatched(stack, options.signal, {
    name: `engine ${options.name}`,
    script: appMain("engine-sim"),
    args: [
      `--name=${options.name}`,
      "--port=0",
      `--socket=${options.socket}`,
      `--initial=${initial}`,
      ...options.flags,
      "--exit-with-parent",
    ],
    logFile: join(options.logs, `engine-${options.name}.log`),
  });
  const port = field(child, "port", "number");
  return { name: options.name, socket: options.socket, metricsUrl: `http://127.0.0.1:${port}/metrics` };
}

export async function startAgent(
  stack: Stack,
  options: { configFile: string; logs: string; signal: AbortSignal },
): Promise<void> {
  await startWatched(stack, options.signal, {
    name: "agent",
    script: appMain("agent"),
    args: ["--config", options.configFile, "--exit-with-parent"],
    logFile: join(options.logs, "agent.log"),
  });
}

async function startWatched(stack: Stack, signal: AbortSignal, spec: ChildSpec): Promise<Child> {
  const child = await startChild(spec, signal);
  stack.add(spec.name, { ended: child.exited, stop: () => child.stop() }, (end) =>
    childFailure(spec.name, endWords(end as ChildEnd), child.log),
  );
  return child;
}

function field(child: Child, name: string, type: "string"): string;
function field(child: Child, name: string, type: "number"): number;
function field(child: Child, name: string, type: string): unknown {
  const value = child.ready[name];
  if (typeof value !== type) throw childFailure(child.name, `said ready without ${name}`, child.log);
  return value;
}
