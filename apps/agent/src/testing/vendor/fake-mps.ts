/** The MPS daemon, server and clients that the fake control tool tells of, and the rules that real ones follow. */
import { chmod, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const TOOL = sourceFile("nvidia-cuda-mps-control.mjs");

export interface FakeMpsSetup {
  readonly protocol?: 2 | 3;
  readonly clientLimit?: number;
  /** A GPU's UUID. */
  readonly device?: string;
}

export type FakeMpsMode = "ok" | "hang" | "garbage" | "flood" | "silent";

export interface FakeMpsClient {
  readonly pid: number;
  /** Percent of the GPU that this client got when it connected; fixed for its life. */
  readonly pct: number;
}

/** What CUDA returns to a client that cannot connect (cuda.h). */
export class CudaError extends Error {
  override readonly name = "CudaError";
  constructor(readonly code: 805 | 807 | 808) {
    super(`CUDA error ${code}`);
  }
}

export class FakeMps {
  private constructor(
    /** What CUDA_MPS_PIPE_DIRECTORY must be to reach this daemon. */
    readonly pipeDirectory: string,
    private readonly setup: Required<FakeMpsSetup>,
  ) {}

  /** A daemon in `folder`, which is made; no server runs before the first client. */
  static async start(folder: string, setup: FakeMpsSetup = {}): Promise<FakeMps> {
    const { protocol = 2, clientLimit = 48, device = "GPU-74d43ed3-cdf7-e667-3644-bf5b4f46ed65" } = setup;
    await mkdir(join(folder, "clients"), { recursive: true });
    const fake = new FakeMps(folder, { protocol, clientLimit, device });
    await fake.setMode("ok");
    return fake;
  }

  async setMode(mode: FakeMpsMode): Promise<void> {
    await this.write("daemon.json", { protocol: this.setup.protocol, mode, defaultPct: 100 });
  }

  async stop(): Promise<void> {
    await rm(join(this.pipeDirectory, "daemon.json"), { force: true });
  }

  /** As a worker's first CUDA call does. `pct`: its CUDA_MPS_ACTIVE_THREAD_PERCENTAGE. @throws CudaError */
  async connect(pid: number, pct = 100): Promise<FakeMpsClient> {
    const daemon = await this.read<{ defaultPct: number }>("daemon.json");
    if (daemon === null) throw new CudaError(805);
    const server = await this.server();
    if (server?.status === "FAULT") throw new CudaError(807);
    if (server === null) {
      const uid = process.getuid?.() ?? 0;
      await this.write("server.json", {
        name: `uid_${uid}`,
        uid,
        pid: 6_472,
        status: "ACTIVE",
        pct: daemon.defaultPct,
      });
    }
    if ((await this.pids()).length >= this.setup.clientLimit) throw new CudaError(808);
    // The client's own value can only tighten the server's.
    const client = { pid, pct: Math.min(pct, server?.pct ?? daemon.defaultPct) };
    await this.write(join("clients", `${pid}.json`), {
      ...client,
      device: this.setup.device,
      command: "./worker --model a,b",
    });
    return client;
  }

  async exit(pid: number): Promise<void> {
    await rm(join(this.pipeDirectory, "clients", `${pid}.json`), { force: true });
  }

  /** A fatal fault of one client: new ones get 807 until all that there are have exited. */
  async fault(): Promise<void> {
    await this.setStatus("FAULT");
  }

  async setStatus(status: "ACTIVE" | "FAULT" | "INITIALIZING"): Promise<void> {
    await this.write("server.json", { ...(await this.server()), status });
  }

  /** `set_active_thread_percentage`: reaches clients that connect later. */
  async setPercentage(pct: number): Promise<void> {
    await this.write("server.json", { ...(await this.server()), pct });
  }

  /** null after `terminate_client` and `exit`. */
  async client(pid: number): Promise<FakeMpsClient | null> {
    return this.read(join("clients", `${pid}.json`));
  }

  /** Every call of the tool so far: its arguments, or the command on its standard input. */
  async calls(): Promise<readonly (readonly string[])[]> {
    const text = await readFile(join(this.pipeDirectory, "calls.log"), "utf8").catch(() => "");
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as string[]);
  }

  /** Of the tool that hangs in mode `hang`. */
  async hungPid(): Promise<number> {
    return (await this.read<number>("hung.pid")) ?? 0;
  }

  private async server(): Promise<{ status: string; pct: number } | null> {
    const server = await this.read<{ status: string; pct: number }>("server.json");
    if (server?.status !== "FAULT" || (await this.pids()).length > 0) return server;
    const recovered = { ...server, status: "ACTIVE" };
    await this.write("server.json", recovered);
    return recovered;
  }

  private pids(): Promise<string[]> {
    return readdir(join(this.pipeDirectory, "clients"));
  }

  private async read<T>(name: string): Promise<T | null> {
    const text = await readFile(join(this.pipeDirectory, name), "utf8").catch(() => null);
    return text === null ? null : (JSON.parse(text) as T);
  }

  private write(name: string, value: unknown): Promise<void> {
    return writeFile(join(this.pipeDirectory, name), JSON.stringify(value));
  }
}

/** Puts the fake `nvidia-cuda-mps-control` into a folder for the PATH. Returns its file. */
export function installMpsControl(folder: string): Promise<string> {
  return install(folder, "nvidia-cuda-mps-control", TOOL);
}

/** Puts a fake `nvidia-smi` into a folder; what it answers is in `nvidia-smi.json` beside it. */
export async function installNvidiaSmi(folder: string, answers: NvidiaSmiAnswers): Promise<string> {
  await writeFile(join(folder, "nvidia-smi.json"), JSON.stringify(answers));
  return install(folder, "nvidia-smi", sourceFile("nvidia-smi.mjs"));
}

export interface NvidiaSmiAnswers {
  readonly mode?: "ok" | "hang" | "no_driver" | "garbage";
  readonly cudaVersion?: string;
  /** By field of --query-gpu, one object per GPU; a field that is missing is `[N/A]`. */
  readonly gpus: readonly Readonly<Record<string, string>>[];
}

async function install(folder: string, name: string, script: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, name);
  // exec: the process that is started is the tool itself, so that a kill reaches it.
  await writeFile(file, `#!/bin/sh\nFAKE_HOME='${folder}' exec '${process.execPath}' '${script}' "$@"\n`);
  await chmod(file, 0o755);
  return file;
}

/** Beside the sources, from src and from dist. */
function sourceFile(name: string): string {
  return fileURLToPath(new URL(`../../../src/testing/vendor/${name}`, import.meta.url));
}
