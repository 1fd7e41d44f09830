/** A child process that says `{"event":"ready","url":…}` on standard output. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const READY_WITHIN_MS = 30_000;
/** USER_HZ on every Linux that Node runs on. */
const TICKS_PER_S = 100;

export interface ServerProcess {
  readonly url: string;
  readonly pid: number;
  /** Seconds of CPU used so far, user and system; null where there is no /proc. */
  cpuS(): number | null;
  rssBytes(): number | null;
  stop(): Promise<void>;
}

export async function startServer(
  file: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<ServerProcess> {
  const child = spawn(process.execPath, [file, ...args], {
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const url = await readyUrl(child, file);
  const pid = child.pid!;
  return {
    url,
    pid,
    cpuS: () => cpuOf(pid),
    rssBytes: () => rssOf(pid),
    stop: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve());
        child.kill("SIGTERM");
        child.stdin?.end();
      }),
  };
}

function readyUrl(child: ChildProcess, file: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${file} was not ready within ${READY_WITHIN_MS} ms`)),
      READY_WITHIN_MS,
    );
    child.once("exit", (code) => reject(new Error(`${file} ended with ${code} before it was ready`)));
    createInterface({ input: child.stdout! }).on("line", (line) => {
      const message = JSON.parse(line) as { event?: string; url?: string };
      if (message.event !== "ready" || !message.url) return;
      clearTimeout(timer);
      resolve(message.url);
    });
  });
}

function cpuOf(pid: number): number | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
  } catch {
    return null;
  }
}

function rssOf(pid: number): number | null {
  try {
    const kilobytes = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kilobytes ? Number(kilobytes) * 1_024 : null;
  } catch {
    return null;
  }
}
