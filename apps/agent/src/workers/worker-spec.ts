/** How a worker is started (docs/worker-protocol.md, "Start"). */
import { WORKER_PROTOCOL_VERSION, type WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { environmentOf, type ProcessSpec } from "./worker-process.js";

export interface WorkerCommand {
  readonly instance: string;
  /** `{rank}` and `{role}` are filled in, here and in `env`. */
  readonly command: readonly string[];
  readonly cwd: string | null;
  readonly env: Readonly<Record<string, string>>;
  /** FULCRUM_RESIDENT, with `{rank}`. */
  readonly residentAddress: string;
  /** The environment that gives a worker its share. */
  readonly shareEnv: (role: WorkerRole, smPct: number) => Readonly<Record<string, string>>;
}

export interface NewWorker {
  readonly id: string;
  readonly role: WorkerRole;
  readonly rank: number;
  readonly generation: number;
  readonly smPct: number;
}

export function workerSpec(
  of: WorkerCommand,
  worker: NewWorker,
  socketPath: string,
): Omit<ProcessSpec, "logFile"> {
  const { role, rank } = worker;
  const fill = (text: string): string => text.replaceAll("{rank}", String(rank)).replaceAll("{role}", role);
  const added = {
    ...Object.fromEntries(Object.entries(of.env).map(([name, value]) => [name, fill(value)])),
    ...of.shareEnv(role, worker.smPct),
    FULCRUM_WORKER_PROTOCOL: String(WORKER_PROTOCOL_VERSION),
    FULCRUM_WORKER_SOCKET: socketPath,
    FULCRUM_WORKER_ID: worker.id,
    FULCRUM_WORKER_ROLE: role,
    FULCRUM_WORKER_RANK: String(rank),
    FULCRUM_INSTANCE: of.instance,
    FULCRUM_GENERATION: String(worker.generation),
    FULCRUM_SM_PCT: String(worker.smPct),
    FULCRUM_RESIDENT: fill(of.residentAddress),
  };
  return { command: of.command.map(fill), cwd: of.cwd, env: environmentOf(process.env, added) };
}
