/** Which drivers can work on a node, and why not. A rule over the facts (actuation.md §2 to §5). */
import type { CudaVersion, GpuFacts } from "../gpu/gpu-facts.js";
import type { DoctorFacts } from "./doctor-facts.js";
import type { DriverName, DriverVerdict } from "./doctor-report.js";

type Judged = Omit<DriverVerdict, "driver">;

export function judgeDrivers(facts: DoctorFacts): DriverVerdict[] {
  const judges: Readonly<Record<DriverName, (facts: DoctorFacts) => Judged>> = {
    "engine-sim": () => yes("needs no GPU"),
    "mps-respawn": mpsRespawn,
    "semi-pd-static": semiPdStatic,
    "sglang-pdmux": sglangPdmux,
    kvcached,
    "admission-cap": () => yes("needs a gateway endpoint that takes a token budget, and no GPU"),
    "rocm-cu-mask": rocmCuMask,
  };
  return (Object.keys(judges) as DriverName[]).map((driver) => ({ driver, ...judges[driver](facts) }));
}

function mpsRespawn(facts: DoctorFacts): Judged {
  const missing = mpsMissing(facts);
  return missing === null ? yes("live: workers are replaced under a new share") : no(missing);
}

function semiPdStatic(facts: DoctorFacts): Judged {
  const missing = mpsMissing(facts);
  return missing === null ? yes("not live: every change restarts the engine") : no(missing);
}

/** What MPS shares need; null when nothing is missing. */
function mpsMissing({ gpus, mps, node }: DoctorFacts): string | null {
  if (gpus.gpus.length === 0) return "no NVIDIA GPU is seen";
  const old = gpus.gpus.find(({ computeCapability }) => computeCapability && computeCapability.major < 7);
  if (old) return `GPU ${old.index} is older than Volta: its MPS clients have no share of their own`;
  const prohibited = gpus.gpus.find(({ computeMode }) => computeMode === "prohibited");
  if (prohibited) return `GPU ${prohibited.index} is in compute mode PROHIBITED`;
  if (mps.answer.kind === "problem") return `MPS: ${mps.answer.message}`;
  if (mps.answer.status === "FAULT") return "the MPS server is in FAULT until all its clients have exited";
  const daemon = mps.daemons.find(({ pipeDirectory }) => pipeDirectory === mps.pipeDirectory);
  if (daemon?.staticPartitions) return "the MPS daemon has static partitions (-S): it ignores percentages";
  if (daemon && isOfAnotherUser(daemon, node.uid)) {
    return `the MPS daemon is of user ${daemon.uid}, the agent of user ${String(node.uid)}`;
  }
  return null;
}

export function isOfAnotherUser(
  daemon: { readonly uid: number; readonly multiUser: boolean },
  uid: number | null,
): boolean {
  // A daemon of root serves every user, one at a time; a daemon of a user serves that user.
  return uid !== null && daemon.uid !== 0 && daemon.uid !== uid && !daemon.multiUser;
}

/** Green contexts: compute capability 6 to 9 (SGLang's own check) and the driver API of CUDA 12.4. */
function sglangPdmux({ gpus }: DoctorFacts): Judged {
  if (gpus.gpus.length === 0) return no("no NVIDIA GPU is seen");
  const outside = gpus.gpus.find(({ computeCapability: c }) => c && (c.major < 6 || c.major > 9));
  if (outside)
    return no(`GPU ${outside.index} has compute capability ${capability(outside)}: SGLang takes 6 to 9`);
  if (gpus.cudaVersion && !atLeast(gpus.cudaVersion, 12, 4)) {
    return no(`the driver supports CUDA ${words(gpus.cudaVersion)}, green contexts need 12.4`);
  }
  return yes("not live: groups are read at start; live where the engine has the hook");
}

function kvcached({ gpus, segments, sharedMemory }: DoctorFacts): Judged {
  const found = segments.filter(({ problem }) => problem === null);
  if (found.length > 0)
    return yes(`live for KV quota: ${found.length} segment${found.length > 1 ? "s" : ""} found`);
  if (segments[0]) return no(`${segments[0].name}: ${segments[0].problem ?? ""}`);
  if (gpus.gpus.length === 0) return no("no NVIDIA GPU is seen, and no segment of an engine");
  return no(`no kvcached segment in ${sharedMemory.path}: no engine runs with ENABLE_KVCACHED=true`);
}

function rocmCuMask({ rocm }: DoctorFacts): Judged {
  if (!rocm.kfd) return no("no AMD GPU driver (/dev/kfd)");
  return rocm.smi === null
    ? no("no rocm-smi on the PATH")
    : yes("live: workers are replaced under a new mask");
}

function capability({ computeCapability: c }: GpuFacts): string {
  return c ? `${c.major}.${c.minor}` : "unknown";
}

function atLeast({ major, minor }: CudaVersion, wantMajor: number, wantMinor: number): boolean {
  return major > wantMajor || (major === wantMajor && minor >= wantMinor);
}

function words({ major, minor }: CudaVersion): string {
  return `${major}.${minor}`;
}

function yes(reason: string): Judged {
  return { works: true, reason };
}

function no(reason: string): Judged {
  return { works: false, reason };
}
