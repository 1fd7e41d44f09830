import { readFileSync } from "node:fs";

/** A process that cannot be mistaken for a later one with the same pid. */
export interface ProcessKey {
  readonly pid: number;
  /** Clock ticks since boot, from /proc; null on systems without it. */
  readonly startTicks: number | null;
}

export function processKey(pid: number): ProcessKey {
  return { pid, startTicks: statOf(pid)?.startTicks ?? null };
}

/** Whether that very process runs. A zombie does not: what it held is already gone. */
export function isAlive({ pid, startTicks }: ProcessKey): boolean {
  const stat = statOf(pid);
  if (stat !== null) {
    return (
      stat.state !== "Z" && stat.state !== "X" && (startTicks === null || stat.startTicks === startTicks)
    );
  }
  if (startTicks !== null) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Whether the process has the worker's id in its environment, as its children have; true on systems without /proc. */
export function wasStartedAs({ pid, startTicks }: ProcessKey, worker: string): boolean {
  if (startTicks === null) return true;
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(`FULCRUM_WORKER_ID=${worker}`);
  } catch {
    return false;
  }
}

/** Never throws; false when that process has gone. */
export function sendSignal(key: ProcessKey, signal: "SIGTERM" | "SIGKILL"): boolean {
  if (!isAlive(key)) return false;
  try {
    process.kill(key.pid, signal);
    return true;
  } catch {
    return false;
  }
}

function statOf(pid: number): { readonly state: string; readonly startTicks: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The command's name may hold spaces and brackets: the fields begin behind its last bracket.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0] ?? "?", startTicks: Number(fields[19]) };
  } catch {
    return null;
  }
}
