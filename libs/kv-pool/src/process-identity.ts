import { readFileSync, readlinkSync } from "node:fs";

/** Names a process beyond its number, which recurs. */
export interface ProcessIdentity {
  readonly pid: number;
  /** proc(5) field 22, clock ticks since boot; 0 where unknown (macOS, /proc hidden). */
  readonly start: number;
  /** Inode of its pid namespace, low 32 bits; 0 where unknown. A pid means nothing in another namespace. */
  readonly pidNamespace: number;
}

export function ownIdentity(): ProcessIdentity {
  return {
    pid: process.pid,
    start: readStat(process.pid)?.start ?? 0,
    pidNamespace: ownPidNamespace(),
  };
}

/**
 * Whether the process still runs. "unknown": it is of another pid namespace, so that nothing can be said from here.
 * A zombie is gone, once no thread of it is left. When in doubt a process is alive: its blocks are not taken.
 */
export function liveness(of: ProcessIdentity): "alive" | "gone" | "unknown" {
  const here = ownPidNamespace();
  if (of.pidNamespace !== 0 && here !== 0 && of.pidNamespace !== here) return "unknown";
  // 0 and below would ask about process groups; no owner writes that.
  if (of.pid <= 0) return "unknown";
  try {
    process.kill(of.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return "gone";
  }
  const stat = readStat(of.pid);
  // Not readable though it exists: /proc mounted with hidepid, or no /proc (macOS).
  if (stat === undefined) return "alive";
  if (of.start !== 0 && stat.start !== of.start) return "gone";
  return (stat.state === "Z" || stat.state === "X") && stat.threads <= 1 ? "gone" : "alive";
}

function readStat(pid: number): { state: string; threads: number; start: number } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // proc(5): the second field is the name in parentheses and may hold anything; what follows is field 3 on.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", threads: Number(fields[17]), start: Number(fields[19]) };
}

let pidNamespace: number | undefined;

function ownPidNamespace(): number {
  pidNamespace ??= readNamespace();
  return pidNamespace;
}

function readNamespace(): number {
  try {
    const inode = /\[(\d+)\]/.exec(readlinkSync("/proc/self/ns/pid"))?.[1];
    return Number(inode ?? 0) >>> 0;
  } catch {
    return 0;
  }
}
