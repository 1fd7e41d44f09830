/** Starts what one machine needs: Postgres, controller, engines, agent. Each joins the stack. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { CliFailure, failed } from "../failure.js";
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
    const start = (port?: number) =>
      startPostgres({
        dataDir: options.dataDir,
        database: "fulcrum",
        port,
        log: (line) => log.write(`${line}\n`),
      });
    const first = await start();
    const running = (postgres: typeof first) => ({ ended: postgres.exited, stop: () => postgres.stop() });
    // On the same port, so that everybody's connections find it again.
    const again = async () => running(await start(first.port));
    stack.add("Postgres", running(first), () => childFailure("Postgres", "ended", log), again);
    return first.url;
  } catch (error) {
    log.close();
    throw failed(`Postgres did not start: ${(error as Error).message}`, log.tail());
  }
}

/** Everything of a local stack speaks http on 127.0.0.1, whatever certificates this machine's own controller has. */
const HTTP_ONLY = { FULCRUM_TLS_CERT_FILE: "", FULCRUM_TLS_KEY_FILE: "", FULCRUM_TLS_AGENT_CA_FILE: "" };

/** Returns the controller's address. */
export async function startController(
  stack: Stack,
  options: { databaseUrl: string; adminKey: string; port: number; logs: string; signal: AbortSignal },
): Promise<string> {
  const onPort = (port: string): ChildSpec => ({
    name: "controller",
    script: appMain("controller"),
    args: ["--exit-with-parent"],
    env: {
      DATABASE_URL: options.databaseUrl,
      HOST: "127.0.0.1",
      PORT: port,
      FULCRUM_BOOTSTRAP_ADMIN_KEY: options.adminKey,
      ...HTTP_ONLY,
    },
    logFile: join(options.logs, "controller.log"),
  });
  const child = await startWatched(stack, options.signal, onPort(String(options.port)), (first) =>
    onPort(new URL(field(first, "url", "string")).port),
  );
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
  const onPort = (port: number): ChildSpec => ({
    name: `engine ${options.name}`,
    script: appMain("engine-sim"),
    args: [
      `--name=${options.name}`,
      `--port=${port}`,
      `--socket=${options.socket}`,
      `--initial=${initial}`,
      ...options.flags,
      "--exit-with-parent",
    ],
    logFile: join(options.logs, `engine-${options.name}.log`),
  });
  const child = await startWatched(stack, options.signal, onPort(0), (first) =>
    onPort(field(first, "port", "number")),
  );
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

/** `specAgain`: how it is started anew, at the address that the first one got. */
async function startWatched(
  stack: Stack,
  signal: AbortSignal,
  spec: ChildSpec,
  specAgain: (first: Child) => ChildSpec = () => spec,
): Promise<Child> {
  const running = (child: Child) => ({ ended: child.exited, stop: () => child.stop() });
  const child = await startChild(spec, signal);
  const explain = (end: unknown) =>
    end instanceof Error ? asFailure(end) : childFailure(spec.name, endWords(end as ChildEnd), child.log);
  const again = async () => running(await startChild(specAgain(child), signal));
  stack.add(spec.name, running(child), explain, again);
  return child;
}

function asFailure(error: Error): CliFailure {
  return error instanceof CliFailure ? error : failed(error.message);
}

function field(child: Child, name: string, type: "string"): string;
function field(child: Child, name: string, type: "number"): number;
function field(child: Child, name: string, type: string): unknown {
  const value = child.ready[name];
  if (typeof value !== type) throw childFailure(child.name, `said ready without ${name}`, child.log);
  return value;
}
