/** NVML's facts, one field at a time: what a GPU or driver does not support is null, not an error (nvml.h). */
import { type ComputeCapability, smCountOf } from "./compute-capability.js";
import type { CudaVersion, ComputeMode, GpuFacts, GpuInventory, GpuLink } from "./gpu-facts.js";
import { NVML, type NvmlArgument, type NvmlLibrary } from "./nvml.js";

const COMPUTE_MODES: readonly ComputeMode[] = [
  "default",
  "exclusive_thread",
  "prohibited",
  "exclusive_process",
];
const PATHS: ReadonlyMap<number, GpuLink["path"]> = new Map([
  [0, "same_board"],
  [10, "one_switch"],
  [20, "several_switches"],
  [30, "host_bridge"],
  [40, "numa_node"],
  [50, "system"],
]);
const MAX_GPUS = 64;
/** NVML_NVLINK_MAX_LINKS. */
const MAX_NVLINKS = 18;
const P2P_CAPABILITY_NVLINK = 2;
const ECC_UNCORRECTED = 1;
const ECC_SINCE_LOAD = 0;
/** nvmlProcessInfo_t, versions 2 and 3: pid, padding, used bytes, GPU instance, compute instance. */
const PROCESS_BYTES = 24;
const MAX_PROCESSES = 256;
/** NVML_VALUE_NOT_AVAILABLE. */
const UNKNOWN_BYTES = 0xffff_ffff_ffff_ffffn;

/** @throws NvmlError */
export async function readGpus(nvml: NvmlLibrary): Promise<Omit<GpuInventory, "source" | "problems">> {
  const handles = await deviceHandles(nvml);
  const gpus: GpuFacts[] = [];
  for (const [index, device] of handles.entries()) gpus.push(await readGpu(nvml, index, device));
  return {
    driverVersion: await readText(nvml, "nvmlSystemGetDriverVersion"),
    cudaVersion: await readCudaVersion(nvml),
    nvmlVersion: await readText(nvml, "nvmlSystemGetNVMLVersion"),
    gpus,
    links: await readLinks(nvml, handles),
  };
}

/** In NVML's order, which is that of nvidia-smi. @throws NvmlError */
export async function deviceHandles(nvml: NvmlLibrary): Promise<bigint[]> {
  const count = Buffer.alloc(4);
  await nvml.must("nvmlDeviceGetCount_v2", count);
  const handles: bigint[] = [];
  for (let index = 0; index < Math.min(count.readUInt32LE(), MAX_GPUS); index += 1) {
    const device = Buffer.alloc(8);
    await nvml.must("nvmlDeviceGetHandleByIndex_v2", index, device);
    handles.push(device.readBigUInt64LE());
  }
  return handles;
}

/** @throws NvmlError timeout */
export async function uuidOf(nvml: NvmlLibrary, device: bigint): Promise<string | null> {
  return readText(nvml, "nvmlDeviceGetUUID", device);
}

async function readGpu(nvml: NvmlLibrary, index: number, device: bigint): Promise<GpuFacts> {
  const memory = await readOut(nvml, "nvmlDeviceGetMemoryInfo", 24, device);
  const use = await readOut(nvml, "nvmlDeviceGetUtilizationRates", 8, device);
  const mode = await readOut(nvml, "nvmlDeviceGetComputeMode", 4, device);
  const ecc = await readOut(nvml, "nvmlDeviceGetTotalEccErrors", 8, device, ECC_UNCORRECTED, ECC_SINCE_LOAD);
  const cores = await readOut(nvml, "nvmlDeviceGetNumGpuCores", 4, device);
  const computeCapability = await readCapability(nvml, device);
  const migEnabled = await readMig(nvml, device);
  return {
    index,
    uuid: (await uuidOf(nvml, device)) ?? `index-${index}`,
    name: (await readText(nvml, "nvmlDeviceGetName", device)) ?? "unknown",
    computeCapability,
    smCount: migEnabled ? null : smCountOf(computeCapability, cores?.readUInt32LE() ?? null),
    memoryTotalBytes: memory && Number(memory.readBigUInt64LE(0)),
    memoryUsedBytes: memory && Number(memory.readBigUInt64LE(16)),
    utilisationPct: use?.readUInt32LE(0) ?? null,
    migEnabled,
    computeMode: (mode && COMPUTE_MODES[mode.readUInt32LE()]) ?? null,
    eccErrors: ecc && Number(ecc.readBigUInt64LE()),
    activeNvlinks: await countNvlinks(nvml, device),
    mpsProcesses: await readMpsProcesses(nvml, device),
  };
}

