import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import type { DoctorReport } from "@fulcrum/agent/doctor/doctor-report.js";
import { buildFakeNvml, hasGcc, tellFakeNvml } from "@fulcrum/agent/testing/vendor/fake-nvml.js";

const BIN = fileURLToPath(new URL("../../bin/fulcrum.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "fulcrum-cli-doctor-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const CONFIG = `
agent: node-a
controller: { url: http://127.0.0.1:9, keyFile: ./agent.key }
stateDir: ./state
instances:
  - { instance: chat-0, pool: chat, ranks: [0], rankCount: 1,
      reader: { type: sglang, url: http://127.0.0.1:9/metrics },
      driver: { type: engine-sim, socket: ./x.sock } }
`;

/** PATH has Node.js and no vendor tool. */
function fulcrum(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return spawnSync(process.execPath, [BIN, "agent", ...args], {
    encoding: "utf8",
    env: { PATH: "/nowhere", ...env },
    timeout: 60_000,
  });
}

describe("fulcrum agent doctor", () => {
  test("says of a node without a GPU what can work there, and ends with 0", () => {
    const { stdout, status } = fulcrum(["doctor"]);
    expect(stdout).toMatch(/^engine-sim +yes +needs no GPU$/m);
    expect(stdout).toMatch(/^mps-respawn +no +no NVIDIA GPU is seen$/m);
    expect(stdout).toMatch(/An agent can work here\.\n$/);
    expect(status).toBe(0);
  });

  test("ends with 1 where the agent cannot work, and says what to fix", () => {
    const path = join(folder, "agent.yaml");
    writeFileSync(path, CONFIG);
    writeFileSync(join(folder, "agent.key"), "key-1\n");
    const { stdout, stderr, status } = fulcrum(["doctor", "--config", path]);
    expect(stdout).toMatch(/^controller +FAIL +http:\/\/127\.0\.0\.1:9: /m);
    expect(stdout).toMatch(/^1\. controller: curl -sS http:\/\/127\.0\.0\.1:9$/m);
    expect(stderr).toBe("fulcrum: this node is not ready for the agent\n");
    expect(status).toBe(1);
  });

  test("--json prints a report that scripts can rely on", () => {
    const report = JSON.parse(fulcrum(["doctor", "--json"]).stdout) as DoctorReport;
    expect(report).toMatchObject({
      version: 1,
      usable: true,
      facts: { gpus: { source: "none", gpus: [] }, mps: { tool: null } },
    });
    expect(report.drivers.map(({ driver, works }) => [driver, typeof works])).toEqual(
      [
        "engine-sim",
        "mps-respawn",
        "semi-pd-static",
        "sglang-pdmux",
        "kvcached",
        "admission-cap",
        "rocm-cu-mask",
      ].map((driver) => [driver, "boolean"]),
    );
  });

  test.skipIf(!hasGcc)("lists the GPUs, and ends although the driver hangs (skipped without gcc)", () => {
    const built = buildFakeNvml();
    const orders = join(folder, "orders");
    const env = { LD_LIBRARY_PATH: built.folder, FAKE_NVML: orders };
    expect(fulcrum(["doctor"], env).stdout).toMatch(/^ +0 +NVIDIA H100 80GB HBM3 +9\.0 +132 +80 GiB +37 %/m);
    tellFakeNvml(orders, "hang nvmlDeviceGetMemoryInfo");
    const { stdout, status } = fulcrum(["doctor"], env);
    expect(stdout).toContain("nvmlDeviceGetMemoryInfo did not come back within");
    expect(status).toBe(0);
    rmSync(built.folder, { recursive: true, force: true });
  });
});

describe("fulcrum agent", () => {
  test("still checks a configuration, and says that it needs one", () => {
    const path = join(folder, "agent.yaml");
    writeFileSync(path, CONFIG);
    writeFileSync(join(folder, "agent.key"), "key-1\n");
    const checked = fulcrum(["--config", path, "--check-config"]);
    expect(checked).toMatchObject({ status: 0, stdout: `${path} is valid: 1 instances\n` });
    const bare = fulcrum([]);
    expect(bare.status).toBe(2);
    expect(bare.stderr).toContain("--config <agent.yaml> is needed");
  });
});
