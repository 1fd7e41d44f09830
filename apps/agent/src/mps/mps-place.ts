/** Which MPS daemon a configuration means. */
import { join } from "node:path";
import type { AgentConfig } from "../config.js";
import type { GpuWatchConfig } from "../gpu/gpu-config.js";

export type MpsPlace = NonNullable<GpuWatchConfig["mps"]>;

/** The one that is watched, else the first that a driver names; null: this node uses none. */
export function mpsPlaceOf({
  gpuWatch,
  instances,
}: Pick<AgentConfig, "gpuWatch" | "instances">): MpsPlace | null {
  if (gpuWatch.mps) return gpuWatch.mps;
  for (const driver of instances.map((instance): object => instance.driver)) {
    if ("mps" in driver) return driver.mps as MpsPlace;
  }
  return null;
}

/** The server's log; null where no log directory is named. v3 has a folder per server. */
export function serverLogOf({ logDirectory, server }: MpsPlace): string | null {
  if (logDirectory === undefined) return null;
  return server === undefined ? join(logDirectory, "server.log") : join(logDirectory, server, "server.log");
}
