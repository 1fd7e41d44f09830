/** Looks at a node's GPUs and MPS server at its own pace and remembers what went wrong; never stops the agent. */
import type { Logger } from "pino";
import type { Clock } from "../clock.js";
import { NvmlError, NvmlLibrary } from "../gpu/nvml.js";
import { XidListener } from "../gpu/xid-events.js";
import type { MpsControl } from "../mps/mps-control.js";
import { MpsError } from "../mps/mps-error.js";
import type { ServerLogTail } from "../mps/server-log.js";
import { FaultMemory, type GpuCondition } from "./fault-memory.js";

export interface NodeWatchOptions {
  readonly intervalMs: number;
  /** Left out: what the driver installs. */
  readonly nvmlLibrary?: string | undefined;
  readonly nvmlTimeoutMs: number;
  /** null: this node uses no MPS. */
  readonly mps: MpsControl | null;
  /** The MPS server's log, which names the clients that a fault is blamed on. */
  readonly mpsLog: ServerLogTail | null;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Between two tries to load NVML: a driver may come with a later module load. */
const NVML_RETRY_MS = 60_000;

export class NodeWatch {
  private readonly memory = new FaultMemory();
  private nvml: { readonly library: NvmlLibrary; readonly listener: XidListener | null } | null = null;
  private nvmlNotBeforeMs = 0;
  /** By source; told once when it changes, not at every look. */
  private readonly troubles = new Map<string, string>();

  constructor(private readonly options: NodeWatchOptions) {}

  /** Of an instance that uses these GPUs (UUIDs). */
  conditionsOf(gpus: readonly string[]): GpuCondition[] {
    return this.memory.conditionsOf(gpus, this.options.clock.monotonicMs());
  }

  /** Looks until the signal aborts. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, intervalMs, log } = this.options;
    while (!signal.aborted) {
      try {
        await this.look();
      } catch (error) {
        log.error({ event: "node_watch_bug", error: String(error), stack: (error as Error).stack });
      }
      await clock.sleep(intervalMs, signal);
    }
    await this.nvml?.listener?.close();
    await this.nvml?.library.close();
  }

  async look(): Promise<void> {
    await Promise.all([this.lookAtGpus(), this.lookAtMps(), this.lookAtLog()]);
  }

  private async lookAtGpus(): Promise<void> {
    const { clock, log } = this.options;
    try {
      const listener = await this.listener();
      const events = (await listener?.look()) ?? [];
      this.memory.noteXids(events, clock.monotonicMs());
      for (const { gpu, xid } of events) log.error({ event: "gpu_xid", gpu, xid });
      this.noteTrouble("nvml", null);
    } catch (error) {
      if (!(error instanceof NvmlError)) throw error;
      this.noteTrouble("nvml", error.message);
    }
  }

  private async listener(): Promise<XidListener | null> {
    const { clock, nvmlLibrary, nvmlTimeoutMs } = this.options;
    if (this.nvml === null) {
      const nowMs = clock.monotonicMs();
      if (nowMs < this.nvmlNotBeforeMs) return null;
      this.nvmlNotBeforeMs = nowMs + NVML_RETRY_MS;
      const library = await NvmlLibrary.open({ library: nvmlLibrary, timeoutMs: nvmlTimeoutMs });
      this.nvml = { library, listener: await XidListener.listen(library) };
    }
    return this.nvml.listener;
  }

  private async lookAtMps(): Promise<void> {
    const { mps, log } = this.options;
    if (mps === null) return;
    try {
      const status = await mps.status();
      const faulted = status === "FAULT";
      if (faulted && !this.memory.mpsFaulted)
        log.error({ event: "mps_fault" }, "new MPS clients get error 807");
      if (!faulted && this.memory.mpsFaulted) log.info({ event: "mps_recovered", status });
      this.memory.mpsFaulted = faulted;
      this.noteTrouble("mps", null);
    } catch (error) {
      if (!(error instanceof MpsError)) throw error;
      // A fault ends with its daemon; one that does not answer has not recovered.
      if (error.code === "no_daemon") this.memory.mpsFaulted = false;
      this.noteTrouble("mps", error.message);
    }
  }

  private async lookAtLog(): Promise<void> {
    const fault = await this.options.mpsLog?.look().catch(() => null);
    if (fault) this.options.log.error({ event: "mps_server_log", ...fault });
  }

  private noteTrouble(source: string, why: string | null): void {
    const before = this.troubles.get(source) ?? null;
    if (why === before) return;
    if (why === null) {
      this.troubles.delete(source);
      this.options.log.info({ event: "node_watch_works", source });
    } else {
      this.troubles.set(source, why);
      this.options.log.warn({ event: "node_watch_blind", source, why });
    }
  }
}
