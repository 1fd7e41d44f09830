import { describe, expect, test } from "vitest";
import type { GpuFacts } from "../gpu/gpu-facts.js";
import { fixesOf, judge } from "./checks.js";
import type { DoctorFacts, MpsDaemon, MpsFacts } from "./doctor-facts.js";
import { DRIVERS } from "./doctor-report.js";
import { judgeDrivers } from "./drivers.js";

const GPU: GpuFacts = {
  index: 0,
  uuid: "GPU-a",
  name: "NVIDIA H100",
  computeCapability: { major: 9, minor: 0 },
  smCount: 132,
  memoryTotalBytes: 85_520_809_984,
  memoryUsedBytes: 0,
  utilisationPct: 0,
  migEnabled: false,
  computeMode: "exclusive_process",
  eccErrors: 0,
  activeNvlinks: 18,
  mpsProcesses: [],
};
const MPS: MpsFacts = {
  tool: "/usr/bin/nvidia-cuda-mps-control",
  pipeDirectory: "/run/nvidia-mps",
  pipeFrom: "config",
  environmentPipe: null,
  daemons: [],
  answer: { kind: "answers", protocol: 2, status: "ACTIVE", serverPid: 9, clients: 2, defaultPct: 100 },
};
const DAEMON: MpsDaemon = {
  pid: 5,
  uid: 0,
  pipeDirectory: "/run/nvidia-mps",
  multiUser: false,
  staticPartitions: false,
};
const FACTS: DoctorFacts = {
  node: {
    hostname: "n",
    platform: "linux",
    arch: "x64",
    kernel: "6",
    cpuCount: 8,
    memoryBytes: 1,
    nodeVersion: "v20",
    uid: 1000,
  },
  config: { path: "agent.yaml", problem: null },
  gpus: {
    source: "nvml",
    driverVersion: "615",
    cudaVersion: { major: 13, minor: 1 },
    nvmlVersion: "13",
    gpus: [GPU],
    links: [],
    problems: [],
  },
  rocm: { smi: null, kfd: false },
  mps: MPS,
  sharedMemory: { path: "/dev/shm", sizeBytes: 2 ** 31, freeBytes: 2 ** 31, problem: null },
  stateDir: { path: "/var/lib/fulcrum", problem: null },
  controller: { url: "http://c", answer: "ok", detail: "answers", clockAheadMs: 0 },
  engines: [
    {
      instance: "chat-0",
      driver: "mps-respawn",
      quota: null,
      reader: "vllm",
      urls: ["http://e"],
      series: 9,
      problem: null,
      notes: [],
    },
  ],
  parts: [],
  segments: [],
};
const withGpu = (over: Partial<GpuFacts>): DoctorFacts => ({
  ...FACTS,
  gpus: { ...FACTS.gpus, gpus: [{ ...GPU, ...over }] },
});
const withMps = (over: Partial<MpsFacts>): DoctorFacts => ({ ...FACTS, mps: { ...MPS, ...over } });
const checksOf = (facts: DoctorFacts) => judge(facts, judgeDrivers(facts));
const reason = (facts: DoctorFacts, driver: string) =>
  judgeDrivers(facts).find((each) => each.driver === driver);

test("a node that has everything has nothing to fix, and every driver has a verdict", () => {
  expect(checksOf(FACTS).filter(({ status }) => status !== "ok")).toEqual([]);
  expect(fixesOf(checksOf(FACTS))).toEqual([]);
  expect(judgeDrivers(FACTS).map(({ driver }) => driver)).toEqual(DRIVERS);
});

describe("a driver cannot work", () => {
  test.each<[string, string, DoctorFacts, RegExp]>([
    ["mps-respawn", "before Volta", withGpu({ computeCapability: { major: 6, minor: 1 } }), /Volta/],
    ["mps-respawn", "on a GPU that is closed", withGpu({ computeMode: "prohibited" }), /PROHIBITED/],
    [
      "mps-respawn",
      "with another user's daemon",
      withMps({ daemons: [{ ...DAEMON, uid: 1001 }] }),
      /of user 1001, the agent of user 1000/,
    ],
    [
      "semi-pd-static",
      "with a daemon of static partitions",
      withMps({ daemons: [{ ...DAEMON, staticPartitions: true }] }),
      /static partitions/,
    ],
    [
      "sglang-pdmux",
      "on Blackwell",
      withGpu({ computeCapability: { major: 10, minor: 0 } }),
      /10\.0: SGLang takes 6 to 9/,
    ],
    [
      "sglang-pdmux",
      "with an old driver",
      { ...FACTS, gpus: { ...FACTS.gpus, cudaVersion: { major: 12, minor: 2 } } },
      /12\.2, green contexts need 12\.4/,
    ],
    ["rocm-cu-mask", "on NVIDIA", FACTS, /no AMD GPU/],
  ])("%s %s", (driver, _when, facts, why) => {
    expect(reason(facts, driver)).toMatchObject({ works: false, reason: expect.stringMatching(why) });
  });

  test("and yet one of root's daemon, or of a multi-user one, can", () => {
    for (const daemon of [DAEMON, { ...DAEMON, uid: 1001, multiUser: true }]) {
      expect(reason(withMps({ daemons: [daemon] }), "mps-respawn")?.works).toBe(true);
    }
  });
});

