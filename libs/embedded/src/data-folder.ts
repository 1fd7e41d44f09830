import { chmod, mkdir, readdir, readFile, realpath, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

import { takeOwnerLock, type OwnerLock } from "./owner-lock.js";
import { chooseRunAs, closedFolderError, firstClosedFolder, type RunAs } from "./run-as.js";

/** Says that a folder is ours; without it we touch nothing in a folder that holds anything. */
const MARKER_FILE = "FULCRUM-POSTGRES.txt";
const MARKER_TEXT =
  "This folder belongs to Fulcrum's bundled Postgres: pgdata/ holds the data, postgres.password the\n" +
  "password of its user fulcrum. Remove the folder, with Fulcrum stopped, to lose all of it.\n";

/** A data folder that this process holds, and who runs Postgres in it. */
export interface DataFolder {
  readonly dataDir: string;
  /** Postgres' own data folder, inside; exists once initdb has finished. */
  readonly cluster: string;
  readonly passwordFile: string;
  readonly runAs: RunAs;
  readonly lock: OwnerLock;
}

/**
 * Makes or recognises the data folder, checks that Postgres' user can enter it, and takes its lock.
 * @throws Error naming the folder when it holds something else, cannot be entered or made, or is in use.
 */
export async function openDataFolder(wanted: string): Promise<DataFolder> {
  const folder = resolve(wanted);
  const runAs = await chooseRunAs(join(folder, "pgdata"));
  const closed = await firstClosedFolder(dirname(folder), runAs);
  if (closed !== undefined) throw await closedFolderError(folder, closed, runAs);

  await makeFolder(folder);
  await claim(folder);
  const self = await firstClosedFolder(folder, runAs);
  if (self !== undefined) throw await closedFolderError(folder, self, runAs);

  const dataDir = await realpath(folder);
  const lock = await takeOwnerLock(dataDir);
  return {
    dataDir,
    cluster: join(dataDir, "pgdata"),
    passwordFile: join(dataDir, "postgres.password"),
    runAs,
    lock,
  };
}

async function makeFolder(folder: string): Promise<void> {
  try {
    const first = await mkdir(folder, { recursive: true });
    if (first === undefined || process.getuid?.() !== 0) return;
    // Root's umask may be 077, which would keep Postgres' user out of the folders just made.
    for (let made = folder; made.length >= first.length; made = dirname(made)) await chmod(made, 0o711);
  } catch (error) {
    throw new Error(`The data folder ${folder} cannot be made: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

async function claim(folder: string): Promise<void> {
  const entries = await readdir(folder).catch((error: unknown) => {
    throw new Error(`The data folder ${folder} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  });
  if (entries.includes(MARKER_FILE)) return;
  if (entries.includes("PG_VERSION")) {
    const major = (await readFile(join(folder, "PG_VERSION"), "utf8")).trim();
    throw new Error(
      `The folder ${folder} is a Postgres ${major} data folder that Fulcrum did not make. ` +
        "Choose an empty or new folder, or run that server yourself and set DATABASE_URL.",
    );
  }
  if (entries.length > 0) {
    throw new Error(
      `The folder ${folder} is not empty and not a data folder of Fulcrum (it holds ${entries.slice(0, 3).join(", ")}). ` +
        "Choose an empty or new folder; nothing was changed.",
    );
  }
  try {
    await writeFile(join(folder, MARKER_FILE), MARKER_TEXT, { mode: 0o644 });
    // A folder handed to us empty may be mkdtemp's, mode 700: open it to Postgres' user.
    if (process.getuid?.() === 0) await chmod(folder, 0o711);
  } catch (error) {
    throw new Error(`The data folder ${folder} cannot be written: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
