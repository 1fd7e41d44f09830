/** The `driver` part of an instance that is moved by new workers: `mps-respawn` and `rocm-cu-mask`. */
import { isAbsolute } from "node:path";
import { z } from "zod";
import { admissionCapQuota } from "./admission-cap/admission-cap-config.js";
import { kvcachedQuota } from "./kvcached/kvcached-config.js";
import { argv, durationMs } from "../config-fields.js";

const smPct = z.number().min(1).max(100);
const env = z.record(
  z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be a variable's name"),
  z.string().max(4_096),
);
const path = z.string().min(1).max(4_096).refine(isAbsolute, "must be an absolute path");
/** CUDA takes no more than 60 clients per GPU. */
const MAX_STANDBY = 8;

const kvPoolQuota = z.strictObject({
  type: z.literal("kv-pool"),
  /** The pool of a rank (docs/kv-pool.md); `{rank}` is filled in. */
  path,
});

const respawn = {
  /** `{rank}` and `{role}` are filled in, here and in `env`. */
  command: argv,
  env: env.default({}),
  cwd: path.optional(),
  resident: z.strictObject({
    /** FULCRUM_RESIDENT: how workers reach it; `{rank}` is filled in. */
    address: z.string().min(1).max(4_096),
    /** Starts it; left out: somebody else does. */
    command: argv.optional(),
    env: env.default({}),
    cwd: path.optional(),
    /** It is up when this path exists. */
    readyPath: path.optional(),
    /** From its start until then; one that takes longer is ended and started again. */
    readyMs: durationMs(10, 86_400_000, 600_000),
  }),
  /** Of one GPU. */
  smCount: z.int().min(1).max(10_000),
  /** What runs until a split is decided. */
  prefillSmPct: smPct.default(100),
  decodeSmPct: smPct.default(100),
  minSmPct: smPct.default(5),
  maxSumPct: z.number().min(2).max(200).default(200),
  quota: z.discriminatedUnion("type", [kvPoolQuota, kvcachedQuota, admissionCapQuota]).optional(),
  /** Workers that wait ready at these shares: a switch to one of them needs no start. */
  standby: z
    .strictObject({
      prefill: z.array(smPct).max(MAX_STANDBY).default([]),
      decode: z.array(smPct).max(MAX_STANDBY).default([]),
    })
    .prefault({}),
  /** How long the worker that ran before stays, for the way back. */
  keepWarmMs: durationMs(0, 3_600_000, 60_000),
  /** `naive` stops the old workers before the new ones start: for comparison in benches, never for serving. */
  switching: z.enum(["overlapped", "naive"]).default("overlapped"),
  deadlines: z
    .strictObject({
      attachMs: durationMs(10, 3_600_000, 120_000),
      handOverMs: durationMs(10, 600_000, 30_000),
      /** Without a sign of life of a worker that iterates; they give one about once a second. */
      hangMs: durationMs(10, 3_600_000, 10_000),
      reconnectMs: durationMs(10, 3_600_000, 90_000),
      takeMs: durationMs(10, 600_000, 10_000),
      drainMs: durationMs(10, 600_000, 10_000),
      leaveMs: durationMs(10, 600_000, 10_000),
      sigtermMs: durationMs(10, 600_000, 10_000),
      terminateMs: durationMs(10, 600_000, 10_000),
    })
    .prefault({}),
  /** Where sockets and records lie; left out: `workers` in the agent's stateDir. */
  workersDir: path.optional(),
};

export const mpsRespawnDriver = z.strictObject({
  type: z.literal("mps-respawn"),
  ...respawn,
  smPerTpc: z.int().min(1).max(64).default(2),
  granularityPct: z.number().gt(0).max(50).default(1),
  mps: z.strictObject({
    pipeDirectory: path,
    protocol: z.union([z.literal("auto"), z.literal(2), z.literal(3)]).default("auto"),
    /** v3: the server's name. */
    server: z.string().min(1).max(200).optional(),
    /** Client contexts per GPU: 48 up to CUDA 13.0, 60 from 13.1, 16 before Volta. */
    clientLimit: z.int().min(2).max(1_000).default(48),
    timeoutMs: durationMs(10, 60_000, 5_000),
    /** nvidia-cuda-mps-control, where it is not on the PATH. */
    tool: z.string().min(1).max(4_096).optional(),
  }),
});

export const rocmCuMaskDriver = z.strictObject({
  type: z.literal("rocm-cu-mask"),
  ...respawn,
  /** CUs that are masked together: 2 where a work-group processor has two. */
  smPerTpc: z.int().min(1).max(64).default(1),
  granularityPct: z.number().gt(0).max(50).default(1),
  /** The device's number as HSA counts it in the worker, after ROCR_VISIBLE_DEVICES. */
  gpuIndex: z.int().min(0).max(1_023).default(0),
});

export type MpsRespawnConfig = z.infer<typeof mpsRespawnDriver>;
export type RocmCuMaskConfig = z.infer<typeof rocmCuMaskDriver>;
