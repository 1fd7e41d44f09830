/** What the agent's configuration says of GPUs. */
import { z } from "zod";
import { absolutePath, durationMs } from "../config-fields.js";

const timeoutMs = durationMs(100, 60_000, 5_000);

const GPU_REF = "must be an index from 0 to 63 or a UUID such as GPU-74d43ed3-cdf7-e667-3644-bf5b4f46ed65";

/** A GPU by NVML's index or by its UUID. */
const gpuRef = z
  .union([z.int(), z.string()], GPU_REF)
  .refine(
    (ref) => (typeof ref === "number" ? ref >= 0 && ref <= 63 : /^(GPU|MIG)-[0-9A-Za-z-]{8,90}$/.test(ref)),
    GPU_REF,
  );

/** Of an instance: it is not moved while another one of these GPUs is, and is told of their faults. */
export const gpuRefs = z
  .array(gpuRef)
  .max(64)
  .refine((refs) => new Set(refs).size === refs.length, "must not name a GPU twice")
  .default([]);

export const gpuWatch = z
  .strictObject({
    intervalMs: durationMs(100, 600_000, 5_000),
    /** Left out: what the driver installs. */
    nvmlLibrary: absolutePath.optional(),
    nvmlTimeoutMs: timeoutMs,
    /** Left out: the daemon of the first driver that names one; without that, MPS is not watched. */
    mps: z
      .strictObject({
        pipeDirectory: absolutePath,
        protocol: z.union([z.literal("auto"), z.literal(2), z.literal(3)]).default("auto"),
        /** MPS v3: left out, the server of the agent's user. */
        server: z.string().min(1).max(64).optional(),
        /** Where server.log is. */
        logDirectory: absolutePath.optional(),
        /** nvidia-cuda-mps-control, where it is not on the PATH. */
        tool: z.string().min(1).max(4_096).optional(),
        timeoutMs,
      })
      .optional(),
  })
  .prefault({});

export type GpuRef = z.infer<typeof gpuRef>;
export type GpuWatchConfig = z.infer<typeof gpuWatch>;
