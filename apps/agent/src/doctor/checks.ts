/** What the doctor says of a node's facts: a rule, most basic things first. */
import type { ControllerFacts, DoctorFacts, EngineFacts } from "./doctor-facts.js";
import type { Check, DriverVerdict, Fix } from "./doctor-report.js";
import { INSTALL_NVIDIA } from "./drivers.js";
import { checkMps } from "./mps-checks.js";

const MPS_DRIVERS: ReadonlySet<string> = new Set(["mps-respawn", "semi-pd-static"]);
/** What a container has by default, which NCCL and an engine's queues fill up. */
const SMALL_SHARED_MEMORY_BYTES = 64 * 1_048_576;
/** Reports beyond this are refused or misplaced in time by the controller. */
const MAX_CLOCK_SKEW_MS = 2_000;

export function judge(facts: DoctorFacts, drivers: readonly DriverVerdict[]): Check[] {
  const used = new Set(facts.engines.map(({ driver }) => driver));
  const needsMps = [...used].some((driver) => MPS_DRIVERS.has(driver));
  return [
    checkConfig(facts),
    checkGpus(facts),
    ...checkMps(facts, needsMps),
    checkSharedMemory(facts),
    checkStateDir(facts),
    ...checkController(facts.controller),
    ...facts.engines.map(checkEngine),
    ...checkDrivers(facts, drivers),
  ];
}

/** Failures before warnings, each in the order of the checks. */
export function fixesOf(checks: readonly Check[]): Fix[] {
  const of = (status: Check["status"]): Fix[] =>
    checks.flatMap((check) =>
      check.status === status && check.fix !== null
        ? [{ check: check.id, why: check.says, command: check.fix }]
        : [],
    );
  return [...of("fail"), ...of("warn")];
}

function checkConfig({ config }: DoctorFacts): Check {
  const id = "config";
  if (config === null) {
    return { id, status: "skip", says: "none given: --config checks controller and engines too", fix: null };
  }
  const { path, problem } = config;
  if (problem === null) return { id, status: "ok", says: `${path} is valid`, fix: null };
  return { id, status: "fail", says: problem, fix: `correct ${path}` };
}

function checkGpus({ gpus, rocm }: DoctorFacts): Check {
  const id = "gpus";
  const versions = `driver ${gpus.driverVersion ?? "unknown"}, CUDA ${
    gpus.cudaVersion ? `${gpus.cudaVersion.major}.${gpus.cudaVersion.minor}` : "unknown"
  }`;
  const faulty = gpus.gpus.filter(({ eccErrors }) => (eccErrors ?? 0) > 0);
  if (faulty.length > 0) {
    const says = `uncorrected memory errors on GPU ${faulty.map(({ index }) => index).join(", ")}`;
    return {
      id,
      status: "warn",
      says,
      fix: `nvidia-smi -q -d ECC,PAGE_RETIREMENT,ROW_REMAPPER -i ${faulty[0]?.index ?? 0}`,
    };
  }
  if (gpus.source === "nvml") {
    return { id, status: "ok", says: `${gpus.gpus.length} through NVML, ${versions}`, fix: null };
  }
  if (gpus.source === "nvidia-smi") {
    const says = `${gpus.gpus.length} through nvidia-smi, ${versions}; without NVML no Xid errors are told (${gpus.problems[0] ?? ""})`;
    return {
      id,
      status: "warn",
      says,
      fix: "put the driver's libnvidia-ml.so.1 where the loader finds it: ldconfig -p | grep nvidia-ml",
    };
  }
  if (rocm.kfd) return { id, status: "ok", says: "an AMD GPU driver, no NVIDIA GPU", fix: null };
  return {
    id,
    status: "warn",
    says: `none is seen (${gpus.problems.join("; ")})`,
    fix: INSTALL_NVIDIA,
  };
}

function checkSharedMemory({ sharedMemory }: DoctorFacts): Check {
  const id = "shared-memory";
  const { path, sizeBytes, freeBytes, problem } = sharedMemory;
  if (problem !== null) {
    return {
      id,
      status: "fail",
      says: `${path}: ${problem}`,
      fix: `mount -t tmpfs -o mode=1777 tmpfs ${path}`,
    };
  }
  const says = `${path}: ${mebibytes(freeBytes)} free of ${mebibytes(sizeBytes)}`;
  if (sizeBytes === null || sizeBytes > SMALL_SHARED_MEMORY_BYTES)
    return { id, status: "ok", says, fix: null };
  const fix = `mount -o remount,size=2G ${path}, or in a container: --shm-size 2g`;
  return { id, status: "warn", says: `${says}: engines need more`, fix };
}

