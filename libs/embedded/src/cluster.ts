import { randomBytes } from "node:crypto";
import { chown, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { Binaries } from "./binaries.js";
import type { DataFolder } from "./data-folder.js";
import { keep } from "./keeper.js";
import { serverEnvironment, SUPERUSER } from "./server-settings.js";

/** initdb takes about 1 s here; a slow disk may need far longer, but not this long. */
const INITDB_LIMIT_MS = 120_000;
const HALF_MADE_PREFIX = "pgdata.new-";
const MAX_OUTPUT_LINES = 40;

/**
 * Makes the cluster where there is none, and returns its password. initdb works in a folder of another
 * name that gets its real name only when whole, so a crash in the middle leaves nothing that looks
 * finished; what it left is removed here.
 * @throws Error naming the folder when the cluster is of another major version, is damaged, has another
 * password than the one asked for, or when initdb fails.
 */
export async function ensureCluster(
  folder: DataFolder,
  binaries: Binaries,
  options: { password: string | undefined; log: (line: string) => void },
): Promise<string> {
  for (const name of await readdir(folder.dataDir)) {
    if (!name.startsWith(HALF_MADE_PREFIX)) continue;
    options.log(`removing ${name}, which an interrupted initdb left behind`);
    await rm(join(folder.dataDir, name), { recursive: true, force: true, maxRetries: 5 });
  }
  const contents = await readdir(folder.cluster).catch(absentIsEmpty);
  if (contents.length > 0) {
    await checkVersion(folder, contents, binaries);
    return existingPassword(folder, options.password);
  }
  const password = options.password ?? randomBytes(24).toString("base64url");
  await writePassword(folder, password);
  await initialise(folder, binaries, options.log);
  return password;
}

function absentIsEmpty(error: NodeJS.ErrnoException): string[] {
  if (error.code === "ENOENT") return [];
  throw error;
}

async function checkVersion(folder: DataFolder, contents: string[], binaries: Binaries): Promise<void> {
  if (!contents.includes("PG_VERSION")) {
    throw new Error(
      `The folder ${folder.cluster} has no PG_VERSION, so it is damaged. Restore it from a backup, ` +
        "or remove it to start afresh; nothing was changed.",
    );
  }
  const major = (await readFile(join(folder.cluster, "PG_VERSION"), "utf8")).trim();
  if (major === binaries.major) return;
  throw new Error(
    `The data in ${folder.cluster} was made by Postgres ${major}, and the bundled one is ${binaries.major}, ` +
      "which cannot read it. Run the Fulcrum release that made it and dump the data, or choose a new folder.",
  );
}

async function existingPassword(folder: DataFolder, asked: string | undefined): Promise<string> {
  let password: string;
  try {
    password = (await readFile(folder.passwordFile, "utf8")).trimEnd();
  } catch (error) {
    throw new Error(
      `The password of the data in ${folder.cluster} cannot be read: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
  if (asked === undefined || asked === password) return password;
  throw new Error(
    `The password asked for is not the one that ${folder.dataDir} was made with; that one is in ${folder.passwordFile}.`,
  );
}

async function writePassword(folder: DataFolder, password: string): Promise<void> {
  await rm(folder.passwordFile, { force: true });
  const file = await open(folder.passwordFile, "wx", 0o600);
  try {
    // initdb reads it as Postgres' user; root can read it in any case.
    const { switchTo } = folder.runAs;
    if (switchTo !== undefined) await file.chown(switchTo.uid, switchTo.gid);
    await file.writeFile(`${password}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function initialise(
  folder: DataFolder,
  binaries: Binaries,
  log: (line: string) => void,
): Promise<void> {
  const halfMade = join(folder.dataDir, HALF_MADE_PREFIX + randomBytes(4).toString("hex"));
  await mkdir(halfMade, { mode: 0o700 });
  const { switchTo } = folder.runAs;
  if (switchTo !== undefined) await chown(halfMade, switchTo.uid, switchTo.gid);
  log(`making the data folder ${folder.cluster} with initdb ${binaries.version}`);
  try {
    await runInitdb(binaries, halfMade, folder);
    await rename(halfMade, folder.cluster);
    await syncFolder(dirname(folder.cluster));
  } catch (error) {
    await rm(halfMade, { recursive: true, force: true, maxRetries: 5 });
    throw error;
  }
}

async function runInitdb(binaries: Binaries, target: string, folder: DataFolder): Promise<void> {
  const output: string[] = [];
  const command = [
    binaries.initdb,
    `--pgdata=${target}`,
    `--username=${SUPERUSER}`,
    `--pwfile=${folder.passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    // Postgres' own C.UTF-8: the same order and the same letters on every system, also where the
    // system has no such locale (macOS, small images); what is left to the system is C.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--data-checksums",
    "--no-instructions",
    // On failure we remove the folder; initdb must not, since after a kill -9 of ours the next start may
    // already be at work.
    "--no-clean",
  ];
  const { ended } = keep(command, {
    runAs: folder.runAs,
    env: serverEnvironment(),
    limitMs: INITDB_LIMIT_MS,
    onLine: (line) => {
      output.push(line);
      if (output.length > MAX_OUTPUT_LINES) output.shift();
    },
  });
  const end = await ended;
  if (end.code === 0) return;
  const how = end.error?.message ?? `it ended with ${end.code ?? end.signal}`;
  throw new Error(
    `initdb could not make the data folder ${target} as ${folder.runAs.name}: ${how}\n${output.join("\n")}`,
  );
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