async function readCudaVersion(nvml: NvmlLibrary): Promise<CudaVersion | null> {
  const version = (await readOut(nvml, "nvmlSystemGetCudaDriverVersion_v2", 4))?.readInt32LE();
  if (version === undefined || version < 1_000) return null;
  return { major: Math.floor(version / 1_000), minor: Math.floor((version % 1_000) / 10) };
}

async function readCapability(nvml: NvmlLibrary, device: bigint): Promise<ComputeCapability | null> {
  const major = Buffer.alloc(4);
  const minor = Buffer.alloc(4);
  if (!(await nvml.can("nvmlDeviceGetCudaComputeCapability", device, major, minor))) return null;
  return { major: major.readInt32LE(), minor: minor.readInt32LE() };
}

/** false also where the GPU knows no MIG. */
async function readMig(nvml: NvmlLibrary, device: bigint): Promise<boolean | null> {
  const current = Buffer.alloc(4);
  const status = await nvml.call("nvmlDeviceGetMigMode", device, current, Buffer.alloc(4));
  if (status === NVML.notSupported || status === NVML.functionNotFound) return false;
  return status === NVML.ok ? current.readUInt32LE() === 1 : null;
}

async function countNvlinks(nvml: NvmlLibrary, device: bigint): Promise<number | null> {
  let active: number | null = null;
  for (let link = 0; link < MAX_NVLINKS; link += 1) {
    const state = await readOut(nvml, "nvmlDeviceGetNvLinkState", 4, device, link);
    if (state === null) break;
    active = (active ?? 0) + (state.readUInt32LE() === 1 ? 1 : 0);
  }
  return active;
}

async function readMpsProcesses(nvml: NvmlLibrary, device: bigint): Promise<GpuFacts["mpsProcesses"]> {
  const count = Buffer.alloc(4);
  const rows = Buffer.alloc(PROCESS_BYTES * MAX_PROCESSES);
  for (const name of [
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v2",
  ]) {
    count.writeUInt32LE(MAX_PROCESSES);
    if (!(await nvml.can(name, device, count, rows))) continue;
    return Array.from({ length: Math.min(count.readUInt32LE(), MAX_PROCESSES) }, (_, i) => {
      const used = rows.readBigUInt64LE(i * PROCESS_BYTES + 8);
      return {
        pid: rows.readUInt32LE(i * PROCESS_BYTES),
        usedBytes: used === UNKNOWN_BYTES ? null : Number(used),
      };
    });
  }
  return null;
}

async function readLinks(nvml: NvmlLibrary, handles: readonly bigint[]): Promise<GpuLink[]> {
  const links: GpuLink[] = [];
  for (const [from, first] of handles.entries()) {
    for (const [to, second] of handles.entries()) {
      if (to <= from) continue;
      const level = await readOut(nvml, "nvmlDeviceGetTopologyCommonAncestor", 4, first, second);
      const nvlink = await readOut(nvml, "nvmlDeviceGetP2PStatus", 4, first, second, P2P_CAPABILITY_NVLINK);
      links.push({
        from,
        to,
        nvlink: nvlink && nvlink.readUInt32LE() === 0,
        path: (level && PATHS.get(level.readUInt32LE())) ?? null,
      });
    }
  }
  return links;
}

/** What a function leaves in its last argument, a buffer of `bytes`; null where there is no answer. */
async function readOut(
  nvml: NvmlLibrary,
  name: string,
  bytes: number,
  ...before: readonly NvmlArgument[]
): Promise<Buffer | null> {
  const out = Buffer.alloc(bytes);
  return (await nvml.can(name, ...before, out)) ? out : null;
}

/** Of a function whose last arguments are a text buffer and its size. */
async function readText(
  nvml: NvmlLibrary,
  name: string,
  ...before: readonly NvmlArgument[]
): Promise<string | null> {
  const out = Buffer.alloc(96);
  if (!(await nvml.can(name, ...before, out, out.byteLength))) return null;
  const end = out.indexOf(0);
  return out.toString("utf8", 0, end < 0 ? out.byteLength : end);
}
