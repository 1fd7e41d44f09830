/** Plays the agent against candidate workers of one role after the other, and says which rules they keep. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { pause } from "./candidate.js";
import { RuleBroken } from "./conversation.js";
import { rulesOf } from "./rules.js";
import { Stage } from "./stage.js";

export interface ConformanceOptions {
  /** Run by /bin/sh. */
  readonly exec: string;
  readonly resident: string | null;
  readonly roles: readonly WorkerRole[];
  readonly attachMs: number;
  /** SMs of the whole GPU: every worker must then see its share of them. Not given: what it sees is not judged. */
  readonly gpuSmCount?: number | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly note: (text: string) => void;
}

export interface RuleResult {
  readonly role: WorkerRole;
  readonly rule: string;
  readonly result: "pass" | "fail" | "not_run";
  /** Why it failed, or was not run. */
  readonly why: string | null;
  readonly tookMs: number;
}

export interface ConformanceReport {
  readonly exec: string;
  readonly passed: boolean;
  readonly rules: readonly RuleResult[];
}

export async function runConformance(options: ConformanceOptions): Promise<ConformanceReport> {
  const rules: RuleResult[] = [];
  for (const role of options.roles) rules.push(...(await runRole(role, options)));
  return { exec: options.exec, passed: rules.every(({ result }) => result === "pass"), rules };
}

async function runRole(role: WorkerRole, options: ConformanceOptions): Promise<readonly RuleResult[]> {
  const folder = await mkdtemp(join(tmpdir(), "fulcrum-conformance-"));
  const address = options.env["FULCRUM_RESIDENT"] ?? join(folder, "resident");
  const given = Object.entries(options.env).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]],
  );
  const env = { ...(Object.fromEntries(given) as Record<string, string>), FULCRUM_RESIDENT: address };
  const { exec: command, attachMs, gpuSmCount = null } = options;
  const stage = new Stage({ role, folder, command, env, attachMs, gpuSmCount });
  let resident: ChildProcess | null = null;
  try {
    resident = options.resident === null ? null : await startResident(options.resident, env, attachMs);
    return await checkAll(stage, options.note);
  } finally {
    await stage.end();
    resident?.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** After a broken rule the workers are not where the next rule begins, so that the rest is not run. */
async function checkAll(stage: Stage, note: (text: string) => void): Promise<readonly RuleResult[]> {
  const { role } = stage.options;
  const results: RuleResult[] = [];
  let broken: string | null = null;
  for (const { name, check } of rulesOf()) {
    if (broken !== null) {
      results.push({ role, rule: name, result: "not_run", why: `after: ${broken}`, tookMs: 0 });
      continue;
    }
    const began = performance.now();
    try {
      await check(stage);
      results.push({
        role,
        rule: name,
        result: "pass",
        why: null,
        tookMs: Math.round(performance.now() - began),
      });
    } catch (error) {
      if (!(error instanceof RuleBroken)) throw error;
      broken = name;
      const tookMs = Math.round(performance.now() - began);
      results.push({ role, rule: name, result: "fail", why: error.message, tookMs });
    }
    note(`${role}: ${results.at(-1)?.result} ${name}`);
  }
  return results;
}

/** Ready when its address exists; an address that is no path, or was there before, is not waited for. */
async function startResident(
  command: string,
  env: Record<string, string>,
  limitMs: number,
): Promise<ChildProcess> {
  const address = env["FULCRUM_RESIDENT"] ?? "";
  const isAwaited = address.startsWith("/") && !existsSync(address);
  const child = spawn("/bin/sh", ["-c", `exec ${command}`], { env, stdio: ["ignore", "ignore", "inherit"] });
  if (!isAwaited) return child;
  const giveUpAt = performance.now() + limitMs;
  while (!existsSync(address)) {
    if (child.exitCode !== null || performance.now() > giveUpAt) {
      child.kill("SIGKILL");
      throw new Error(`the resident did not make ${address} within ${limitMs} ms`);
    }
    await pause(20);
  }
  return child;
}
