import type { Logger } from "pino";
import type { Clock } from "../clock.js";
import type { InstanceConfig } from "../config.js";
import { MpsControl } from "../mps/mps-control.js";
import { cuMask } from "../workers/cu-mask.js";
import type { MpsPort } from "../mps/mps-port.js";
import { PoolQuota } from "../workers/pool-quota.js";
import { Residents } from "../workers/residents.js";
import type { MpsRespawnConfig, RocmCuMaskConfig } from "./respawn-config.js";
import type { SupervisorOptions } from "../workers/supervisor-options.js";
import { Supervisor } from "../workers/supervisor.js";
import { createStagedDriver, withQuota } from "./create-staged-driver.js";
import { EngineSimDriver } from "./engine-sim-driver.js";
import { RespawnDriver } from "./mps-respawn-driver.js";
import type { PartitionDriver } from "../partition-driver.js";

export interface DriverSite {
  /** The agent's. */
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export function createDriver(instance: InstanceConfig, site: DriverSite): PartitionDriver {
  const { driver } = instance;
  switch (driver.type) {
    case "engine-sim":
      return new EngineSimDriver({ socket: driver.socket, timeoutMs: driver.timeoutMs });
    case "mps-respawn":
    case "rocm-cu-mask":
      return respawnDriver(driver, instance, site);
    case "kvcached":
    case "admission-cap":
    case "semi-pd-static":
    case "sglang-pdmux":
      return createStagedDriver(driver, { instance: instance.instance, ...site });
  }
}

function respawnDriver(
  config: MpsRespawnConfig | RocmCuMaskConfig,
  { instance, ranks }: Pick<InstanceConfig, "instance" | "ranks">,
  { stateDir, clock, log }: DriverSite,
): PartitionDriver {
  const { quota } = config;
  const pools =
    quota?.type === "kv-pool" ? ranks.map((rank) => quota.path.replaceAll("{rank}", String(rank))) : null;
  const quotaPort = pools && new PoolQuota(pools);
  const mps = config.type === "mps-respawn" ? mpsOf(config) : null;
  const hardware = { smCount: config.smCount, smPerTpc: config.smPerTpc };
  const folder = config.workersDir ?? `${stateDir}/workers`;
  const supervisor = new Supervisor({
    ...supervisorOptions(config, folder),
    instance,
    ranks,
    hardware,
    mps,
    quota: quotaPort,
    residents: new Residents({
      folder,
      instance,
      ranks,
      command: config.resident.command ?? null,
      env: config.resident.env,
      cwd: config.resident.cwd ?? null,
      readyPath: config.resident.readyPath ?? null,
      readyMs: config.resident.readyMs,
      sigtermMs: config.deadlines.sigtermMs,
      log,
    }),
    log,
  });
  const kv = pools ? { minKvQuotaPct: 1, maxKvQuotaPct: 100 } : { minKvQuotaPct: 100, maxKvQuotaPct: 100 };
  const { minSmPct, maxSumPct, granularityPct } = config;
  const split = new RespawnDriver({
    name: config.type,
    supervisor,
    limits: { minSmPct, maxSmPct: 100, maxSumPct, granularityPct, ...kv },
    hardware,
    live: config.switching === "overlapped",
    quota: quotaPort,
  });
  return quota === undefined || quota.type === "kv-pool"
    ? split
    : withQuota(split, quota, { instance, stateDir, clock });
}

function supervisorOptions(
  config: MpsRespawnConfig | RocmCuMaskConfig,
  folder: string,
): Omit<SupervisorOptions, "instance" | "ranks" | "hardware" | "mps" | "quota" | "residents" | "log"> {
  const { command, cwd, env, resident, standby, keepWarmMs, switching, deadlines: limits } = config;
  const { prefillSmPct, decodeSmPct } = config;
  return {
    folder,
    command,
    cwd: cwd ?? null,
    env,
    residentAddress: resident.address,
    shareEnv: shareEnvOf(config),
    startUp: { split: { prefillSmPct, decodeSmPct }, kvQuotaPct: 100 },
    standby,
    keepWarmMs,
    switching,
    limits,
  };
}

function shareEnvOf(config: MpsRespawnConfig | RocmCuMaskConfig): SupervisorOptions["shareEnv"] {
  if (config.type === "rocm-cu-mask") {
    return (role, smPct) => ({ HSA_CU_MASK: cuMask(role, smPct, config.gpuIndex, config) });
  }
  return (_role, smPct) => ({
    CUDA_MPS_ACTIVE_THREAD_PERCENTAGE: String(smPct),
    // Always set: with the variable missing CUDA would look elsewhere, find no daemon, and run without a cap.
    CUDA_MPS_PIPE_DIRECTORY: config.mps.pipeDirectory,
  });
}

function mpsOf({ mps }: MpsRespawnConfig): MpsPort {
  return new MpsControl(mps);
}
