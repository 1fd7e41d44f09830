/** The GPUs of a node: through NVML, else through nvidia-smi, else none, with the reasons. */
import type { GpuInventory } from "./gpu-facts.js";
import { NvmlError, NvmlLibrary } from "./nvml.js";
import { readGpus } from "./nvml-gpus.js";
import { askNvidiaSmi } from "./nvidia-smi.js";

export interface GpuDiscoveryOptions {
  /** Left out: what the driver installs. */
  readonly nvmlLibrary?: string | undefined;
  readonly nvidiaSmi?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Per call. */
  readonly timeoutMs: number;
}

/** Never throws: a node without a GPU is an ordinary node. */
export async function discoverGpus(options: GpuDiscoveryOptions): Promise<GpuInventory> {
  const problems: string[] = [];
  const nothing = {
    driverVersion: null,
    cudaVersion: null,
    nvmlVersion: null,
    gpus: [],
    links: [],
  };
  try {
    const nvml = await NvmlLibrary.open({ library: options.nvmlLibrary, timeoutMs: options.timeoutMs });
    try {
      return { source: "nvml", ...(await readGpus(nvml)), problems };
    } finally {
      await nvml.close();
    }
  } catch (error) {
    if (!(error instanceof NvmlError)) throw error;
    problems.push(`NVML: ${error.message}`);
  }
  const smi = await askNvidiaSmi(options);
  if (smi.kind === "problem") return { source: "none", ...nothing, problems: [...problems, smi.why] };
  return { ...nothing, source: "nvidia-smi", ...smi.found, problems };
}
