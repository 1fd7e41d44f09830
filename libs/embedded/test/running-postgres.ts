import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { Client } from "pg";
import { onTestFinished } from "vitest";

import { temporaryDataDir } from "../src/default-data-dir.js";
import { startPostgres, type PostgresOptions, type RunningPostgres } from "../src/postgres.js";

export const isRoot = process.getuid?.() === 0;
export const built = fileURLToPath(new URL("../dist/postgres.js", import.meta.url));
/** For what a killed process leaves to end. */
export const LIMIT_MS = 20_000;

export async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return (await client.query(text)).rows as Record<string, unknown>[];
  } finally {
    await client.end();
  }
}

export async function freshDataDir(): Promise<string> {
  const dataDir = await temporaryDataDir();
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 5 }));
  return dataDir;
}

/** Starts it, and stops it at the end of the test at the latest. */
export async function started(options: PostgresOptions): Promise<RunningPostgres> {
  const server = await startPostgres(options);
  onTestFinished(() => server.stop());
  return server;
}

export interface Parent {
  readonly child: ChildProcess;
  /** The next line that satisfies the test; rejects when the process ends first. */
  line(wanted: (line: string) => boolean): Promise<string>;
}

/** A Node process that starts Postgres from the built library, says so in one line of JSON, and stays. */
export function parentProcess(dataDir: string, as: { uid?: number; gid?: number } = {}): Parent {
  const script = `
    const { startPostgres } = await import(${JSON.stringify(built)});
    process.on("SIGINT", () => console.log("SIGINT"));
    process.on("SIGTERM", () => server.stop().then(() => process.exit(0)));
    const server = await startPostgres({ dataDir: ${JSON.stringify(dataDir)}, log: (line) => console.log(line) });
    console.log(JSON.stringify({ pid: server.pid, url: server.url }));
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    cwd: "/",
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    ...as,
  });
  const exited = once(child, "exit");
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const lines = createInterface({ input: child.stdout });
  onTestFinished(async () => {
    // Its own end, not ours by kill -9: the server must be gone before the folder is removed.
    child.kill("SIGTERM");
    await exited;
  });
  return {
    child,
    line: (wanted) =>
      new Promise((resolve, reject) => {
        lines.on("line", (line) => wanted(line) && resolve(line));
        child.once("exit", () => reject(new Error(`the parent process ended: ${errors}`)));
      }),
  };
}

export async function ready(parent: Parent): Promise<{ pid: number; url: string }> {
  return JSON.parse(await parent.line((line) => line.startsWith('{"pid"'))) as { pid: number; url: string };
}

export async function parentOf(pid: number): Promise<number> {
  const child = spawn("ps", ["-o", "ppid=", "-p", String(pid)], { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  for await (const piece of child.stdout) text += String(piece);
  return Number(text);
}

export async function unusedPort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  await new Promise((resolve) => {
    probe.close(resolve);
  });
  return typeof address === "object" && address !== null ? address.port : 0;
}
