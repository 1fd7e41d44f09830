/**
 * Starts a process that outlives the agent: in a session of its own, with its output in a file. A pipe would break with
 * the agent, and a worker that writes to a broken pipe dies.
 */
import { spawn } from "node:child_process";
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from "node:fs";
import { dirname } from "node:path";
import { type ProcessKey, processKey } from "./proc.js";

/** A log is emptied when it has grown past this; while no agent runs it may grow further. */
const MAX_LOG_BYTES = 8 * 1024 * 1024;
const TAIL_BYTES = 2_000;

export interface ProcessSpec {
  /** Program and arguments. */
  readonly command: readonly string[];
  /** The whole environment of the process. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | null;
  readonly logFile: string;
}

/**
 * `ended` is called once when a process that this agent started has ended, or could not be started, with the reason in
 * words. null: it did not start. Without a log where the disk takes none.
 */
export function startProcess(spec: ProcessSpec, ended: (why: string) => void): ProcessKey | null {
  const [program, ...args] = spec.command;
  if (program === undefined) throw new RangeError("the command must name a program");
  const log = openLog(spec.logFile);
  const output = log ?? "ignore";
  try {
    const child = spawn(program, args, {
      cwd: spec.cwd ?? undefined,
      env: spec.env,
      stdio: ["ignore", output, output],
      detached: true,
    });
    child.once("error", (error) => ended(error.message));
    child.once("exit", (code, signal) => ended(signal === null ? `exit code ${code}` : signal));
    child.unref();
    return child.pid === undefined ? null : processKey(child.pid);
  } catch (error) {
    // Some reasons are thrown and others are events: an environment that is too long, no memory for a process.
    ended(String(error));
    return null;
  } finally {
    if (log !== null) closeSync(log);
  }
}

function openLog(path: string): number | null {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    // Appending: what is written after the file was emptied goes to its new end.
    return openSync(path, "a", 0o600);
  } catch {
    return null;
  }
}

/** The agent's environment without its key, and the additions; the agent's own is left as it is. */
export function environmentOf(
  own: NodeJS.ProcessEnv,
  added: Readonly<Record<string, string>>,
): Record<string, string> {
  const inherited = Object.entries(own).flatMap(([name, value]) =>
    value === undefined || name === "FULCRUM_AGENT_KEY" ? [] : [[name, value] as const],
  );
  return { ...Object.fromEntries(inherited), ...added };
}

/** Keeps the log within its bound. Never throws. */
export function boundLog(logFile: string): void {
  withFile(logFile, "r+", (descriptor, size) => {
    if (size > MAX_LOG_BYTES) ftruncateSync(descriptor, 0);
  });
}

/** The last lines of the log, for when the process has failed. */
export function logTail(logFile: string): string {
  let tail = "";
  withFile(logFile, "r", (descriptor, size) => {
    const length = Math.min(size, TAIL_BYTES);
    const bytes = Buffer.alloc(length);
    readSync(descriptor, bytes, 0, length, size - length);
    tail = bytes.toString("utf8").trim();
  });
  return tail;
}

function withFile(path: string, flags: string, use: (descriptor: number, size: number) => void): void {
  try {
    const descriptor = openSync(path, flags);
    try {
      use(descriptor, fstatSync(descriptor).size);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    // No log yet, or its folder is gone: nothing to keep in bounds.
  }
}
