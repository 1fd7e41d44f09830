import { execFile } from "node:child_process";
import { access, readFile, stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { dirname } from "node:path";

/** Who runs Postgres. `switchTo` is set when that is not the user who runs this process. */
export interface RunAs {
  readonly name: string;
  readonly switchTo?: { readonly uid: number; readonly gid: number };
}

/** Tried in this order for root: Debian's and Red Hat's name, macOS' name, and what every system has. */
const USERS_FOR_ROOT = ["postgres", "_postgres", "nobody"];

/**
 * Who runs Postgres on this cluster folder. Postgres refuses root, so root gets the folder's owner where
 * the folder exists, else the first of `postgres`, `_postgres` and `nobody` that /etc/passwd knows
 * (initdb wants an entry there). Everyone else is themselves.
 * @throws Error when root finds no such user, or when the folder belongs to another user than ours.
 */
export async function chooseRunAs(cluster: string): Promise<RunAs> {
  const uid = process.getuid?.();
  const owner = await stat(cluster).catch(() => undefined);
  if (uid !== 0) {
    if (owner !== undefined && owner.uid !== uid) {
      throw new Error(
        `The data folder ${cluster} belongs to the user with uid ${owner.uid}, and this process runs with uid ${uid}. ` +
          "Run as that user or as root, or choose another data folder.",
      );
    }
    return { name: ownName() };
  }
  const users = await passwdUsers();
  if (owner !== undefined && owner.uid !== 0) {
    const known = users.find((user) => user.uid === owner.uid);
    return { name: known?.name ?? `uid ${owner.uid}`, switchTo: { uid: owner.uid, gid: owner.gid } };
  }
  for (const name of USERS_FOR_ROOT) {
    const user = users.find((user) => user.name === name);
    if (user !== undefined && user.uid > 0) return { name, switchTo: { uid: user.uid, gid: user.gid } };
  }
  throw new Error(
    `Postgres refuses to run as root, and /etc/passwd has none of the users ${USERS_FOR_ROOT.join(", ")}. ` +
      "Create the system user postgres, or run as another user than root.",
  );
}

/**
 * The first of the folder's parents, or the folder itself, that exists and that the user cannot enter.
 * The kernel answers, not the mode bits: groups and access lists count as they do for Postgres.
 */
export async function firstClosedFolder(folder: string, runAs: RunAs): Promise<string | undefined> {
  const existing: string[] = [];
  for (const ancestor of withAncestors(folder)) {
    const exists = await access(ancestor).then(
      () => true,
      (error: unknown) => (error as NodeJS.ErrnoException).code !== "ENOENT",
    );
    if (!exists) break;
    existing.push(ancestor);
  }
  const script = 'for d; do cd -- "$d" 2>/dev/null || { printf %s "$d"; exit 3; }; done';
  return new Promise((resolve, reject) => {
    execFile(
      "/bin/sh",
      ["-c", script, "sh", ...existing],
      { cwd: "/", timeout: 10_000, ...runAs.switchTo },
      (error, stdout) => {
        if (error === null) resolve(undefined);
        else if (error.code === 3) resolve(stdout);
        else reject(new Error(`Cannot run /bin/sh as ${runAs.name}: ${error.message}`, { cause: error }));
      },
    );
  });
}

/** The error for a folder that Postgres' user cannot enter: names the folder, the user and what to do. */
export async function closedFolderError(dataDir: string, closed: string, runAs: RunAs): Promise<Error> {
  const facts = await stat(closed).catch(() => undefined);
  const mode = facts === undefined ? "" : ` (mode ${(facts.mode & 0o7777).toString(8)}, uid ${facts.uid})`;
  const why =
    runAs.switchTo === undefined ? "" : "Postgres refuses to run as root, so it runs as that user here. ";
  return new Error(
    `Postgres cannot use the data folder ${dataDir}: the user ${runAs.name} cannot enter ${closed}${mode}. ${why}` +
      `Choose a data folder that the user can reach, such as one below /var/lib, or allow it: chmod o+x ${closed}`,
  );
}

function withAncestors(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [...withAncestors(parent), folder];
}

function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    // Containers run under numbers that /etc/passwd does not know.
    return `uid ${process.getuid?.() ?? "?"}`;
  }
}

async function passwdUsers(): Promise<{ name: string; uid: number; gid: number }[]> {
  const text = await readFile("/etc/passwd", "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    const [name, , uid, gid] = line.split(":");
    if (name === undefined || uid === undefined || gid === undefined) return [];
    return [{ name, uid: Number(uid), gid: Number(gid) }];
  });
}
