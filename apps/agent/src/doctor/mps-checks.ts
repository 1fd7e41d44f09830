/** What the doctor says of MPS. A rule over the facts (actuation.md §2.2, §2.3). */
import type { DoctorFacts, MpsFacts } from "./doctor-facts.js";
import type { Check } from "./doctor-report.js";
import { INSTALL_MPS, INSTALL_NVIDIA, isOfAnotherUser } from "./drivers.js";

/** sun_path holds 108 bytes with its final zero; the daemon binds `<pipe directory>/control`. */
const MAX_PIPE_BYTES = 107 - "/control".length;

export function checkMps(facts: DoctorFacts, needed: boolean): Check[] {
  const { mps, gpus } = facts;
  if (gpus.gpus.length === 0 && mps.tool === null) {
    return [
      {
        id: "mps",
        status: needed ? "fail" : "skip",
        says: "no NVIDIA GPU and no MPS tool",
        fix: needed ? INSTALL_NVIDIA : null,
      },
    ];
  }
  return [
    checkDaemon(mps, needed),
    ...checkPipe(mps),
    ...checkUser(facts, needed),
    ...checkComputeMode(facts),
  ];
}

function checkDaemon(mps: MpsFacts, needed: boolean): Check {
  const id = "mps";
  const status = needed ? "fail" : "warn";
  const { answer, pipeDirectory } = mps;
  const start = `CUDA_MPS_PIPE_DIRECTORY=${pipeDirectory} nvidia-cuda-mps-control -d`;
  if (mps.tool === null) {
    const says = "nvidia-cuda-mps-control is not on the PATH: it comes with the driver's compute utilities";
    return { id, status, says, fix: INSTALL_MPS };
  }
  if (answer.kind === "problem") {
    const elsewhere = mps.daemons.find((daemon) => daemon.pipeDirectory !== pipeDirectory);
    if (answer.code === "no_daemon" && elsewhere)
      return daemonElsewhere(mps, elsewhere.pipeDirectory, status);
    if (answer.code === "ambiguous_server") {
      const fix =
        "set mps.server in the agent's configuration to the server whose pipe directory the workers use";
      return { id, status, says: answer.message, fix };
    }
    const restart = `kill ${mps.daemons.map(({ pid }) => pid).join(" ")}; ${start}`;
    const hangs = answer.code === "timeout" && mps.daemons.length > 0;
    return { id, status, says: answer.message, fix: hangs ? restart : start };
  }
  if (answer.status === "FAULT") {
    const says = `the MPS server ${answer.serverPid ?? ""} is in FAULT: new clients get error 807`;
    return { id, status, says, fix: "stop every client of the GPU; the server then recovers by itself" };
  }
  const server = answer.serverPid === null ? "no server yet" : `server ${answer.serverPid} ${answer.status}`;
  const says = `daemon answers in ${pipeDirectory} (v${answer.protocol}), ${server}, ${answer.clients} clients`;
  if (answer.defaultPct < 100) {
    const low = `${says}; its default share is ${answer.defaultPct} %, which no worker can exceed`;
    const fix = `echo "set_default_active_thread_percentage 100" | CUDA_MPS_PIPE_DIRECTORY=${pipeDirectory} nvidia-cuda-mps-control`;
    return { id, status: "warn", says: low, fix };
  }
  return { id, status: "ok", says, fix: null };
}

function daemonElsewhere(mps: MpsFacts, running: string | null, status: "fail" | "warn"): Check {
  const where = running ?? "a pipe directory that this user cannot read";
  const says = `nothing answers in ${mps.pipeDirectory}, but a daemon runs in ${where}: workers would run without a cap`;
  const fix =
    running === null
      ? `sudo cat /proc/${mps.daemons[0]?.pid ?? 0}/environ | tr '\\0' '\\n' | grep CUDA_MPS_PIPE_DIRECTORY`
      : `set mps.pipeDirectory: ${running} in the agent's configuration`;
  return { id: "mps", status, says, fix };
}

function checkPipe({ pipeDirectory, pipeFrom, environmentPipe }: MpsFacts): Check[] {
  const checks: Check[] = [];
  const bytes = Buffer.byteLength(pipeDirectory);
  if (bytes > MAX_PIPE_BYTES) {
    checks.push({
      id: "mps-pipe-length",
      status: "fail",
      says: `the pipe directory has ${bytes} bytes, at most ${MAX_PIPE_BYTES} fit into a socket's address`,
      fix: "mkdir -p /run/nvidia-mps, and use it as the pipe directory of daemon and agent",
    });
  }
  if (pipeFrom === "config" && environmentPipe !== null && environmentPipe !== pipeDirectory) {
    checks.push({
      id: "mps-environment",
      status: "warn",
      says: `CUDA_MPS_PIPE_DIRECTORY is ${environmentPipe} here, the configuration says ${pipeDirectory}`,
      fix: `export CUDA_MPS_PIPE_DIRECTORY=${pipeDirectory}`,
    });
  }
  return checks;
}

function checkUser({ mps, node }: DoctorFacts, needed: boolean): Check[] {
  const daemon = mps.daemons.find((each) => each.pipeDirectory === mps.pipeDirectory) ?? mps.daemons[0];
  if (!daemon || !isOfAnotherUser(daemon, node.uid)) return [];
  return [
    {
      id: "mps-user",
      status: needed ? "fail" : "warn",
      says: `the MPS daemon ${daemon.pid} is of user ${daemon.uid}, this is user ${String(node.uid)}: its server takes no clients of ours`,
      fix: `run the agent as user ${daemon.uid}, or start the daemon as root`,
    },
  ];
}

/** In DEFAULT mode a worker that misses the daemon runs uncapped beside MPS; in EXCLUSIVE_PROCESS it fails. */
function checkComputeMode({ gpus, mps }: DoctorFacts): Check[] {
  if (mps.answer.kind === "problem") return [];
  const open = gpus.gpus.filter(({ computeMode }) => computeMode === "default");
  if (open.length === 0) return [];
  const indexes = open.map(({ index }) => index).join(",");
  return [
    {
      id: "compute-mode",
      status: "warn",
      says: `GPU ${indexes} is in compute mode DEFAULT: a process that misses the MPS daemon runs there without a cap`,
      fix: `sudo nvidia-smi -i ${indexes} -c EXCLUSIVE_PROCESS`,
    },
  ];
}
