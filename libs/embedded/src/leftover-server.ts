import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { goneWithin, isServerOf, processBirth } from "./process-table.js";

/** Fast shutdown first, which keeps the data tidy; then immediate shutdown, after which the next start recovers. */
const STEPS: readonly { signal: NodeJS.Signals; limitMs: number }[] = [
  { signal: "SIGINT", limitMs: 15_000 },
  { signal: "SIGQUIT", limitMs: 10_000 },
];

/**
 * Stops a server that still runs in the cluster folder although nobody owns it (its keeper was killed),
 * and sees to it that a postmaster.pid left by kill -9 does not keep the next server from starting.
 * The caller holds the data folder's lock.
 * @throws Error naming the process when it does not end within 25 s.
 */
export async function stopLeftoverServer(cluster: string, log: (line: string) => void): Promise<void> {
  const file = join(cluster, "postmaster.pid");
  const text = await readFile(file, "utf8").catch(() => "");
  const pid = Number.parseInt(text, 10);
  if (!Number.isInteger(pid) || pid <= 0) return;
  if (!(await isServerOf(pid, cluster))) {
    if (pid !== process.pid && (await processBirth(pid)) !== undefined) await disown(file, text);
    return;
  }
  for (const { signal, limitMs } of STEPS) {
    log(`a server left over in ${cluster} still runs as process ${pid}: sending ${signal}`);
    if (!sent(pid, signal)) return;
    if (await goneWithin(async () => !(await isServerOf(pid, cluster)), limitMs)) return;
  }
  throw new Error(`The server left over in ${cluster} (process ${pid}) does not end. Stop it by hand.`);
}

/**
 * The number in the file now belongs to some other program, and Postgres would refuse to start because
 * of it. Our own number, which PG_GRANDPARENT_PID tells it to overlook, takes its place. The file's other
 * lines stay: by the shared memory key in them Postgres still notices backends of the old server.
 */
async function disown(file: string, text: string): Promise<void> {
  await writeFile(file, text.replace(/^\d+/, String(process.pid)));
}

function sent(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}
