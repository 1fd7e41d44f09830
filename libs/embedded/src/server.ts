import { createServer } from "node:net";

import { keep, type Kept, type KeptEnd } from "./keeper.js";
import { stopLeftoverServer } from "./leftover-server.js";
import type { RunAs } from "./run-as.js";
import { serverArguments, serverEnvironment } from "./server-settings.js";

/** Another program may take a free port between our look and Postgres' bind. */
const MAX_PORT_TRIES = 5;
/** Backends of a postmaster that was killed need a moment to notice; until then a new one refuses. */
const MAX_BACKEND_TRIES = 50;
const BACKEND_WAIT_MS = 200;
const MAX_ERROR_LINES = 20;
/** Fast shutdown, immediate shutdown, and the end that the kernel makes. */
const STOP_STEPS: readonly { signal: NodeJS.Signals; limitMs: number }[] = [
  { signal: "SIGINT", limitMs: 15_000 },
  { signal: "SIGQUIT", limitMs: 10_000 },
  { signal: "SIGKILL", limitMs: 5_000 },
];

/** How the server ended: `expected` after stop(), else by itself or by someone else's hand. */
export interface ServerEnd {
  readonly expected: boolean;
  /** The exit code, 128 + n for signal n; null when only the keeper's end is known. */
  readonly code: number | null;
}

export interface Server {
  readonly port: number;
  readonly pid: number;
  readonly exited: Promise<ServerEnd>;
  stop(): Promise<void>;
}

export interface Launch {
  readonly postgres: string;
  readonly cluster: string;
  readonly runAs: RunAs;
  /** 0 picks a free one. */
  readonly port: number;
  readonly settings: Readonly<Record<string, string>>;
  readonly readyWithinMs: number;
  readonly log: (line: string) => void;
}

/**
 * Starts the server and waits until it accepts connections.
 * @throws Error naming the port when the one asked for is taken; else with the server's last 20 lines.
 */
export async function launchServer(launch: Launch): Promise<Server> {
  let portTries = 0;
  let backendTries = 0;
  for (;;) {
    const port = launch.port === 0 ? await freePort() : launch.port;
    if (launch.port !== 0 && !(await canListen(port))) throw portTaken(port);
    const outcome = await attempt(launch, port);
    if ("server" in outcome) return outcome.server;
    const { lines, why } = outcome;
    const text = lines.join("\n");
    if (/could not bind|could not create any TCP/.test(text)) {
      if (launch.port !== 0) throw portTaken(port);
      portTries += 1;
      if (portTries < MAX_PORT_TRIES) continue;
    } else if (text.includes("pre-existing shared memory block")) {
      backendTries += 1;
      if (backendTries < MAX_BACKEND_TRIES) {
        await delay(BACKEND_WAIT_MS);
        continue;
      }
    }
    throw new Error(
      `Postgres did not start in ${launch.cluster} as ${launch.runAs.name} on port ${port}: ${why}\n${text}`,
    );
  }
}

type Outcome = { server: Server } | { lines: string[]; why: string };

async function attempt(launch: Launch, port: number): Promise<Outcome> {
  const lines: string[] = [];
  let ready = (): void => undefined;
  const readyLine = new Promise<"ready">((resolve) => {
    ready = () => resolve("ready");
  });
  const kept = keep([launch.postgres, ...serverArguments(launch.cluster, port, launch.settings)], {
    runAs: launch.runAs,
    env: serverEnvironment(),
    onLine: (line) => {
      launch.log(line);
      lines.push(line);
      if (lines.length > MAX_ERROR_LINES) lines.shift();
      if (line.includes("ready to accept connections")) ready();
    },
  });
  const limit = delayed(launch.readyWithinMs, "late" as const);
  const first = await Promise.race([readyLine, limit.promise, kept.ended]);
  limit.cancel();

  const pid = await kept.pid;
  if (first === "ready" && pid !== undefined) return { server: running(launch, kept, port, pid) };
  if (first === "late" && pid !== undefined) {
    await running(launch, kept, port, pid).stop();
    return { lines, why: `it was not ready within ${launch.readyWithinMs} ms` };
  }
  const end = await kept.ended;
  return { lines, why: end.error?.message ?? `it ended with ${end.code ?? end.signal}` };
}

function running(launch: Launch, kept: Kept, port: number, pid: number): Server {
  let stopping: Promise<void> | undefined;
  let ended = false;
  const exited = kept.ended.then(async (end): Promise<ServerEnd> => {
    ended = true;
    await afterKeeper(end, launch);
    return { expected: stopping !== undefined, code: end.code };
  });

  async function shutDown(): Promise<void> {
    for (const { signal, limitMs } of STOP_STEPS) {
      // Once the keeper has reaped the server, its number may be another program's.
      if (ended) break;
      if (signal !== "SIGINT") launch.log(`the server does not end: sending ${signal}`);
      signalServer(pid, signal);
      const limit = delayed(limitMs, undefined);
      await Promise.race([exited, limit.promise]);
      limit.cancel();
    }
    if (!ended) throw new Error(`Postgres (process ${pid}) does not end, not even after SIGKILL.`);
    await exited;
  }

  return {
    port,
    pid,
    exited,
    stop: () => {
      stopping ??= shutDown();
      return stopping;
    },
  };
}

/** A keeper that was itself killed leaves its server running; an end that we report must be one. */
async function afterKeeper(end: KeptEnd, launch: Launch): Promise<void> {
  if (end.signal === null) return;
  try {
    await stopLeftoverServer(launch.cluster, launch.log);
  } catch (error) {
    launch.log((error as Error).message);
  }
}

function signalServer(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function portTaken(port: number): Error {
  return new Error(
    `Port ${port} on 127.0.0.1 is taken by another program. Ask for another port, or for none (0) to get a free one.`,
  );
}

async function freePort(): Promise<number> {
  const port = await listenBriefly(0);
  if (port === undefined) throw new Error("There is no free port on 127.0.0.1.");
  return port;
}

async function canListen(port: number): Promise<boolean> {
  return (await listenBriefly(port)) !== undefined;
}

/** Listens and lets go. Returns the port, or undefined when it is taken. */
function listenBriefly(port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(new Error(`Port ${port} on 127.0.0.1 cannot be used: ${error.message}`, { cause: error }));
    });
    probe.listen(port, "127.0.0.1", () => {
      const address = probe.address();
      const got = typeof address === "object" && address !== null ? address.port : undefined;
      probe.close(() => resolve(got));
    });
  });
}

function delay(ms: number): Promise<void> {
  return delayed(ms, undefined).promise;
}

function delayed<T>(ms: number, value: T): { promise: Promise<T>; cancel: () => void } {
  let timer: NodeJS.Timeout | undefined;
  const promise = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(value), ms);
  });
  return { promise, cancel: () => clearTimeout(timer) };
}
