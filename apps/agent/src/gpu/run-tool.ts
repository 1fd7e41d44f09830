/** Vendor tools as processes: bounded in time and in output, and never left behind. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";

export interface ToolCall {
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment of the process, not an addition to ours. */
  readonly env: NodeJS.ProcessEnv;
  /** Written to standard input, which is then closed. */
  readonly stdin?: string;
  readonly timeoutMs: number;
}

export interface ToolAnswer {
  /** null after a signal that was not ours. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `ps` of a full MPS server is below 10 KB, `nvidia-smi` of 16 GPUs below 4 KB. */
export const MAX_OUTPUT_BYTES = 1_000_000;

export class ToolError extends Error {
  override readonly name = "ToolError";
  constructor(
    readonly code: "missing_binary" | "timeout" | "too_large",
    message: string,
  ) {
    super(message);
  }
}

/** Runs a tool to its end; one that is too slow or too loud is killed with all that it started. @throws ToolError */
export function runTool(call: ToolCall): Promise<ToolAnswer> {
  const { file, args, env, timeoutMs } = call;
  const words = [file, ...args].join(" ");
  return new Promise((resolve, reject) => {
    // A process group of its own: a wrapper's children must not outlive it.
    const child = spawn(file, args, { env, stdio: ["pipe", "pipe", "pipe"], detached: true });
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let bytes = 0;
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      // What the tool itself started may hold the pipes open; nobody reads them any more.
      for (const stream of child.stdio) stream?.destroy();
      settle();
    };
    const giveUp = (error: ToolError): void => {
      killGroup(child);
      end(() => reject(error));
    };
    const timer = setTimeout(
      () => giveUp(new ToolError("timeout", `${words} did not end within ${timeoutMs} ms`)),
      timeoutMs,
    );
    const keep = (into: Buffer[]) => (chunk: Buffer) => {
      bytes += chunk.byteLength;
      if (bytes <= MAX_OUTPUT_BYTES) into.push(chunk);
      else giveUp(new ToolError("too_large", `${words} wrote more than ${MAX_OUTPUT_BYTES} bytes`));
    };
    child.stdout.on("data", keep(output.stdout));
    child.stderr.on("data", keep(output.stderr));
    child.on("error", (error) =>
      end(() => reject(new ToolError("missing_binary", `cannot run ${file}: ${error.message}`))),
    );
    child.on("close", (exitCode) =>
      end(() => resolve({ exitCode, stdout: textOf(output.stdout), stderr: textOf(output.stderr) })),
    );
    // A tool that ends without reading its input is judged by its answer.
    child.stdin.on("error", () => undefined);
    child.stdin.end(call.stdin ?? "");
  });
}

function killGroup(child: ChildProcess): void {
  // Gone already, or never started: nothing to kill.
  try {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  } catch {
    child.kill("SIGKILL");
  }
}

/** The file that a command name stands for; null when there is none that may be run. */
export function findOnPath(name: string, env: NodeJS.ProcessEnv): string | null {
  const candidates = isAbsolute(name)
    ? [name]
    : (env["PATH"] ?? "")
        .split(delimiter)
        .filter((folder) => folder !== "")
        .map((folder) => join(folder, name));
  return candidates.find(isExecutable) ?? null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function textOf(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString("utf8");
}
