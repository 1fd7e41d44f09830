import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface TestRedis {
  readonly url: string;
  /** Ends the server; what it held is gone. */
  stop(): Promise<void>;
  /** Starts it again, empty, on the same port. */
  start(): Promise<void>;
  /** For the end of a test file: stops it and removes its folder. */
  remove(): Promise<void>;
}

const READY_WITHIN_MS = 10_000;

/** Null when redis-server is not on the PATH; an error then if REQUIRE_REDIS=1. */
export async function startRedis(): Promise<TestRedis | null> {
  if (spawnSync("redis-server", ["--version"]).status !== 0) {
    if (process.env["REQUIRE_REDIS"] === "1")
      throw new Error("REQUIRE_REDIS=1, but redis-server is not on the PATH");
    return null;
  }
  const dir = await mkdtemp(join(tmpdir(), "fulcrum-redis-"));
  const port = await freePort();
  let child: ChildProcess | null = null;
  const stop = async () => {
    const running = child;
    child = null;
    if (!running || running.exitCode !== null) return;
    const exited = once(running, "exit");
    running.kill("SIGKILL");
    await exited;
  };
  const start = async () => {
    child = await launch(port, dir);
  };
  await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    stop,
    start,
    remove: async () => {
      await stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function launch(port: number, dir: string): Promise<ChildProcess> {
  const options = [
    "--port",
    String(port),
    "--bind",
    "127.0.0.1",
    "--dir",
    dir,
    "--save",
    "",
    "--appendonly",
    "no",
  ];
  const child = spawn("redis-server", options, { stdio: ["ignore", "pipe", "inherit"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), READY_WITHIN_MS);
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.includes("Ready to accept connections")) continue;
      child.stdout.resume();
      return child;
    }
  } finally {
    clearTimeout(timer);
  }
  throw new Error(`redis-server on port ${port} was not ready within ${READY_WITHIN_MS} ms`);
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  return port;
}
