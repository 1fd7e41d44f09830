/** `fulcrum agent doctor`: looks at a node as the agent would use it, and changes nothing. */
import { type AgentConfig, ConfigError, loadConfig } from "../config.js";
import { discoverGpus } from "../gpu/inventory.js";
import { findOnPath } from "../gpu/run-tool.js";
import { clientLimitOf } from "../mps/client-limit.js";
import { MpsControl } from "../mps/mps-control.js";
import { MpsError } from "../mps/mps-error.js";
import { type MpsPlace, mpsPlaceOf } from "../mps/mps-place.js";
import { fixesOf, judge } from "./checks.js";
import type { DoctorFacts, MpsAnswer, MpsDaemon, MpsFacts } from "./doctor-facts.js";
import type { DoctorReport } from "./doctor-report.js";
import { judgeDrivers } from "./drivers.js";
import {
  exists,
  mpsDaemons,
  nodeFacts,
  segmentFacts,
  sharedMemoryFacts,
  stateDirFacts,
} from "./local-facts.js";
import { kvcachedPlaces, partFacts } from "./part-facts.js";
import { controllerFacts, engineFacts } from "./reach.js";

export interface DoctorOptions {
  /** The agent's YAML; null: only the node is looked at. */
  readonly configPath: string | null;
  readonly env: NodeJS.ProcessEnv;
  readonly processTable?: string;
  readonly sharedMemory?: string;
}

const TOOL_TIMEOUT_MS = 5_000;
const CONTROL_TOOL = "nvidia-cuda-mps-control";
/** Where a daemon of a user is without CUDA_MPS_PIPE_DIRECTORY. */
const DEFAULT_PIPE_DIRECTORY = "/tmp/nvidia-mps";

export async function runDoctor(options: DoctorOptions): Promise<DoctorReport> {
  const { configPath, env, processTable = "/proc", sharedMemory = "/dev/shm" } = options;
  const { config, problem } = readConfig(configPath);
  const [gpus, mps, shm, stateDir, controller, engines, parts, segments, kfd] = await Promise.all([
    discoverGpus({ nvmlLibrary: config?.gpuWatch.nvmlLibrary, env, timeoutMs: TOOL_TIMEOUT_MS }),
    mpsFacts(config, env, processTable),
    sharedMemoryFacts(sharedMemory),
    config && stateDirFacts(config.stateDir),
    config && controllerFacts(config, env["FULCRUM_AGENT_KEY"]),
    config ? engineFacts(config) : [],
    config ? partFacts(config) : [],
    segmentFacts(sharedMemory, config ? kvcachedPlaces(config) : []),
    exists("/dev/kfd"),
  ]);
  const facts: DoctorFacts = {
    node: nodeFacts(),
    config: configPath === null ? null : { path: configPath, problem },
    gpus,
    rocm: { smi: findOnPath("rocm-smi", env), kfd },
    mps,
    sharedMemory: shm,
    stateDir,
    controller,
    engines,
    parts,
    segments,
  };
  const drivers = judgeDrivers(facts);
  const checks = judge(facts, drivers);
  const usable = checks.every(({ status }) => status !== "fail");
  return { version: 1, usable, checks, drivers, fixes: fixesOf(checks), facts };
}

function readConfig(path: string | null): { config: AgentConfig | null; problem: string | null } {
  if (path === null) return { config: null, problem: null };
  try {
    return { config: loadConfig(path), problem: null };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config: null, problem: error.message };
  }
}

async function mpsFacts(
  config: AgentConfig | null,
  env: NodeJS.ProcessEnv,
  processTable: string,
): Promise<MpsFacts> {
  const place = config && mpsPlaceOf(config);
  const daemons = await mpsDaemons(processTable);
  const environmentPipe = env["CUDA_MPS_PIPE_DIRECTORY"] || null;
  const where = wherePipe(place, environmentPipe, daemons);
  const tool = findOnPath(place?.tool ?? CONTROL_TOOL, env);
  const answer: MpsAnswer =
    tool === null
      ? { kind: "problem", code: "missing_binary", message: `${CONTROL_TOOL} is not on the PATH` }
      : await askMps({ protocol: "auto", timeoutMs: TOOL_TIMEOUT_MS, ...place, ...where.pipe, tool }, env);
  return { tool, ...where.pipe, pipeFrom: where.from, environmentPipe, daemons, answer };
}

function wherePipe(
  place: MpsPlace | null,
  environmentPipe: string | null,
  daemons: readonly MpsDaemon[],
): { pipe: { pipeDirectory: string }; from: MpsFacts["pipeFrom"] } {
  if (place) return { pipe: { pipeDirectory: place.pipeDirectory }, from: "config" };
  if (environmentPipe !== null) return { pipe: { pipeDirectory: environmentPipe }, from: "environment" };
  const running = daemons.find(({ pipeDirectory }) => pipeDirectory !== null)?.pipeDirectory;
  if (running) return { pipe: { pipeDirectory: running }, from: "running daemon" };
  return { pipe: { pipeDirectory: DEFAULT_PIPE_DIRECTORY }, from: "default" };
}

async function askMps(place: MpsPlace, env: NodeJS.ProcessEnv): Promise<MpsAnswer> {
  const mps = new MpsControl({ ...place, env, clientLimit: clientLimitOf(null, null) });
  try {
    return {
      kind: "answers",
      protocol: await mps.protocol(),
      serverPid: await mps.serverPid(),
      status: await mps.status(),
      clients: await mps.clientCount(),
      defaultPct: await mps.defaultActiveThreadPct(),
    };
  } catch (error) {
    if (!(error instanceof MpsError)) throw error;
    const { code, message } = error;
    return { kind: "problem", code, message: `${message} (${place.pipeDirectory})` };
  }
}
