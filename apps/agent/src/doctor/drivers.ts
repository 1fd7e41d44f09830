/** Which drivers can work on a node, and why not. A rule over the facts (actuation.md §2 to §5). */
import type { CudaVersion, GpuFacts } from "../gpu/gpu-facts.js";
import type { DoctorFacts } from "./doctor-facts.js";
import type { DriverName, DriverVerdict } from "./doctor-report.js";

type Judged = Omit<DriverVerdict, "driver">;

export const INSTALL_NVIDIA =
  "install the NVIDIA driver, then nvidia-smi -L must list the GPU; a container also needs --gpus all";
export const INSTALL_MPS = "apt-get install nvidia-compute-utils-<driver branch>";
const START_KVCACHED =
  "start the engine with ENABLE_KVCACHED=true KVCACHED_AUTOPATCH=1 KVCACHED_IPC_NAME=<driver.segment>";

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
  return mpsMissing(facts) ?? yes("live: workers are replaced under a new share");
}

function semiPdStatic(facts: DoctorFacts): Judged {
  return mpsMissing(facts) ?? yes("not live: every change restarts the engine");
}

/** What MPS shares need; null when nothing is missing. */
function mpsMissing({ gpus, mps, node }: DoctorFacts): Judged | null {
  if (gpus.gpus.length === 0) return no("no NVIDIA GPU is seen", INSTALL_NVIDIA);
  const old = gpus.gpus.find(({ computeCapability }) => computeCapability && computeCapability.major < 7);
  if (old) {
    const why = `GPU ${old.index} is older than Volta: its MPS clients have no share of their own`;
    return no(why, "set driver.type: admission-cap, or move the instance to a newer GPU");
  }
  const prohibited = gpus.gpus.find(({ computeMode }) => computeMode === "prohibited");
  if (prohibited) {
    const { index } = prohibited;
    return no(
      `GPU ${index} is in compute mode PROHIBITED`,
      `sudo nvidia-smi -i ${index} -c EXCLUSIVE_PROCESS`,
    );
  }
  const start = `CUDA_MPS_PIPE_DIRECTORY=${mps.pipeDirectory} nvidia-cuda-mps-control -d`;
  if (mps.answer.kind === "problem") {
    const { code, message } = mps.answer;
    return no(`MPS: ${message}`, code === "missing_binary" ? INSTALL_MPS : start);
  }
  if (mps.answer.status === "FAULT") {
    return no("the MPS server is in FAULT until all its clients have exited", "stop every client of the GPU");
  }
  const daemon = mps.daemons.find(({ pipeDirectory }) => pipeDirectory === mps.pipeDirectory);
  if (daemon?.staticPartitions) {
    const why = "the MPS daemon has static partitions (-S): it ignores percentages";
    return no(why, `kill ${daemon.pid}; ${start}`);
  }
  if (daemon && isOfAnotherUser(daemon, node.uid)) {
    const why = `the MPS daemon is of user ${daemon.uid}, the agent of user ${String(node.uid)}`;
    return no(why, `run the agent as user ${daemon.uid}, or start the daemon as root`);
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
  if (gpus.gpus.length === 0) return no("no NVIDIA GPU is seen", INSTALL_NVIDIA);
  const outside = gpus.gpus.find(({ computeCapability: c }) => c && (c.major < 6 || c.major > 9));
  if (outside) {
    const why = `GPU ${outside.index} has compute capability ${capability(outside)}: SGLang takes 6 to 9`;
    return no(why, "set driver.type: admission-cap, or move the instance to a GPU of 6.0 to 9.x");
  }
  if (gpus.cudaVersion && !atLeast(gpus.cudaVersion, 12, 4)) {
    const why = `the driver supports CUDA ${words(gpus.cudaVersion)}, green contexts need 12.4`;
    return no(why, "install NVIDIA driver 550 or later");
  }
  return yes("not live: groups are read at start; live where the engine has the hook");
}

function kvcached({ gpus, segments, sharedMemory }: DoctorFacts): Judged {
  const found = segments.filter(({ problem }) => problem === null);
  if (found.length > 0)
    return yes(`live for KV quota: ${found.length} segment${found.length > 1 ? "s" : ""} found`);
  if (segments[0]) return no(`${segments[0].name}: ${segments[0].problem ?? ""}`, START_KVCACHED);
  if (gpus.gpus.length === 0) return no("no NVIDIA GPU is seen, and no segment of an engine", INSTALL_NVIDIA);
  const why = `no kvcached segment in ${sharedMemory.path}: no engine runs with ENABLE_KVCACHED=true`;
  return no(why, START_KVCACHED);
}

function rocmCuMask({ rocm }: DoctorFacts): Judged {
  if (!rocm.kfd) return no("no AMD GPU driver (/dev/kfd)", "install the amdgpu driver: ls -l /dev/kfd");
  return rocm.smi === null
    ? no("no rocm-smi on the PATH", "install rocm-smi, and put it on the agent's PATH")
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
  return { works: true, reason, fix: null };
}

function no(reason: string, fix: string): Judged {
  return { works: false, reason, fix };
}
