/** Replaces a small file as a whole: a reader, or a crash, sees the old text or the new one. */
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { DriverError } from "../partition-driver.js";

let written = 0;

/**
 * Writes beside the file, syncs, renames, syncs the folder. `mode` is used as it is, whatever the umask.
 * @throws DriverError `disk_full` (ENOSPC, EDQUOT; may pass), `permission_denied`, `file_unwritable`; the old file is
 * as it was
 */
export async function replaceFile(path: string, text: string, mode = 0o600): Promise<void> {
  const beside = besideOf(path);
  try {
    await mkdir(dirname(path), { recursive: true });
    const handle = await open(beside, "w", mode);
    try {
      await handle.chmod(mode);
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(beside, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw fileError(path, error as NodeJS.ErrnoException);
  }
}

/** The same with everything else standing still, for state that must not change under the write. */
export function replaceFileSync(path: string, text: string): void {
  const beside = besideOf(path);
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(beside, text, { mode: 0o600, flush: true });
    renameSync(beside, path);
    const folder = openSync(dirname(path), "r");
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch (error) {
    rmSync(beside, { force: true });
    throw fileError(path, error as NodeJS.ErrnoException);
  }
}

/** Of its own: the agent that closes and the one that comes next may both be at it. */
function besideOf(path: string): string {
  written += 1;
  return `${path}.fulcrum-${process.pid}-${written}`;
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function fileError(path: string, error: NodeJS.ErrnoException): DriverError {
  const text = `${path}: ${error.message}`;
  if (error.code === "ENOSPC" || error.code === "EDQUOT") return new DriverError("disk_full", text, true);
  if (error.code === "EACCES" || error.code === "EPERM" || error.code === "EROFS") {
    return new DriverError("permission_denied", text, false);
  }
  return new DriverError("file_unwritable", text, true);
}
