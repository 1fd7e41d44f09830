import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { reportText } from "./report-text.js";
import { type ConformanceReport, runConformance } from "./run-conformance.js";

const root = fileURLToPath(new URL("../../../../", import.meta.url));
const FAKE_WORKER = join(root, "apps/agent/src/testing/fake-worker.mjs");
const PYTHON_WORKER = join(root, "examples/python-worker/worker.py");
const hasPython =
  spawnSync("python3", ["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]).status === 0;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-candidate-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function check(
  exec: string,
  roles: readonly ("prefill" | "decode")[] = ["decode"],
): Promise<ConformanceReport> {
  return runConformance({
    exec,
    resident: null,
    roles,
    attachMs: 10_000,
    env: { PATH: process.env["PATH"] },
    note: () => undefined,
  });
}

const broken = ({ rules }: ConformanceReport) => rules.filter(({ result }) => result === "fail");

/** The fake worker with one thing done wrong. */
function spoilt(from: string, to: string): string {
  const text = readFileSync(FAKE_WORKER, "utf8");
  expect(text).toContain(from);
  const file = join(folder, "spoilt.mjs");
  writeFileSync(file, text.replace(from, to));
  return `'${process.execPath}' '${file}'`;
}

describe("fulcrum conformance worker", () => {
  test("passes a worker that keeps every rule, in both roles", async () => {
    const report = await check(`'${process.execPath}' '${FAKE_WORKER}'`, ["prefill", "decode"]);
    expect(broken(report)).toEqual([]);
    expect(report.passed).toBe(true);
    expect(reportText(report)).toContain("keeps the worker protocol");
  });

  // Without Python 3.10 there is nothing to run it with.
  test.skipIf(!hasPython)("passes the Python example, in both roles", async () => {
    const report = await check(`python3 '${PYTHON_WORKER}'`, ["prefill", "decode"]);
    expect(broken(report)).toEqual([]);
    expect(report.passed).toBe(true);
  });

  test.each([
    [
      "iterates as soon as it is armed",
      "if (now === turn) return run(",
      "if (now <= turn) return run(",
      /armed does not iterate/,
    ],
    [
      "keeps iterating when its turn is taken",
      "if (turnNow() !== turn) return fenced();",
      "",
      /stops by itself/,
    ],
    [
      "begins anew instead of going on",
      "({ iteration: me.iteration, tokens } = stateAt(turn));",
      "me.iteration = 0;",
      /goes on with the next iteration/,
    ],
    [
      "hands over at once, whatever was agreed",
      "me.iteration >= handOver.at",
      "me.iteration > 0",
      /iteration has not come/,
    ],
    [
      "does not take a hand-over back",
      'if (me.state === "handing_over") me.state = "iterating";',
      "",
      /taken back/,
    ],
    [
      "takes up a turn that it has handed over",
      "turn < now || (turn === now && !isRepeated)",
      "turn < now",
      /iterate under it/,
    ],
    [
      "ends at a line that is no JSON",
      'return no(null, "bad_request", "not JSON");',
      "process.exit(1);",
      /no JSON/,
    ],
    [
      "does not connect again",
      'socket.on("close", () => setTimeout(open, 100));',
      "",
      /survives a line|connection breaks/,
    ],
    ["never says progress", 'send({ event: "progress"', 'void ({ event: "progress"', /progress/],
    ["ignores SIGTERM", "if (fault.ignoreSigterm !== true && !life.hung) process.exit(0);", "", /SIGTERM/],
  ])("names the rule that a worker breaks that %s", async (_what, from, to, rule) => {
    const [first] = broken(await check(spoilt(from, to)));
    expect(first?.rule).toMatch(rule);
  });

  test("says what a worker wrote that does not even start", async () => {
    const [first] = broken(await check("echo no such engine >&2; exit 7"));
    expect(first?.why).toContain("exit code 7");
    expect(first?.why).toContain("no such engine");
  });
});
