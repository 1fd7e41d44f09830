import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const READY_LIMIT_MS = 40_000;
const END_LIMIT_MS = 30_000;
const MAX_LINES = 20_000;

/** The built entry point of an app. */
export function appMain(app: "controller" | "agent" | "engine-sim"): string {
  return fileURLToPath(new URL(`../../../apps/${app}/dist/main.js`, import.meta.url));
}

export const FULCRUM = fileURLToPath(new URL("../../../apps/cli/bin/fulcrum.js", import.meta.url));

export interface Launch {
  readonly script: string;
  readonly args?: readonly string[];
  /** Added to our own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** A process group of its own, so that a signal can be sent to all of it. */
  readonly ownGroup?: boolean;
  readonly as?: { readonly uid: number; readonly gid: number };
  readonly cwd?: string;
}

export interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A Node program as a process of its own, with all that it wrote. */
export class NodeProcess {
  stdout = "";
  stderr = "";
  private ended: End | null = null;
  readonly exited: Promise<End>;

  private constructor(private readonly child: ChildProcess) {
    child.stdin?.on("error", () => undefined);
    child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.exited = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        this.ended = { code, signal };
        resolve(this.ended);
      });
    });
  }

  static launch(launch: Launch): NodeProcess {
    const { script, args = [], env, ownGroup = false, as = {}, cwd } = launch;
    const child = spawn(process.execPath, [script, ...args], {
      env: { ...process.env, ...env },
      stdio: ["pipe", "pipe", "pipe"],
      detached: ownGroup,
      ...(cwd === undefined ? {} : { cwd }),
      ...as,
    });
    return new NodeProcess(child);
  }

  /** Waits for its `{"event":"ready",…}` line. */
  static async start(launch: Launch): Promise<NodeProcess> {
    const started = NodeProcess.launch(launch);
    try {
      await started.line((line) => line.includes('"event":"ready"'), READY_LIMIT_MS, ["stdout"]);
      return started;
    } catch (error) {
      await started.kill();
      throw error;
    }
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get running(): boolean {
    return this.ended === null;
  }

  /** The fields of its ready line. */
  get ready(): Readonly<Record<string, unknown>> {
    const line = this.stdout.split("\n").find((line) => line.includes('"event":"ready"'));
    return JSON.parse(line ?? "{}") as Record<string, unknown>;
  }

  /** What it logged as JSON, oldest first. */
  get logs(): readonly Record<string, unknown>[] {
    return `${this.stderr}\n${this.stdout}`
      .split("\n")
      .slice(0, MAX_LINES)
      .flatMap((line) => {
        try {
          return line.startsWith("{") ? [JSON.parse(line) as Record<string, unknown>] : [];
        } catch {
          return [];
        }
      });
  }

  logged(event: string): readonly Record<string, unknown>[] {
    return this.logs.filter((line) => line["event"] === event);
  }

  /** The first whole line on one of the streams that satisfies the test. */
  async line(
    wanted: (line: string) => boolean,
    limitMs = READY_LIMIT_MS,
    streams: readonly ("stdout" | "stderr")[] = ["stdout", "stderr"],
  ): Promise<string> {
    const endAtMs = Date.now() + limitMs;
    for (;;) {
      const whole = streams.flatMap((stream) => this[stream].split("\n").slice(0, -1));
      const found = whole.find(wanted);
      if (found !== undefined) return found;
      if (this.ended !== null || Date.now() >= endAtMs) {
        const how =
          this.ended === null ? `is silent after ${limitMs} ms` : `ended: ${JSON.stringify(this.ended)}`;
        throw new Error(
          `${this.child.spawnargs.join(" ")} ${how}\n${this.stdout.slice(-4_000)}\n${this.stderr.slice(-4_000)}`,
        );
      }
      await new Promise((resolve) => {
        setTimeout(resolve, 20);
      });
    }
  }

  signal(signal: NodeJS.Signals): void {
    if (this.ended === null) this.child.kill(signal);
  }

  /** As Ctrl-C in a terminal: to the process and all of its group. */
  signalGroup(signal: NodeJS.Signals): void {
    if (this.ended === null) process.kill(-this.pid, signal);
  }

  async terminate(): Promise<End> {
    this.signal("SIGTERM");
    return this.end();
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.end();
  }

  /** How it ended; by SIGKILL when it does not end by itself. */
  async end(limitMs = END_LIMIT_MS): Promise<End> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), limitMs);
    });
    const end = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    if (end !== null) return end;
    this.signal("SIGKILL");
    await this.exited;
    throw new Error(`${this.child.spawnargs.join(" ")} did not end within ${limitMs} ms`);
  }
}
