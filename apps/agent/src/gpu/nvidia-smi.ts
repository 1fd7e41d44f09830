/** The fall-back where NVML cannot be loaded: the driver's own tool, read as CSV. */
import { parseCapability } from "./compute-capability.js";
import type { CudaVersion, ComputeMode, GpuFacts } from "./gpu-facts.js";
import { runTool, ToolError } from "./run-tool.js";

const FIELDS = [
  "index",
  "uuid",
  "name",
  "driver_version",
  "memory.total",
  "memory.used",
  "utilization.gpu",
  "compute_mode",
  "compute_cap",
  "mig.mode.current",
  "ecc.errors.uncorrected.volatile.total",
] as const;
const MIB = 1_048_576;
const COMPUTE_MODES: Readonly<Record<string, ComputeMode>> = {
  default: "default",
  exclusive_thread: "exclusive_thread",
  prohibited: "prohibited",
  exclusive_process: "exclusive_process",
};

export interface SmiFound {
  readonly driverVersion: string | null;
  readonly cudaVersion: CudaVersion | null;
  readonly gpus: readonly GpuFacts[];
}

export type SmiAnswer =
  | { readonly kind: "found"; readonly found: SmiFound }
  | { readonly kind: "problem"; readonly why: string };

/** Never throws. */
export async function askNvidiaSmi(options: {
  readonly nvidiaSmi?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs: number;
}): Promise<SmiAnswer> {
  const { nvidiaSmi: file = "nvidia-smi", env = process.env, timeoutMs } = options;
  const run = (args: readonly string[]) => runTool({ file, args, env, timeoutMs });
  try {
    const query = await run([`--query-gpu=${FIELDS.join(",")}`, "--format=csv,noheader,nounits"]);
    if (query.exitCode !== 0) {
      const said = `${query.stdout} ${query.stderr}`.trim().slice(0, 200);
      return problem(`it ended with ${String(query.exitCode)}: ${said}`);
    }
    const gpus = parseGpus(query.stdout);
    if (gpus === null) return problem(`it answered ${JSON.stringify(query.stdout.slice(0, 100))}`);
    // The query knows no CUDA version; the long report has it at its top.
    const report = await run(["-q", "-d", "COMPUTE"]);
    return { kind: "found", found: { ...gpus, cudaVersion: parseCudaVersion(report.stdout) } };
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    return problem(error.message);
  }
}

/** null when a line is none of ours. */
export function parseGpus(text: string): Omit<SmiFound, "cudaVersion"> | null {
  const gpus: GpuFacts[] = [];
  let driverVersion: string | null = null;
  for (const line of text.split("\n").filter((each) => each.trim() !== "")) {
    const cells = line.split(",").map((cell) => cell.trim());
    const index = numberOf(cells[0]);
    if (cells.length !== FIELDS.length || index === null || !Number.isInteger(index)) return null;
    driverVersion = known(cells[3]);
    gpus.push(gpuOf(index, cells));
  }
  return { driverVersion, gpus };
}

export function parseCudaVersion(text: string): CudaVersion | null {
  const match = /^\s*CUDA Version\s*:\s*(\d+)\.(\d+)/m.exec(text);
  return match ? { major: Number(match[1]), minor: Number(match[2]) } : null;
}

function gpuOf(index: number, cells: readonly string[]): GpuFacts {
  const [, uuid, name, , total, used, use, mode, capability, mig, ecc] = cells;
  const mib = (cell: string | undefined): number | null => {
    const value = numberOf(cell);
    return value === null ? null : value * MIB;
  };
  return {
    index,
    uuid: known(uuid) ?? `index-${index}`,
    name: known(name) ?? "unknown",
    computeCapability: parseCapability(capability ?? ""),
    // nvidia-smi counts neither SMs nor cores.
    smCount: null,
    memoryTotalBytes: mib(total),
    memoryUsedBytes: mib(used),
    utilisationPct: numberOf(use),
    migEnabled: known(mig) === null ? false : mig === "Enabled",
    computeMode: COMPUTE_MODES[mode?.toLowerCase() ?? ""] ?? null,
    eccErrors: numberOf(ecc),
    activeNvlinks: null,
    mpsProcesses: null,
  };
}

function problem(why: string): SmiAnswer {
  return { kind: "problem", why: `nvidia-smi: ${why}` };
}

/** `[N/A]`, `[Not Supported]` and the like stand for nothing. */
function known(cell: string | undefined): string | null {
  return cell === undefined || cell === "" || cell.startsWith("[") ? null : cell;
}

function numberOf(cell: string | undefined): number | null {
  const text = known(cell);
  const value = text === null ? Number.NaN : Number(text);
  return Number.isFinite(value) && value >= 0 ? value : null;
}
