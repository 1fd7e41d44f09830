/** Compute capability of a GPU, such as 9.0. */
export interface ComputeCapability {
  readonly major: number;
  readonly minor: number;
}

/** FP32 cores of one SM (CUDA programming guide, "Compute Capabilities"; the architectures' white papers). */
const CORES_PER_SM: Readonly<Record<string, number>> = {
  "7.0": 64,
  "7.2": 64,
  "7.5": 64,
  "8.0": 64,
  "8.6": 128,
  "8.7": 128,
  "8.9": 128,
  "9.0": 128,
  "10.0": 128,
  "10.3": 128,
  "12.0": 128,
  "12.1": 128,
};

/**
 * SMs of a whole GPU from NVML's core count: NVML itself does not count SMs. null where the architecture is not in
 * the table or the count is no multiple of it; a worker's read-back tells then.
 */
export function smCountOf(capability: ComputeCapability | null, cores: number | null): number | null {
  const perSm = capability && CORES_PER_SM[`${capability.major}.${capability.minor}`];
  if (!perSm || cores === null || cores < perSm || cores % perSm !== 0) return null;
  return cores / perSm;
}

export function parseCapability(text: string): ComputeCapability | null {
  const match = /^(\d{1,3})\.(\d{1,3})$/.exec(text.trim());
  return match ? { major: Number(match[1]), minor: Number(match[2]) } : null;
}
