/** What the instances of a node share because they share its GPUs: turns, faults, the watch over both. */
import type { Logger } from "pino";
import type { Clock } from "../clock.js";
import type { AgentConfig, InstanceConfig } from "../config.js";
import type { PartitionDriver } from "../partition-driver.js";
import { GpuTurns } from "../gpu/gpu-turns.js";
import { discoverGpus } from "../gpu/inventory.js";
import { OneAtATime } from "../gpu/one-at-a-time.js";
import { clientLimitOf } from "../mps/client-limit.js";
import { MpsControl } from "../mps/mps-control.js";
import { type MpsPlace, mpsPlaceOf, serverLogOf } from "../mps/mps-place.js";
import { ServerLogTail } from "../mps/server-log.js";
import type { GpuCondition } from "./fault-memory.js";
import { NodeWatch } from "./node-watch.js";

export class NodeHealth {
  private readonly turns = new GpuTurns();

  private constructor(
    private readonly config: AgentConfig,
    /** GPU UUIDs by instance. */
    private readonly gpus: ReadonlyMap<string, readonly string[]>,
    private readonly watch: NodeWatch | null,
    private readonly clock: Clock,
  ) {}

  /** Asks which GPUs the configuration means. An agent none of whose instances names a GPU watches none. */
  static async create(config: AgentConfig, clock: Clock, log: Logger): Promise<NodeHealth> {
    const gpus = await resolveGpus(config, log);
    const watched = [...gpus.values()].some((uuids) => uuids.length > 0);
    const { intervalMs, nvmlLibrary, nvmlTimeoutMs } = config.gpuWatch;
    const mps = mpsPlaceOf(config);
    const logPath = mps && serverLogOf(mps);
    const watch = watched
      ? new NodeWatch({
          intervalMs,
          nvmlLibrary,
          nvmlTimeoutMs,
          mps: mps && mpsControl(mps),
          mpsLog: logPath === null ? null : new ServerLogTail(logPath),
          clock,
          log,
        })
      : null;
    return new NodeHealth(config, gpus, watch, clock);
  }

  /** The driver, waiting for its turn where the instance's GPUs are known. */
  inTurn({ instance }: InstanceConfig, driver: PartitionDriver): PartitionDriver {
    const gpus = this.gpus.get(instance) ?? [];
    const { prepareMs, switchMs, verifyMs } = this.config.deadlines;
    const holdMs = prepareMs + switchMs + verifyMs;
    const { turns, clock } = this;
    return gpus.length === 0 ? driver : new OneAtATime(driver, { instance, gpus, turns, holdMs, clock });
  }

  conditionsOf(instance: string): GpuCondition[] {
    return this.watch?.conditionsOf(this.gpus.get(instance) ?? []) ?? [];
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.watch?.run(signal);
  }
}

/** The client count is not asked here, so the limit plays no part. */
function mpsControl(place: MpsPlace): MpsControl {
  return new MpsControl({ ...place, clientLimit: clientLimitOf(null, null) });
}

async function resolveGpus(
  config: AgentConfig,
  log: Logger,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const { nvmlLibrary, nvmlTimeoutMs } = config.gpuWatch;
  const byIndex = config.instances.some(({ gpus }) => gpus.some((ref) => typeof ref === "number"));
  const found = byIndex ? await discoverGpus({ nvmlLibrary, timeoutMs: nvmlTimeoutMs }) : null;
  const uuidOf = (index: number, instance: string): string => {
    const uuid = found?.gpus.find((gpu) => gpu.index === index)?.uuid;
    if (uuid !== undefined) return uuid;
    // Instances that name the same index still take turns.
    log.warn(
      { event: "gpu_not_found", instance, index, problems: found?.problems },
      "going on without its UUID",
    );
    return `index-${index}`;
  };
  return new Map(
    config.instances.map(({ instance, gpus }) => [
      instance,
      gpus.map((ref) => (typeof ref === "number" ? uuidOf(ref, instance) : ref)),
    ]),
  );
}
