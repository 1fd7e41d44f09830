import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { reportText } from "./report-text.js";
import { type ConformanceReport, runConformance } from "./run-conformance.js";
import { WRONG_ENDS, WRONG_RECORDS } from "./testing/wrong-ends.js";
import { WRONG_FAULTS } from "./testing/wrong-faults.js";
import { WRONG_STARTS } from "./testing/wrong-starts.js";
import { WRONG_TURNS } from "./testing/wrong-turns.js";
import type { WrongWorker } from "./testing/wrong-worker.js";

// The late ones take longest: they begin first.
const WRONG_WORKERS = [...WRONG_RECORDS, ...WRONG_ENDS, ...WRONG_FAULTS, ...WRONG_TURNS, ...WRONG_STARTS];

const root = fileURLToPath(new URL("../../../../", import.meta.url));
const GOOD_WORKER = join(root, "apps/cli/src/conformance/testing/good-worker.mjs");
const FAKE_WORKER = join(root, "apps/agent/src/testing/fake-worker.mjs");
const PYTHON_WORKER = join(root, "examples/python-worker/worker.py");
const hasPython =
  spawnSync("python3", ["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]).status === 0;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-candidate-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Checked {
  readonly roles?: readonly ("prefill" | "decode")[];
  readonly gpuSmCount?: number;
}

function check(exec: string, { roles = ["decode"], gpuSmCount }: Checked = {}): Promise<ConformanceReport> {
  return runConformance({
    exec,
    resident: null,
    roles,
    attachMs: 10_000,
    gpuSmCount: gpuSmCount ?? null,
    env: { PATH: process.env["PATH"] },
    note: () => undefined,
  });
}

const node = (file: string): string => `exec '${process.execPath}' '${file}'`;
const broken = ({ rules }: ConformanceReport) => rules.filter(({ result }) => result === "fail");

/** A file with the good worker and one thing done wrong. */
function spoilt({ what, change }: WrongWorker): string {
  let text = readFileSync(GOOD_WORKER, "utf8");
  for (const [from, to] of change) {
    expect(text).toContain(from);
    text = text.replace(from, () => to);
  }
  const file = join(folder, `${what.replaceAll(/\W+/g, "-")}.mjs`);
  writeFileSync(file, text);
  return file;
}

describe.concurrent("passes a worker that keeps every rule, in both roles", () => {
  test("the tests' own", async () => {
    const report = await check(node(GOOD_WORKER), { roles: ["prefill", "decode"], gpuSmCount: 108 });
    expect(broken(report)).toEqual([]);
    expect(report.passed).toBe(true);
    expect(reportText(report)).toContain("keeps the worker protocol");
  });

  test("the agent's fake", async () => {
    const report = await check(node(FAKE_WORKER), { roles: ["prefill", "decode"] });
    expect(broken(report)).toEqual([]);
  });

  test("the Python example is as short as docs/worker-protocol.md says", () => {
    expect(readFileSync(PYTHON_WORKER, "utf8").trimEnd().split("\n").length).toBeLessThanOrEqual(60);
  });

  // Without Python 3.10 there is nothing to run it with.
  test.skipIf(!hasPython)("the Python example", async () => {
    const report = await check(`python3 '${PYTHON_WORKER}'`, { roles: ["prefill", "decode"] });
    expect(broken(report)).toEqual([]);
    expect(report.passed).toBe(true);
  });
});

describe.concurrent("names the rule that a worker breaks, and what was seen", () => {
  test.each(WRONG_WORKERS)("one that $what", async (wrong) => {
    const [first, ...others] = broken(await check(node(spoilt(wrong)), { gpuSmCount: 108 }));
    expect(first).toMatchObject({
      rule: expect.stringMatching(wrong.rule),
      why: expect.stringMatching(wrong.why),
    });
    expect(others).toEqual([]);
  });

  test("one that does not even start, with what it wrote", async () => {
    const [first] = broken(await check("echo no such engine >&2; exit 7"));
    expect(first?.why).toContain("exit code 7");
    expect(first?.why).toContain("no such engine");
  });

  test("one whose hello has the pid of the shell that started it, when that is killed and it lives on", async () => {
    const file = spoilt({
      what: "names its parent",
      change: [["pid: process.pid, role", "pid: process.ppid, role"]],
      rule: /./,
      why: /./,
    });
    const [first] = broken(await check(`"${process.execPath}" "${file}"; exit $?`));
    expect(first?.rule).toContain("is gone when that is killed");
  });
});
