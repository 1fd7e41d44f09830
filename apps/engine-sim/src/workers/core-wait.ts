import { openSync, readSync } from "node:fs";

const buffer = Buffer.alloc(96);
/** undefined: not opened yet; null: the system has none. */
let schedstat: number | null | undefined;

/**
 * How long this process's main thread could have run and waited for a core, milliseconds since it began: what the machine
 * adds to a pause, apart from what the engine does in it. Linux: second field of /proc/<pid>/schedstat
 * (Documentation/scheduler/sched-stats). null where the system does not say.
 */
export function coreWaitedMs(): number | null {
  schedstat ??= open();
  if (schedstat === null) return null;
  const bytes = readSync(schedstat, buffer, 0, buffer.length, 0);
  const waitedNs = Number(buffer.toString("latin1", 0, bytes).split(" ")[1]);
  return Number.isFinite(waitedNs) ? waitedNs / 1e6 : null;
}

/** Of the system's monotonic clock, which all processes share; performance.now() begins with each. Milliseconds. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function open(): number | null {
  try {
    return openSync("/proc/self/schedstat", "r");
  } catch {
    return null;
  }
}
