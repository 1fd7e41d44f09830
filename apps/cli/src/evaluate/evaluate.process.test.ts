import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "fulcrum-evaluate-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function evaluate(...flags: string[]): { status: number | null; stdout: string; stderr: string } {
  const args = [main, "evaluate", "--data", "none", ...flags];
  return spawnSync(process.execPath, args, { encoding: "utf8", maxBuffer: 1e8 });
}

describe("fulcrum evaluate", () => {
  it("gives the same results on one thread and on three, progress apart from them", () => {
    const flags = ["--workload", "documents-tight", "--rates", "0.8", "--seeds", "2", "--json"];
    const [one, three] = ["1", "3"].map((workers) => evaluate(...flags, "--workers", workers));
    expect(one?.stderr).toContain("10 of 10 runs");
    expect(one?.status).toBe(0);
    expect(three?.stdout).toBe(one?.stdout);
    expect(JSON.parse(one?.stdout ?? "")).toHaveLength(10);
  });

  it("writes the short form's report, figures included", () => {
    const { status, stdout } = evaluate("--quick", "--out", folder);
    expect(status).toBe(0);
    expect(stdout).toMatch(/documents-tight +3\.\d/);
    expect(readdirSync(folder).sort()).toEqual(["changing-kinds-over-time.svg", "report.json", "report.md"]);
    const report = readFileSync(join(folder, "report.md"), "utf8");
    expect(report).toMatch(
      /\| changing load: attainment, search \/ oracle +\| at least 0.97 +\| [01]\.\d{3} +\|/,
    );
  });

  it.each([
    { flags: ["--workload", "chat-tihgt"], wanted: "chat-tight" },
    { flags: ["--policy", "serach"], wanted: "search" },
    { flags: ["--rates", "0.5,x"], wanted: "numbers from 0.01 to 3" },
    { flags: ["--interval", "0s"], wanted: "100ms" },
    { flags: ["--all", "--quick"], wanted: "--all runs everything" },
  ])("refuses $flags and says what is wrong", ({ flags, wanted }) => {
    const { status, stderr } = evaluate(...flags);
    expect(status).toBe(2);
    expect(stderr).toContain(wanted);
  });

  it("stops at once when it is asked to, and writes nothing", async () => {
    const out = join(folder, "stopped");
    const child = spawn(process.execPath, [main, "evaluate", "--data", "none", "--all", "--out", out]);
    // Its first line says that it is about to run: thousands of runs are still to come.
    await new Promise((resolve) => child.stderr.once("data", resolve));
    child.kill("SIGINT");
    const code = await new Promise((resolve) => child.once("exit", resolve));
    expect(code).toBe(130);
    expect(readdirSync(folder)).not.toContain("stopped");
  });
});