function checkStateDir({ stateDir }: DoctorFacts): Check {
  const id = "state-folder";
  if (stateDir === null) return { id, status: "skip", says: "no configuration", fix: null };
  const { path, problem } = stateDir;
  if (problem === null) return { id, status: "ok", says: `${path} can be used`, fix: null };
  const fix = `mkdir -p ${path} && chown "$(id -u)" ${path}`;
  return { id, status: "fail", says: `${path}: ${problem}`, fix };
}

function checkController(controller: ControllerFacts | null): Check[] {
  const id = "controller";
  if (controller === null) return [{ id, status: "skip", says: "no configuration", fix: null }];
  const { url, answer, detail, clockAheadMs } = controller;
  const fixes = {
    ok: null,
    no_key: "fulcrum keys create <name> --role agent, and put the key into controller.keyFile",
    key_refused: "fulcrum keys create <name> --role agent, and put the key into controller.keyFile",
    unreachable: `curl -sS ${url}`,
    unexpected: `curl -sSi ${url}: is this a Fulcrum controller?`,
  } as const;
  const said: Check = {
    id,
    status: answer === "ok" ? "ok" : "fail",
    says: `${url}: ${detail}`,
    fix: fixes[answer],
  };
  if (clockAheadMs === null) return [said];
  const seconds = Math.round(Math.abs(clockAheadMs) / 1_000);
  const off = Math.abs(clockAheadMs) > MAX_CLOCK_SKEW_MS;
  const clock: Check = {
    id: "clock",
    status: off ? "warn" : "ok",
    says: off
      ? `this node's clock is ${seconds} s ${clockAheadMs > 0 ? "ahead of" : "behind"} the controller's`
      : "agrees with the controller's to 2 s",
    fix: off ? "timedatectl set-ntp true, on both" : null,
  };
  return [said, clock];
}

function checkEngine({ instance, reader, urls, series, problem, notes }: EngineFacts): Check {
  const id = `engine ${instance}`;
  const url = urls[0] ?? "";
  if (problem?.code === "missing_metric") {
    const on = SWITCH_ON[reader] ?? "start the engine with its metrics on";
    return {
      id,
      status: "fail",
      says: `${url}: ${problem.message}`,
      fix: `${on}, or set reader.type to the engine that ${url} is of`,
    };
  }
  if (problem !== null) {
    return { id, status: "fail", says: problem.message, fix: `curl -sS ${url} | head` };
  }
  const says = `metrics answer as ${reader}'s, with ${series ?? 0} series`;
  if (notes.length === 0) return { id, status: "ok", says, fix: null };
  const left = `${says}; left out: ${notes.slice(0, 3).join("; ")}`;
  return { id, status: "warn", says: left, fix: `report it to the makers of the engine: curl -sS ${url}` };
}

/** docs/engine-metrics.md "What is taken from what". */
const SWITCH_ON: Readonly<Record<string, string>> = {
  sglang: "start SGLang with --enable-metrics",
  trtllm: "set return_perf_metrics: true and enable_iter_perf_stats: true",
};

/** What the node lacks, else what the driver's own endpoint, file or segment lacks. */
function checkDrivers({ engines, parts }: DoctorFacts, drivers: readonly DriverVerdict[]): Check[] {
  return engines.flatMap(({ instance, driver, quota }) => {
    const used = [
      { part: "driver", type: driver },
      ...(quota === null ? [] : [{ part: "quota", type: quota }]),
    ];
    return used.flatMap(({ part, type }): Check[] => {
      const id = `${part} ${instance}`;
      const found = parts.find((each) => each.instance === instance && each.part === part);
      const verdict = drivers.find((each) => each.driver === type);
      if (found?.problem) return [{ id, ...found.problem }];
      // What is configured was found there, whatever else the node has.
      if (found && type === "kvcached")
        return [{ id, status: "ok", says: `${found.target} is there`, fix: null }];
      if (verdict && !verdict.works) {
        return [
          { id, status: "fail", says: `${type} cannot work here: ${verdict.reason}`, fix: verdict.fix },
        ];
      }
      return found ? [{ id, status: "ok", says: `${found.target} answers`, fix: null }] : [];
    });
  });
}

function mebibytes(bytes: number | null): string {
  return bytes === null ? "unknown" : `${Math.round(bytes / 1_048_576)} MiB`;
}
