import { describe, expect, it } from "vitest";
import { loadProfile } from "../input-files.js";
import { parseResidentOptions } from "./resident-options.js";
import { parseWorkerOptions, smCountAt } from "./worker-options.js";

const ENV = {
  FULCRUM_WORKER_PROTOCOL: "1",
  FULCRUM_WORKER_SOCKET: "/run/a.sock",
  FULCRUM_WORKER_ID: "w-1",
  FULCRUM_WORKER_ROLE: "decode",
  FULCRUM_WORKER_RANK: "0",
  FULCRUM_GENERATION: "4",
  FULCRUM_SM_PCT: "40",
  FULCRUM_RESIDENT: "/run/r0",
};

function parse(change: Readonly<Record<string, string>>) {
  const options = parseWorkerOptions([], { ...ENV, ...change });
  if (options === "help") throw new Error("not reached");
  return options;
}

describe("a worker's environment", () => {
  it.each([
    [{ FULCRUM_WORKER_ROLE: "both" }, "FULCRUM_WORKER_ROLE must be prefill or decode"],
    [{ FULCRUM_WORKER_RANK: "64" }, "FULCRUM_WORKER_RANK must be a whole number 0..63, got 64"],
    [{ FULCRUM_WORKER_PROTOCOL: "2" }, "FULCRUM_WORKER_PROTOCOL must be a whole number 1..1, got 2"],
    [{ FULCRUM_RESIDENT: "" }, "FULCRUM_RESIDENT must be set"],
    [{ FULCRUM_WORKER_ABANDON_S: "0" }, "FULCRUM_WORKER_ABANDON_S must be 1..86400, got 0"],
    [
      { CUDA_MPS_ACTIVE_THREAD_PERCENTAGE: "0" },
      "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE must be 0.01..100, got 0",
    ],
  ])("refuses %j by name and bound", (change, message) => {
    expect(() => parse(change)).toThrow(message);
  });

  it("stays 60 s without an agent unless it is told how long", () => {
    expect(parse({}).abandonMs).toBe(60_000);
    expect(parse({ FULCRUM_WORKER_ABANDON_S: "2.5" }).abandonMs).toBe(2_500);
  });

  it("gives the share that CUDA would: the variable's, or all without one or without a daemon's folder", () => {
    const capped = { CUDA_MPS_ACTIVE_THREAD_PERCENTAGE: "40" };
    expect(parse(capped).cappedPct).toBe(40);
    expect(parse({}).cappedPct).toBe(100);
    expect(parse({ ...capped, CUDA_MPS_PIPE_DIRECTORY: "/no/such/folder" }).cappedPct).toBe(100);
  });

  it("sees whole TPCs of the profile's SMs", () => {
    const profile = loadProfile("llama3-8b-a100");
    expect([100, 60, 40, 0.5].map((pct) => smCountAt(profile, pct))).toEqual([108, 64, 42, 2]);
  });
});

describe("a resident's options", () => {
  it("takes its socket from FULCRUM_RESIDENT, the pool's path from its socket, and names what is wrong", () => {
    expect(parseResidentOptions([], { FULCRUM_RESIDENT: "/run/r0" })).toMatchObject({
      socket: "/run/r0",
      pool: "/run/r0.kv",
    });
    expect(() => parseResidentOptions([], {})).toThrow("--socket PATH is required");
    expect(() => parseResidentOptions(["--socket", "s", "--quota", "0"], {})).toThrow("--quota must be");
  });
});
