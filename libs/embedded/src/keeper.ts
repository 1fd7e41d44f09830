import { spawn } from "node:child_process";

import type { RunAs } from "./run-as.js";

/** Longer lines are handed on in pieces, so that one huge logged statement cannot fill the memory. */
const MAX_LINE_CHARS = 8_192;
/** How long the last log lines may take to arrive after the keeper has ended. */
const DRAIN_LIMIT_MS = 1_000;

/**
 * Runs "$@" and ends with its exit code. Its standard input is a pipe that only our process holds: when
 * our process ends in whatever way, kill -9 included, the pipe closes and the command gets SIGINT, which
 * is Postgres' fast shutdown. No setpriv or prctl, so it holds on macOS as on Linux.
 * - HUP, INT and TERM are ignored: a signal to everything in a terminal, a session or a cgroup must not
 *   take the keeper from under the application, which stops the server itself once it has drained.
 * - SIGINT is repeated, 15 times a second apart: sh starts background commands with it ignored, so one
 *   that arrives before the server has set its handlers would be lost. Then comes SIGQUIT.
 */
const KEEPER_SCRIPT = `
trap '' HUP INT TERM
exec 3<&0
"$@" 3<&- </dev/null >&2 &
command=$!
(
  while read -r _; do :; done <&3
  tries=0
  while [ "$tries" -lt 15 ] && kill -INT "$command"; do
    tries=$((tries + 1))
    sleep 1
  done
  kill -QUIT "$command"
) >/dev/null 2>&1 &
watcher=$!
exec 3<&- </dev/null
echo "$command"
wait "$command"
code=$?
{ kill -KILL "$watcher"; wait "$watcher"; } 2>/dev/null
exit "$code"
`;

/** How a kept command ended. `signal` is set when the keeper itself was killed; the command may still run then. */
export interface KeptEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why the keeper could not be started at all. */
  readonly error?: Error;
}

/** A command that cannot outlive this process. */
export interface Kept {
  /** The command's own process number; undefined when it could not be started. */
  readonly pid: Promise<number | undefined>;
  /** Never rejects. */
  readonly ended: Promise<KeptEnd>;
}

export interface KeepOptions {
  readonly runAs: RunAs;
  readonly env: Readonly<Record<string, string>>;
  readonly onLine: (line: string) => void;
  /** After this long the command is ended as if our process had; absent lets it run on. */
  readonly limitMs?: number;
}

/**
 * Starts a command under a keeper, in a session of its own, so that Ctrl-C in a terminal does not reach
 * it. What it writes goes to `onLine`, line by line.
 */
export function keep(command: readonly string[], options: KeepOptions): Kept {
  const { runAs, env, onLine } = options;
  const child = spawn("/bin/sh", ["-c", KEEPER_SCRIPT, "fulcrum-keeper", ...command], {
    cwd: "/",
    env,
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
    ...runAs.switchTo,
  });
  child.stdin.on("error", () => undefined);

  const overdue =
    options.limitMs === undefined ? undefined : setTimeout(() => child.stdin.end(), options.limitMs);

  const lines = lineSplitter(onLine);
  child.stderr.setEncoding("utf8").on("data", lines.push).on("end", lines.flush);

  const ended = new Promise<KeptEnd>((resolve) => {
    child.once("error", (error) => resolve({ code: null, signal: null, error }));
    child.once("exit", (code, signal) => {
      const end = { code, signal };
      const timer = setTimeout(() => resolve(end), DRAIN_LIMIT_MS);
      child.once("close", () => {
        clearTimeout(timer);
        resolve(end);
      });
    });
  });

  void ended.then(() => clearTimeout(overdue));

  const pid = new Promise<number | undefined>((resolve) => {
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
      if (text.includes("\n")) resolve(Number.parseInt(text, 10));
    });
    void ended.then(() => resolve(undefined));
  });
  return { pid, ended };
}

function lineSplitter(onLine: (line: string) => void): { push: (piece: string) => void; flush: () => void } {
  let rest = "";
  return {
    push(piece) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) onLine(line);
      if (rest.length > MAX_LINE_CHARS) {
        onLine(rest);
        rest = "";
      }
    },
    flush() {
      if (rest !== "") onLine(rest);
      rest = "";
    },
  };
}
