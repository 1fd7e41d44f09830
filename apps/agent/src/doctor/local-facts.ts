/** What the doctor finds on the node itself. Nothing here throws: what cannot be found is a fact too. */
import { constants } from "node:fs";
import { access, readdir, readFile, stat, statfs } from "node:fs/promises";
import { cpus, hostname, release, totalmem } from "node:os";
import { basename, dirname, join } from "node:path";
import { findSegments } from "../driver/kvcached/segment.js";
import { DriverError } from "../partition-driver.js";
import type { MpsDaemon, NodeFacts, SegmentFacts, SharedMemoryFacts } from "./doctor-facts.js";

export interface KvcachedPlace {
  readonly folder: string;
  readonly segment: string;
}

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

/** A folder that is not there is the agent's to make: then the one above it counts. */
export async function stateDirFacts(path: string): Promise<{ path: string; problem: string | null }> {
  let there = path;
  while (!(await exists(there)) && dirname(there) !== there) there = dirname(there);
  const problem = await writeProblem(there);
  const where = there === path ? "" : `cannot be made: ${there}: `;
  return { path, problem: problem === null ? null : `${where}${problem}` };
}

/** All with kvcached's own names, and those that the configuration names. */
export async function segmentFacts(
  folder: string,
  configured: readonly KvcachedPlace[],
): Promise<SegmentFacts[]> {
  const own = configured.map((place) => ({
    folder: place.folder,
    prefix: place.segment.replace(/\*$/, ""),
    exact: !place.segment.endsWith("*"),
  }));
  const places = [{ folder, prefix: "kvcached_", exact: false }, ...own];
  const found = await Promise.all(places.map((place) => segmentsAt(place, folder)));
  const byName = new Map(found.flat().map((segment) => [segment.name, segment]));
  return [...byName.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

async function segmentsAt(
  place: { readonly folder: string; readonly prefix: string; readonly exact: boolean },
  shared: string,
): Promise<SegmentFacts[]> {
  try {
    const found = await findSegments(place.folder, place.prefix, SEGMENT_LOCK_MS);
    return found
      .filter(({ name }) => !place.exact || name === place.prefix)
      .map(({ name, fault, reading }) => ({
        name: place.folder === shared ? name : join(place.folder, name),
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

/** Nothing is written to find it out: permissions, a read-only mount, and whether there is room. */
async function writeProblem(folder: string): Promise<string | null> {
  try {
    if (!(await stat(folder)).isDirectory()) return "is not a folder";
    await access(folder, constants.W_OK | constants.X_OK);
    const { bavail, files, ffree } = await statfs(folder);
    if (bavail === 0) return "the disk is full";
    return files > 0 && ffree === 0 ? "the disk has no room for another file" : null;
  } catch (error) {
    return (error as Error).message;
  }
}
