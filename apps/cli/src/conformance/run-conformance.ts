/** Plays the agent against candidate workers of one role after the other, and says which rules they keep. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WorkerHub } from "@fulcrum/agent/workers/worker-hub.js";
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { Candidate, RuleBroken, pause } from "./candidate.js";
import { rulesOf } from "./rules.js";

export interface ConformanceOptions {
  /** Run by /bin/sh. */
  readonly exec: string;
  readonly resident: string | null;
  readonly roles: readonly WorkerRole[];
  readonly attachMs: number;
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
  const candidates = new Map<string, Candidate>();
  const hub = await WorkerHub.listen(
    { path: join(folder, "agent.sock"), rank: 0 },
    {
      connected: (_link, hello) => {
        const candidate = candidates.get(hello.worker);
        if (!candidate)
          return { type: "refused", code: "bad_hello", message: `${hello.worker} is not known` };
        candidate.hello = hello;
        candidate.hellos += 1;
        candidate.changed();
        return null;
      },
      event: (worker, event) => {
        candidates.get(worker)?.events.push(event);
        candidates.get(worker)?.changed();
      },
      answer: () => undefined,
      unasked: (worker, refusal) => {
        candidates.get(worker)?.unasked.push(refusal);
        candidates.get(worker)?.changed();
      },
      disconnected: (worker) => candidates.get(worker)?.changed(),
    },
  );
  const start = (name: "a" | "b" | "c"): Candidate => {
    const generation = name.charCodeAt(0) - 96;
    const spec = { id: `${role}-${name}`, role, generation, smPct: 40 + 10 * generation };
    const candidate = new Candidate({ ...spec, command: options.exec, socket: hub.path, env }, hub);
    candidates.set(spec.id, candidate);
    return candidate;
  };
  let resident: ChildProcess | null = null;
  try {
    resident =
      options.resident === null ? null : await startResident(options.resident, env, options.attachMs);
    return await checkAll(role, { start, attachMs: options.attachMs }, options.note);
  } finally {
    for (const candidate of candidates.values()) candidate.end();
    resident?.kill("SIGKILL");
    await hub.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** After a broken rule the workers are not where the next rule begins, so that the rest is not run. */
async function checkAll(
  role: WorkerRole,
  workers: Parameters<ReturnType<typeof rulesOf>[number]["check"]>[0],
  note: (text: string) => void,
): Promise<readonly RuleResult[]> {
  const results: RuleResult[] = [];
  let broken: string | null = null;
  for (const { name, check } of rulesOf()) {
    if (broken !== null) {
      results.push({ role, rule: name, result: "not_run", why: `after: ${broken}`, tookMs: 0 });
      continue;
    }
    const began = performance.now();
    try {
      await check(workers);
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
