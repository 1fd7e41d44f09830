import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { WORKER_PROTOCOL_VERSION, workerRole, type WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { deliveredSmPct } from "@fulcrum/simulator/profile.js";
import { numberFlag, OptionError } from "../options.js";

export interface WorkerOptions {
  /** The agent's socket. */
  readonly socket: string;
  readonly id: string;
  readonly role: WorkerRole;
  readonly rank: number;
  readonly generation: number;
  /** FULCRUM_SM_PCT, for the hello. */
  readonly smPct: number;
  /** What CUDA would give it: 100 where nothing caps it. */
  readonly cappedPct: number;
  readonly resident: string;
  readonly prepareMs: number;
  /** So long without an agent it stays, when it does not iterate. */
  readonly abandonMs: number;
  /** A file of faults to test with; null: none. */
  readonly faults: string | null;
}

/** As the protocol says, where FULCRUM_WORKER_ABANDON_S is not set. */
const ABANDON_S = 60;

export const WORKER_HELP = `engine-sim worker: iterates for an engine-sim resident; started by an agent (docs/worker-protocol.md)

  --prepare-ms N         engine time that attaching takes: model load, context, warm-up (default 2000)

The rest is in the environment that the worker protocol names. ENGINE_SIM_FAULTS: docs/engine-sim-workers.md.
`;

/** Throws OptionError. Returns "help" for --help. */
export function parseWorkerOptions(args: readonly string[], env: NodeJS.ProcessEnv): WorkerOptions | "help" {
  const flags = parseFlags(args);
  if (flags.help === true) return "help";
  const need = (name: string): string => {
    const value = env[name];
    if (value === undefined || value === "")
      throw new OptionError(`${name} must be set: an agent starts workers`);
    return value;
  };
  const numberOf = (name: string, min: number, max: number, whole: boolean): number => {
    const value = Number(need(name));
    if (value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
    throw new OptionError(
      `${name} must be ${whole ? "a whole number " : ""}${min}..${max}, got ${env[name]}`,
    );
  };
  numberOf("FULCRUM_WORKER_PROTOCOL", WORKER_PROTOCOL_VERSION, WORKER_PROTOCOL_VERSION, true);
  const role = workerRole.safeParse(need("FULCRUM_WORKER_ROLE"));
  if (!role.success) throw new OptionError("FULCRUM_WORKER_ROLE must be prefill or decode");
  const share = env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"];
  return {
    socket: need("FULCRUM_WORKER_SOCKET"),
    id: need("FULCRUM_WORKER_ID"),
    role: role.data,
    rank: numberOf("FULCRUM_WORKER_RANK", 0, 63, true),
    generation: numberOf("FULCRUM_GENERATION", 0, 2 ** 31 - 1, true),
    smPct: numberOf("FULCRUM_SM_PCT", 0.01, 100, false),
    cappedPct:
      share === undefined || hasNoDaemon(env)
        ? 100
        : numberOf("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", 0.01, 100, false),
    resident: need("FULCRUM_RESIDENT"),
    prepareMs: numberFlag("prepare-ms", flags["prepare-ms"] ?? "2000", 0, 3_600_000),
    abandonMs:
      1_000 *
      (env["FULCRUM_WORKER_ABANDON_S"] === undefined
        ? ABANDON_S
        : numberOf("FULCRUM_WORKER_ABANDON_S", 1, 86_400, false)),
    faults: env["ENGINE_SIM_FAULTS"] ?? null,
  };
}

/** The SMs that its context would see: whole TPCs of its share. */
export function smCountAt(profile: Profile, cappedPct: number): number {
  return Math.round((deliveredSmPct(profile, cappedPct) / 100) * profile.smCount);
}

/** As CUDA under a pipe directory with no daemon: the share is not looked at, and nothing is said. */
function hasNoDaemon(env: NodeJS.ProcessEnv): boolean {
  const directory = env["CUDA_MPS_PIPE_DIRECTORY"];
  return directory !== undefined && !existsSync(directory);
}

function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      strict: true,
      allowPositionals: false,
      options: { "prepare-ms": { type: "string" }, help: { type: "boolean" } },
    }).values;
  } catch (error) {
    throw new OptionError((error as Error).message);
  }
}
