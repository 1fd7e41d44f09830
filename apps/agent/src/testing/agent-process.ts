/** The built agent as a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";

const MAIN = fileURLToPath(new URL("../../dist/main.js", import.meta.url));

export interface AgentSetup {
  readonly folder: string;
  readonly controllerUrl: string;
  readonly engines: readonly {
    readonly instance: string;
    readonly metricsUrl: string;
    readonly socket: string;
    readonly gpus?: readonly (number | string)[];
    /** Left out: engine-sim at the socket. */
    readonly driver?: Readonly<Record<string, unknown>>;
  }[];
  /** Further fields of the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Added to our environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export class AgentProcess {
  readonly logs: Record<string, unknown>[] = [];

  private constructor(
    private readonly child: ChildProcess,
    readonly ready: { readonly event: string; readonly statusUrl: string },
  ) {}

  /** Resolves when the agent says that it is ready. */
  static async start({
    folder,
    controllerUrl,
    engines,
    config: more,
    env,
  }: AgentSetup): Promise<AgentProcess> {
    const config = join(folder, "agent.yaml");
    await writeFile(join(folder, "agent.key"), "test-key\n");
    await writeFile(
      config,
      stringify({
        agent: "node-a",
        controller: {
          url: controllerUrl,
          keyFile: "./agent.key",
          requestTimeoutMs: 2_000,
          longPollMs: 2_000,
          reregisterMs: 300,
          maxBackoffMs: 300,
        },
        stateDir: "./state",
        windowMs: 100,
        pollMs: 20,
        statusPort: 0,
        ...more,
        instances: engines.map(({ instance, metricsUrl, socket, gpus = [], driver }) => ({
          instance,
          pool: "chat",
          ranks: [0],
          rankCount: 1,
          gpus,
          reader: { type: "sglang", url: metricsUrl, timeoutMs: 300 },
          driver: driver ?? { type: "engine-sim", socket, timeoutMs: 1_000 },
        })),
      }),
    );
    const child = spawn(process.execPath, [MAIN, "--config", config, "--exit-with-parent"], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    const errors: string[] = [];
    const stderr = createInterface({ input: child.stderr });
    stderr.on("line", (line) => errors.push(line));
    const stdout = createInterface({ input: child.stdout });
    const first = await Promise.race([
      once(stdout, "line").then(([line]) => String(line)),
      once(child, "exit").then(([code]) => {
        throw new Error(`the agent ended with ${String(code)}: ${errors.join("\n")}`);
      }),
    ]);
    const agent = new AgentProcess(child, JSON.parse(first) as AgentProcess["ready"]);
    const keep = (line: string): void => {
      agent.logs.push(JSON.parse(line) as Record<string, unknown>);
      if (agent.logs.length > 10_000) agent.logs.shift();
    };
    errors.forEach(keep);
    stderr.on("line", keep);
    return agent;
  }

  logged(event: string): readonly Record<string, unknown>[] {
    return this.logs.filter((line) => line["event"] === event);
  }

  /** As its operator asks it to; resolves with the exit code. */
  async terminate(): Promise<number | null> {
    return this.end("SIGTERM");
  }

  /** As a machine that loses power. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  async closeStdin(): Promise<number | null> {
    const ended = once(this.child, "exit");
    this.child.stdin?.end();
    const [code] = (await ended) as [number | null];
    return code;
  }

  private async end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const ended = once(this.child, "exit");
    this.child.kill(signal);
    const [code] = (await ended) as [number | null];
    return code;
  }
}
