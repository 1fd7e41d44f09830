/** The folder in which `fulcrum up` keeps what outlives it: database, keys, and where it listens. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { defaultDataDir } from "@fulcrum/embedded/default-data-dir.js";
import { z } from "zod";

const running = z.object({ url: z.url(), pid: z.int(), startedAtMs: z.number() });

export type RunningFile = z.infer<typeof running>;

export type Env = Readonly<Record<string, string | undefined>>;

/** The data folder: `given`, FULCRUM_DATA_DIR, or this machine's usual place. */
export function dataDirOf(env: Env, given?: string): string {
  const named = given ?? env["FULCRUM_DATA_DIR"];
  if (named !== undefined && named !== "") return resolve(named);
  return defaultDataDir(env, process.getuid?.(), homedir());
}

export function statePaths(dataDir: string) {
  return {
    postgres: join(dataDir, "postgres"),
    agentState: join(dataDir, "agent"),
    logs: join(dataDir, "logs"),
    adminKey: join(dataDir, "admin.key"),
    agentKey: join(dataDir, "agent.key"),
    agentConfig: join(dataDir, "agent.yaml"),
    running: join(dataDir, "running.json"),
  };
}

/** What a `fulcrum up` on this machine wrote down; null when none did, or this user may not read it. */
export function readStateFolder(env: Env): { url: string; adminKey: string | null } | null {
  const paths = statePaths(dataDirOf(env));
  const file = readRunning(paths.running);
  // After a kill -9 the file is still there.
  return file === null || !isAlive(file.pid) ? null : { url: file.url, adminKey: readSecret(paths.adminKey) };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

export function readRunning(file: string): RunningFile | null {
  const text = readText(file);
  if (text === null) return null;
  try {
    return running.parse(JSON.parse(text));
  } catch {
    // Half written or foreign: as good as none.
    return null;
  }
}

export function writeRunning(file: string, value: RunningFile): void {
  writePrivate(file, `${JSON.stringify(value)}\n`);
}

export function removeRunning(file: string): void {
  rmSync(file, { force: true });
}

/** The key in a file; null when there is none or this user may not read it. */
export function readSecret(file: string): string | null {
  const text = readText(file)?.trim() ?? "";
  return text === "" ? null : text;
}

/** A file that only its owner reads. */
export function writePrivate(file: string, text: string): void {
  rmSync(file, { force: true });
  writeFileSync(file, text, { mode: 0o600, flag: "wx" });
}

/** Only this user looks inside; but root's Postgres runs as another user, who must be able to pass through. */
export function makeFolder(folder: string): void {
  const mode = process.getuid?.() === 0 ? 0o711 : 0o700;
  mkdirSync(folder, { recursive: true, mode });
}

/** `fk_` and 256 random bits. */
export function newKey(): string {
  return `fk_${randomBytes(32).toString("base64url")}`;
}

function readText(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES") return null;
    throw error;
  }
}
