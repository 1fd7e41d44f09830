/** The demo's temporary folder, marked with its process, so that the next demo can clear away what a kill -9 left. */
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { temporaryDataDir } from "@fulcrum/embedded/default-data-dir.js";
import { isServerOf, processBirth } from "@fulcrum/embedded/process-table.js";
import { z } from "zod";

const MARK = "demo.json";
const mark = z.object({ pid: z.int().min(1), birth: z.string() });

/** A fresh folder. The caller removes it. */
export async function demoFolder(): Promise<string> {
  const folder = await temporaryDataDir();
  const own = { pid: process.pid, birth: (await processBirth(process.pid)) ?? "" };
  writeFileSync(join(folder, MARK), JSON.stringify(own), { mode: 0o600 });
  return folder;
}

/**
 * Removes the folders of demos whose process has ended, as far as they are this user's own; returns how many. What
 * cannot be read or removed stays: the next demo tries again.
 */
export async function removeDeadDemos(parent = tmpdir()): Promise<number> {
  let removed = 0;
  for (const name of readdirSync(parent)) {
    const folder = join(parent, name);
    if (!name.startsWith("fulcrum-") || !(await isDeadDemo(folder))) continue;
    try {
      rmSync(folder, { recursive: true, force: true });
      removed += 1;
    } catch {
      // Something still writes there, or it is not all ours.
    }
  }
  return removed;
}

async function isDeadDemo(folder: string): Promise<boolean> {
  try {
    const about = lstatSync(folder);
    // Others may write to the temporary folder too: only what is ours is believed.
    if (!about.isDirectory() || about.uid !== process.getuid?.()) return false;
    const { pid, birth } = mark.parse(JSON.parse(readFileSync(join(folder, MARK), "utf8")));
    if ((await processBirth(pid)) === birth) return false;
    return !(await postgresRuns(join(folder, "postgres", "pgdata")));
  } catch {
    // No demo's, or one that has just begun or ended.
    return false;
  }
}

/** After a kill -9 Postgres takes a moment to end. */
async function postgresRuns(cluster: string): Promise<boolean> {
  const file = join(cluster, "postmaster.pid");
  if (!existsSync(file)) return false;
  const pid = Number(readFileSync(file, "utf8").split("\n")[0]);
  return Number.isInteger(pid) && pid > 0 && (await isServerOf(pid, cluster));
}
