import type { CudaVersion } from "../gpu/gpu-facts.js";

/**
 * Client contexts that one MPS server takes per GPU (docs.nvidia.com/deploy/mps): 60 from CUDA 13.1, 48 before,
 * 16 before Volta. An unknown version counts as an old one.
 */
export function clientLimitOf(cuda: CudaVersion | null, computeMajor: number | null): number {
  if (computeMajor !== null && computeMajor < 7) return 16;
  if (cuda === null) return 48;
  return cuda.major > 13 || (cuda.major === 13 && cuda.minor >= 1) ? 60 : 48;
}
