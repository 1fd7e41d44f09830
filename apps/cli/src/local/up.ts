/** `fulcrum up`: Fulcrum on one machine, until Ctrl-C, on a folder that it can be started on again. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { takeOwnerLock, type OwnerLock } from "@fulcrum/embedded/owner-lock.js";
import { UNCONTROLLED } from "@fulcrum/core/nouns.js";
import { ApiClient, Refusal, type ApiBody } from "../api/client.js";
import { CliFailure, failed } from "../failure.js";
import { printLine, type Io } from "../io.js";
import { agentConfigText, ensureAgentKey } from "./agent-config.js";
import { Interrupted, onInterrupt } from "./interrupt.js";
import { startAgent, startController, startDatabase, startEngine, type Engine } from "./services.js";
import { Stack } from "./stack.js";
import { untilEnd } from "./until-end.js";
import {
  dataDirOf,
  makeFolder,
  newKey,
  readRunning,
  readSecret,
  removeRunning,
  statePaths,
  writePrivate,
  writeRunning,
} from "./state-folder.js";

export interface UpOptions {
  readonly dataDir?: string;
  readonly port: number;
  readonly engines: number;
  readonly databaseUrl?: string;
}

const AGENT = "local";
const WINDOW_MS = 1_000;

/** The pool of the simulated engines; made at the first start, left as it is afterwards. */
const LOCAL_POOL: ApiBody<"createPool"> = {
  name: "local",
  model: "llama3-8b, simulated",
  mode: "enforce",
  slo: {
    ttft: { percentile: 0.9, boundMs: 500 },
    tpot: { percentile: 0.9, boundMs: 100 },
    attainmentShare: 0.9,
  },
};

/** Runs until a signal or until a part keeps failing; then everything has been stopped. @throws CliFailure */
export async function runUp(io: Io, options: UpOptions): Promise<void> {
  const dataDir = dataDirOf(io.env, options.dataDir);
  const paths = statePaths(dataDir);
  const lock = await lockFolder(dataDir, paths.running);
  const interrupt = onInterrupt(io);
  const sockets = socketFolder(dataDir);
  const stack = new Stack((name, why) => io.stderr.write(`${why.message}; starting ${name} again\n`));
  try {
    const url = await startAll(stack, { ...options, dataDir, sockets, signal: interrupt.signal });
    writeRunning(paths.running, { url, pid: process.pid, startedAtMs: io.now() });
    printSummary(io, url, dataDir, options);
    await untilEnd(stack, interrupt.signal);
  } catch (error) {
    if (error instanceof Interrupted) return;
    if (!(error instanceof CliFailure)) throw error;
    throw new CliFailure(error.exitCode, error.message, [...error.details, `logs: ${paths.logs}`]);
  } finally {
    removeRunning(paths.running);
    await stack.stop((name) => io.stderr.write(`stopping ${name}\n`));
    rmSync(sockets, { recursive: true, force: true });
    interrupt.release();
    await lock.release();
  }
}

/** In the data folder where the paths stay short enough for a Unix socket (103 bytes), else a temporary one. */
function socketFolder(dataDir: string): string {
  const folder = join(dataDir, "run");
  if (Buffer.byteLength(folder) > 90) return mkdtempSync(join(tmpdir(), "fulcrum-up-"));
  makeFolder(folder);
  return folder;
}

async function lockFolder(dataDir: string, runningFile: string): Promise<OwnerLock> {
  try {
    makeFolder(dataDir);
    return await takeOwnerLock(dataDir);
  } catch (error) {
    const other = existsSync(runningFile) ? readRunning(runningFile) : null;
    if (other === null) throw failed((error as Error).message);
    throw failed(`fulcrum up already runs on ${dataDir}: ${other.url}`, [
      `It is process ${other.pid}, since ${new Date(other.startedAtMs).toISOString()}.`,
      "Stop that one first, or choose another folder with --data-dir.",
    ]);
  }
}

interface Plan extends UpOptions {
  readonly dataDir: string;
  readonly sockets: string;
  readonly signal: AbortSignal;
}

async function startAll(stack: Stack, plan: Plan): Promise<string> {
  const { dataDir, signal } = plan;
  const paths = statePaths(dataDir);
  makeFolder(paths.logs);
  const databaseUrl =
    plan.databaseUrl ?? (await startDatabase(stack, { dataDir: paths.postgres, logs: paths.logs }));
  const adminKey = readSecret(paths.adminKey) ?? newKey();
  writePrivate(paths.adminKey, `${adminKey}\n`);
  const url = await startController(stack, {
    databaseUrl,
    adminKey,
    port: plan.port,
    logs: paths.logs,
    signal,
  });
  if (plan.engines === 0) return url;

  const admin = new ApiClient({ url, key: adminKey });
  await ensureLocalPool(admin);
  await ensureAgentKey(admin, AGENT, paths.agentKey);
  const engines: Engine[] = [];
  for (let i = 0; i < plan.engines; i += 1) {
    engines.push(
      await startEngine(stack, {
        name: `local-${i}`,
        socket: join(plan.sockets, `${i}.sock`),
        initial: UNCONTROLLED,
        flags: ["--fine-buckets", "--seed", String(i + 1)],
        logs: paths.logs,
        signal,
      }),
    );
  }
  makeFolder(paths.agentState);
  const config = agentConfigText({
    agent: AGENT,
    controllerUrl: url,
    keyFile: paths.agentKey,
    stateDir: paths.agentState,
    windowMs: WINDOW_MS,
    instances: engines.map((engine) => ({ engine, pool: LOCAL_POOL.name })),
  });
  writePrivate(paths.agentConfig, config);
  await startAgent(stack, { configFile: paths.agentConfig, logs: paths.logs, signal });
  return url;
}

async function ensureLocalPool(admin: ApiClient): Promise<void> {
  try {
    await admin.call("createPool", { body: LOCAL_POOL });
  } catch (error) {
    // It is there since an earlier start, perhaps changed: that is the operator's.
    if (!(error instanceof Refusal) || error.problem?.code !== "conflict") throw error;
  }
}

function printSummary(io: Io, url: string, dataDir: string, options: UpOptions): void {
  const paths = statePaths(dataDir);
  const { engines } = options;
  const flag = options.dataDir === undefined ? "" : `FULCRUM_DATA_DIR=${dataDir} `;
  const lines = [
    `Fulcrum is up: ${url}`,
    "",
    `  page               ${url}, sign in with the admin key`,
    `  API and its docs   ${url}/docs`,
    `  admin key          ${paths.adminKey} (fulcrum reads it by itself)`,
    `  data and logs      ${dataDir}`,
    `  database           ${options.databaseUrl === undefined ? "bundled Postgres" : "the one you named"}`,
    `  simulated engines  ${engines === 0 ? "none: start an agent with npx fulcrum agent --config agent.yaml" : engines}`,
    "",
    "Next, in another terminal:",
    `  ${flag}npx fulcrum instances list`,
    `  ${flag}npx fulcrum decisions list`,
    `  ${flag}npx fulcrum ${engines === 0 ? "pools create --help" : `slo set ${LOCAL_POOL.name} --ttft-ms 250`}`,
    "",
    "Ctrl-C stops everything; the data stays.",
  ];
  for (const line of lines) printLine(io, line);
}
