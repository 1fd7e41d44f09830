/** What the doctor finds on the node itself. Nothing here throws: what cannot be found is a fact too. */
import { constants } from "node:fs";
import { access, mkdir, open, readdir, readFile, rm, stat, statfs } from "node:fs/promises";
import { cpus, hostname, release, totalmem } from "node:os";
import { basename, join } from "node:path";
import { findSegments } from "../driver/kvcached/segment.js";
import { DriverError } from "../driver/partition-driver.js";
import type { MpsDaemon, NodeFacts, SegmentFacts, SharedMemoryFacts } from "./doctor-facts.js";

const SEGMENT_LOCK_MS = 200;
const CONTROL_TOOL = "nvidia-cuda-mps-control";
/** Words of a daemon's command line that are looked at. */
const MAX_ARGUMENTS = 32;

export function nodeFacts(): NodeFacts {
  return {
    hostname: hostname(),
    platform: process.platform,
    arch: process.arch,
    kernel: release(),
    cpuCount: cpus().length,
    memoryBytes: totalmem(),
    nodeVersion: process.version,
    uid: process.getuid?.() ?? null,
  };
}

export async function sharedMemoryFacts(path: string): Promise<SharedMemoryFacts> {
  const size = await statfs(path).catch(() => null);
  return {
    path,
    sizeBytes: size && size.blocks * size.bsize,
    freeBytes: size && size.bavail * size.bsize,
    problem: await writeProblem(path),
  };
}

/** Makes the folder if it is not there, as the agent would. */
export async function stateDirFacts(path: string): Promise<{ path: string; problem: string | null }> {
  const made = await mkdir(path, { recursive: true }).then(
    () => null,
    (error: Error) => error.message,
  );
  return { path, problem: made ?? (await writeProblem(path)) };
}

export async function segmentFacts(folder: string): Promise<SegmentFacts[]> {
  try {
    const found = await findSegments(folder, "kvcached_", SEGMENT_LOCK_MS);
    return found.map(({ name, fault, reading }) => ({
      name,
      limitBytes: reading?.limitBytes ?? null,
      usedBytes: reading?.usedBytes ?? null,
      problem: fault,
    }));
  } catch (error) {
    if (!(error instanceof DriverError)) throw error;
    return [];
  }
}

export function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}

/** MPS control daemons that run, from the process table. */
export async function mpsDaemons(processTable: string): Promise<MpsDaemon[]> {
  const names = await readdir(processTable).catch(() => []);
  const found = await Promise.all(
    names.filter((name) => /^\d+$/.test(name)).map((name) => daemonOf(processTable, name)),
  );
  return found.filter((daemon) => daemon !== null);
}

async function daemonOf(processTable: string, pid: string): Promise<MpsDaemon | null> {
  const folder = join(processTable, pid);
  const words = await zeroSeparated(join(folder, "cmdline"));
  // The second word where the tool is a script: its interpreter comes first.
  const at = words?.slice(0, 2).findIndex((word) => basename(word).startsWith(CONTROL_TOOL)) ?? -1;
  const flags = words?.slice(at + 1, MAX_ARGUMENTS) ?? [];
  if (at < 0 || !flags.some((flag) => /^(-d|-f|--daemon|--foreground)$/.test(flag))) return null;
  const owner = await stat(folder).catch(() => null);
  if (owner === null) return null;
  const environment = await zeroSeparated(join(folder, "environ"));
  const pipe = environment?.find((entry) => entry.startsWith("CUDA_MPS_PIPE_DIRECTORY="));
  return {
    pid: Number(pid),
    uid: owner.uid,
    pipeDirectory: environment && (pipe?.slice(pipe.indexOf("=") + 1) ?? (await defaultPipe(owner.uid))),
    multiUser: flags.some((flag) => /^(-m|--multiuser|-multiuser-server)$/.test(flag)),
    staticPartitions: flags.some((flag) => /^(-S|--static-partitioning)$/.test(flag)),
  };
}

/** Without CUDA_MPS_PIPE_DIRECTORY: root's daemon is in /run from release 615 on, every other in /tmp. */
async function defaultPipe(uid: number): Promise<string> {
  return uid === 0 && (await exists("/run/nvidia-mps/control")) ? "/run/nvidia-mps" : "/tmp/nvidia-mps";
}

async function zeroSeparated(path: string): Promise<string[] | null> {
  const text = await readFile(path, "utf8").catch(() => null);
  return text === null ? null : text.split("\0").filter((word) => word !== "");
}

/** Tries it: permissions do not tell of a full disk or a read-only mount. */
async function writeProblem(folder: string): Promise<string | null> {
  const path = join(folder, `.fulcrum-doctor-${process.pid}`);
  try {
    const file = await open(path, "wx", 0o600);
    try {
      await file.writeFile("fulcrum");
      await file.sync();
    } finally {
      await file.close();
      await rm(path, { force: true });
    }
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
