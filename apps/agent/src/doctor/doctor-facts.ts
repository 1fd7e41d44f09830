/** What the doctor found, before it judges. null: not asked, because the configuration does not name it. */
import type { GpuInventory } from "../gpu/gpu-facts.js";
import type { ServerStatus } from "../mps/mps-answers.js";
import type { MpsProtocol } from "../mps/mps-control.js";
import type { MpsErrorCode } from "../mps/mps-error.js";
import type { ReadErrorCode } from "../reader/engine-reader.js";

export interface DoctorFacts {
  readonly node: NodeFacts;
  readonly config: {
    readonly path: string;
    /** Why it cannot be used; null when it can. */
    readonly problem: string | null;
  } | null;
  readonly gpus: GpuInventory;
  readonly rocm: { readonly smi: string | null; readonly kfd: boolean };
  readonly mps: MpsFacts;
  readonly sharedMemory: SharedMemoryFacts;
  readonly stateDir: { readonly path: string; readonly problem: string | null } | null;
  readonly controller: ControllerFacts | null;
  readonly engines: readonly EngineFacts[];
  readonly parts: readonly PartFacts[];
  readonly segments: readonly SegmentFacts[];
}

export interface NodeFacts {
  readonly hostname: string;
  readonly platform: string;
  readonly arch: string;
  readonly kernel: string;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly nodeVersion: string;
  readonly uid: number | null;
}

export interface MpsFacts {
  /** nvidia-cuda-mps-control; null: not on the PATH. */
  readonly tool: string | null;
  readonly pipeDirectory: string;
  /** Who says that it is this one. */
  readonly pipeFrom: "config" | "environment" | "running daemon" | "default";
  /** CUDA_MPS_PIPE_DIRECTORY of the doctor's own environment. */
  readonly environmentPipe: string | null;
  readonly daemons: readonly MpsDaemon[];
  readonly answer: MpsAnswer;
}

export type MpsAnswer =
  | {
      readonly kind: "answers";
      readonly protocol: MpsProtocol;
      readonly status: ServerStatus;
      readonly serverPid: number | null;
      readonly clients: number;
      readonly defaultPct: number;
    }
  | { readonly kind: "problem"; readonly code: MpsErrorCode; readonly message: string };

/** A control daemon that runs, whatever its pipe directory. */
export interface MpsDaemon {
  readonly pid: number;
  readonly uid: number;
  /** null: its environment is not ours to read. */
  readonly pipeDirectory: string | null;
  readonly multiUser: boolean;
  readonly staticPartitions: boolean;
}

export interface SharedMemoryFacts {
  readonly path: string;
  readonly sizeBytes: number | null;
  readonly freeBytes: number | null;
  /** Why nothing can be made there; null when nothing speaks against it. */
  readonly problem: string | null;
}

export interface ControllerFacts {
  readonly url: string;
  readonly answer: "ok" | "no_key" | "key_refused" | "unreachable" | "unexpected";
  readonly detail: string;
  /** Ours ahead of the controller's; null when it did not tell the time. Known to a second. */
  readonly clockAheadMs: number | null;
}

export interface EngineFacts {
  readonly instance: string;
  readonly driver: string;
  /** Of a driver that has one for the KV quota. */
  readonly quota: string | null;
  readonly reader: string;
  readonly urls: readonly string[];
  /** Counters and histograms that the instance's own reader took from its pages; null when it could not. */
  readonly series: number | null;
  readonly problem: { readonly code: ReadErrorCode; readonly message: string } | null;
  /** Gauges that were left out, and why. */
  readonly notes: readonly string[];
}

/** What a driver, or its quota, would move: whether it answers as the agent needs it. Only looked at. */
export interface PartFacts {
  readonly instance: string;
  readonly part: "driver" | "quota";
  readonly type: string;
  /** Endpoint, file or segment. */
  readonly target: string;
  readonly problem: PartProblem | null;
}

export interface PartProblem {
  /** `warn`: it works, and moves nothing as it is configured. */
  readonly status: "fail" | "warn";
  readonly says: string;
  readonly fix: string;
}

export interface SegmentFacts {
  /** In shared memory; elsewhere with its folder. */
  readonly name: string;
  readonly limitBytes: number | null;
  readonly usedBytes: number | null;
  /** Why it is no kvcached segment. */
  readonly problem: string | null;
}
