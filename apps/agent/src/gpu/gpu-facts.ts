/** What is known of a node's GPUs, whoever tells it. */
import type { ComputeCapability } from "./compute-capability.js";

/** A version of CUDA that a driver supports, such as 13.1. */
export interface CudaVersion {
  readonly major: number;
  readonly minor: number;
}

export type ComputeMode = "default" | "exclusive_thread" | "prohibited" | "exclusive_process";

/** What the source does not tell is null. */
export interface GpuFacts {
  readonly index: number;
  readonly uuid: string;
  readonly name: string;
  readonly computeCapability: ComputeCapability | null;
  /** Of the whole GPU; null under MIG, where clients see an instance's. */
  readonly smCount: number | null;
  readonly memoryTotalBytes: number | null;
  readonly memoryUsedBytes: number | null;
  readonly utilisationPct: number | null;
  readonly migEnabled: boolean | null;
  readonly computeMode: ComputeMode | null;
  /** Uncorrected, since the driver was loaded. */
  readonly eccErrors: number | null;
  /** NVLinks that are up. */
  readonly activeNvlinks: number | null;
  readonly mpsProcesses: readonly { readonly pid: number; readonly usedBytes: number | null }[] | null;
}

/** How two GPUs reach each other (nvml.h, nvmlGpuTopologyLevel_t). */
export interface GpuLink {
  readonly from: number;
  readonly to: number;
  readonly nvlink: boolean | null;
  readonly path:
    | "same_board"
    | "one_switch"
    | "several_switches"
    | "host_bridge"
    | "numa_node"
    | "system"
    | null;
}

export interface GpuInventory {
  readonly source: "nvml" | "nvidia-smi" | "none";
  readonly driverVersion: string | null;
  /** The newest CUDA that the driver supports. */
  readonly cudaVersion: CudaVersion | null;
  readonly nvmlVersion: string | null;
  readonly gpus: readonly GpuFacts[];
  readonly links: readonly GpuLink[];
  /** Why a source did not serve, in the order in which they were asked. */
  readonly problems: readonly string[];
}