test("a fault counts against the node only where a configured driver needs what is missing", () => {
  const gone = withMps({ answer: { kind: "problem", code: "no_daemon", message: "nothing answers" } });
  const failing = (facts: DoctorFacts) =>
    checksOf(facts)
      .filter(({ status }) => status === "fail")
      .map(({ id }) => id);
  expect(failing(gone)).toEqual(["mps", "driver chat-0"]);
  expect(failing({ ...gone, engines: [{ ...FACTS.engines[0]!, driver: "engine-sim" }] })).toEqual([]);
});

test("what fails is fixed before what only warns", () => {
  const facts: DoctorFacts = {
    ...withGpu({ computeMode: "default" }),
    stateDir: { path: "/x", problem: "EACCES" },
    sharedMemory: { ...FACTS.sharedMemory, sizeBytes: 64 * 1_048_576 },
  };
  expect(fixesOf(checksOf(facts)).map(({ check }) => check)).toEqual([
    "state-folder",
    "compute-mode",
    "shared-memory",
  ]);
});

test("a default share below 100 is told: no worker can have more", () => {
  const low = withMps({ answer: { ...MPS.answer, defaultPct: 50 } as MpsFacts["answer"] });
  expect(checksOf(low).find(({ id }) => id === "mps")).toMatchObject({
    status: "warn",
    fix: 'echo "set_default_active_thread_percentage 100" | CUDA_MPS_PIPE_DIRECTORY=/run/nvidia-mps nvidia-cuda-mps-control',
  });
});

test("a daemon that hangs is ended by its own number", () => {
  const hung = withMps({
    answer: { kind: "problem", code: "timeout", message: "did not end" },
    daemons: [DAEMON],
  });
  expect(checksOf(hung).find(({ id }) => id === "mps")?.fix).toMatch(/^kill 5; CUDA_MPS_PIPE_DIRECTORY=/);
});

test("every driver that cannot work says what to do about it", () => {
  const none = { ...FACTS.gpus, source: "none" as const, gpus: [] };
  const facts: DoctorFacts[] = [
    { ...FACTS, gpus: none },
    withGpu({ computeCapability: { major: 6, minor: 1 } }),
    withGpu({ computeCapability: { major: 10, minor: 0 } }),
    withGpu({ computeMode: "prohibited" }),
    { ...FACTS, gpus: { ...FACTS.gpus, cudaVersion: { major: 12, minor: 2 } } },
    withMps({ answer: { kind: "problem", code: "no_daemon", message: "nothing answers" } }),
    withMps({ answer: { ...MPS.answer, status: "FAULT" } as MpsFacts["answer"] }),
    withMps({ daemons: [{ ...DAEMON, staticPartitions: true }] }),
    withMps({ daemons: [{ ...DAEMON, uid: 1001 }] }),
  ];
  for (const { works, fix } of facts.flatMap(judgeDrivers)) expect(fix === null).toBe(works);
});

test("a quota is judged like a driver, and what a part says of itself comes first", () => {
  const engine = { ...FACTS.engines[0]!, quota: "kvcached" };
  const of = (parts: DoctorFacts["parts"]) =>
    checksOf({ ...FACTS, engines: [engine], parts }).find(({ id }) => id === "quota chat-0");
  expect(of([])).toMatchObject({ status: "fail", fix: expect.stringContaining("ENABLE_KVCACHED=true") });
  const part = { instance: "chat-0", part: "quota", type: "kvcached", target: "/shm/a" } as const;
  expect(of([{ ...part, problem: null }])).toMatchObject({ status: "ok" });
  const problem = { status: "fail", says: "too short", fix: "rm it" } as const;
  expect(of([{ ...part, problem }])).toEqual({ id: "quota chat-0", ...problem });
});

test("a pipe directory too long for a socket is told", () => {
  const long = withMps({ pipeDirectory: `/run/${"x".repeat(110)}` });
  expect(checksOf(long).find(({ id }) => id === "mps-pipe-length")?.status).toBe("fail");
});
