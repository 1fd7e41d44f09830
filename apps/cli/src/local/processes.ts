/**
 * The only place that starts and stops other programs. Every child holds the other end of its standard
 * input: with --exit-with-parent it ends when that closes, so that nothing stays after a kill -9 of ours.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { failed, type CliFailure } from "../failure.js";
import { ChildLog } from "./child-log.js";

const READY_LIMIT_MS = 60_000;
/** The agent waits up to 15 s for a report in flight. */
const TERM_LIMIT_MS = 20_000;
const KILL_LIMIT_MS = 5_000;
const MAX_READY_CHARS = 64 * 1024;

export interface ChildSpec {
  /** For messages: "controller", "engine feedback". */
  readonly name: string;
  /** A JavaScript file, run with this Node. */
  readonly script: string;
  readonly args: readonly string[];
  /** Added to our own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly readyLimitMs?: number;
  /** How long it may take to end after SIGTERM before it gets SIGKILL. */
  readonly stopLimitMs?: number;
}

export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** The fields of its ready line. */
  readonly ready: Readonly<Record<string, unknown>>;
  readonly log: ChildLog;
  /** Resolves when it has ended, asked or not; never rejects. */
  readonly exited: Promise<ChildEnd>;
  /** SIGTERM, after 20 s SIGKILL; resolves when it has ended. May be called again. */
  stop(): Promise<void>;
}

/**
 * Starts a program and waits for its `{"event":"ready",…}` line.
 * @throws CliFailure with its last log lines when it ends first or says nothing within the limit (60 s).
 */
export async function startChild(spec: ChildSpec, signal: AbortSignal): Promise<Child> {
  signal.throwIfAborted();
  const log = new ChildLog(spec.logFile);
  const child = spawn(process.execPath, [spec.script, ...spec.args], {
    env: { ...process.env, ...spec.env },
    stdio: ["pipe", "pipe", "pipe"],
    // A session of its own: Ctrl-C in a terminal reaches us alone, and we stop the children in order.
    detached: true,
  });
  child.stdin.on("error", () => undefined);
  child.stderr.setEncoding("utf8").on("data", (text: string) => log.write(text));
  const exited = endOf(child, log);
  const stop = () => stopChild(child, exited, spec.stopLimitMs ?? TERM_LIMIT_MS);
  try {
    const ready = await readyLine(child, spec, log, exited, signal);
    return { name: spec.name, pid: child.pid ?? 0, ready, log, exited, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The message for a child that ended although nobody asked it to, or never became ready. */
export function childFailure(name: string, what: string, log: ChildLog): CliFailure {
  const tail = log.tail();
  return failed(
    `the ${name} ${what}`,
    tail.length > 0 ? ["its last log lines:", ...tail] : ["it logged nothing"],
  );
}

export function endWords(end: ChildEnd): string {
  return end.signal === null ? `ended with exit code ${end.code ?? "?"}` : `was ended by ${end.signal}`;
}

function endOf(child: ChildProcess, log: ChildLog): Promise<ChildEnd> {
  return new Promise((resolve) => {
    child.once("error", (error) => {
      log.write(`${error.message}\n`);
      if (child.pid === undefined) resolve({ code: null, signal: null });
    });
    child.once("close", (code, signal) => {
      log.close();
      resolve({ code, signal });
    });
  });
}

async function readyLine(
  child: ChildProcess,
  spec: ChildSpec,
  log: ChildLog,
  exited: Promise<ChildEnd>,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const limitMs = spec.readyLimitMs ?? READY_LIMIT_MS;
  const failure = (what: string) => childFailure(spec.name, what, log);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(failure(`was not ready within ${limitMs / 1_000} s`)), limitMs);
    const aborted = () => reject(signal.reason as Error);
    signal.addEventListener("abort", aborted, { once: true });
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
    };
    let text: string | null = "";
    child.stdout?.setEncoding("utf8").on("data", (piece: string) => {
      log.write(piece);
      if (text === null) return;
      text += piece;
      const ready = readyIn(text);
      if (ready !== null || text.length > MAX_READY_CHARS) {
        text = null;
        done();
        if (ready === null) reject(failure(`wrote ${MAX_READY_CHARS} characters and no ready line`));
        else resolve(ready);
      }
    });
    const endedEarly = async () => {
      const end = await exited;
      done();
      reject(failure(`${endWords(end)} before it was ready`));
    };
    void endedEarly();
  });
}

/** The ready line among the whole lines of `text`; null while there is none. */
export function readyIn(text: string): Record<string, unknown> | null {
  for (const line of text.split("\n").slice(0, -1)) {
    try {
      const value = JSON.parse(line) as Record<string, unknown> | null;
      if (value?.["event"] === "ready") return value;
    } catch {
      // Not JSON: something else that the child said.
    }
  }
  return null;
}

async function stopChild(child: ChildProcess, exited: Promise<ChildEnd>, termLimitMs: number): Promise<void> {
  for (const [signal, limitMs] of [
    ["SIGTERM", termLimitMs],
    ["SIGKILL", KILL_LIMIT_MS],
  ] as const) {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    if (await within(exited, limitMs)) return;
  }
  child.stdin?.destroy();
}

async function within(event: Promise<unknown>, limitMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), limitMs);
  });
  const inTime = await Promise.race([event.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
