import { execFile } from "node:child_process";
import { readFile, readlink } from "node:fs/promises";

/**
 * When a process began, as an opaque text that no later process with the same number shares; undefined
 * when there is no such process, or only a zombie. A number alone does not name a process: in a
 * container that starts again, low numbers are given out anew at once.
 */
export async function processBirth(pid: number): Promise<string | undefined> {
  if (process.platform !== "linux") return ps(pid, "lstart=");
  const stat = await readOrUndefined(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // proc(5): the second field is the name in parentheses and may hold anything; state is the field
  // after it, the start time in ticks since boot the twentieth after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return undefined;
  const boot = (await readOrUndefined("/proc/sys/kernel/random/boot_id"))?.trim() ?? "";
  return `${boot}/${fields[19] ?? ""}`;
}

/** Whether the process is a Postgres server on this cluster folder. False for a dead process or a zombie. */
export async function isServerOf(pid: number, cluster: string): Promise<boolean> {
  if ((await processBirth(pid)) === undefined) return false;
  if (process.platform === "linux") {
    // A postmaster's working directory is its data folder.
    const workingDirectory = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
    if (workingDirectory === cluster) return true;
  }
  const command =
    process.platform === "linux"
      ? (await readOrUndefined(`/proc/${pid}/cmdline`))?.replaceAll("\0", " ")
      : await ps(pid, "command=");
  return `${command ?? ""} `.includes(`-D ${cluster} `);
}

/** Waits until `gone` says so, asking every 25 ms, for at most `limitMs`. Returns whether it did. */
export async function goneWithin(gone: () => Promise<boolean>, limitMs: number): Promise<boolean> {
  const endAtMs = Date.now() + limitMs;
  // A process that is not our child gives no event when it ends, so this one wait has to ask.
  while (!(await gone())) {
    if (Date.now() >= endAtMs) return false;
    await new Promise((resolve) => {
      setTimeout(resolve, 25);
    });
  }
  return true;
}

function readOrUndefined(file: string): Promise<string | undefined> {
  return readFile(file, "utf8").catch(() => undefined);
}

function ps(pid: number, column: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const env = { PATH: process.env["PATH"] ?? "/bin:/usr/bin", LC_ALL: "C" };
    execFile("ps", ["-ww", "-o", column, "-p", String(pid)], { env, timeout: 5_000 }, (error, stdout) => {
      const text = stdout.trim();
      resolve(error !== null || text === "" ? undefined : text);
    });
  });
}
