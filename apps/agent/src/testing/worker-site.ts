/** A folder with fake workers (fake-worker.mjs) and a driver over them, as an agent of one instance would have. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { pino } from "pino";
import { systemClock } from "../clock.js";
import { readJsonSync } from "../files/read-json.js";
import { createDriver } from "../driver/create-driver.js";
import { type ActualState, DriverError, type PartitionDriver, type Plan } from "../partition-driver.js";
import { type MpsRespawnConfig, type RocmCuMaskConfig, mpsRespawnDriver } from "../driver/respawn-config.js";
import { FakeMps, installMpsControl } from "./vendor/fake-mps.js";

const FAKE_WORKER = fileURLToPath(new URL("../../src/testing/fake-worker.mjs", import.meta.url));

export interface WorkerFault {
  readonly attachMs?: number;
  readonly smCount?: number;
  readonly die?: "attach" | "ready" | "armed" | "iterating" | "hand_over";
  readonly hang?: "attach" | "ready" | "armed" | "iterating" | "hand_over";
  readonly ignoreSigterm?: boolean;
  readonly handOver?: "too_late" | "late" | "never";
  readonly keep?: "too_late";
  readonly cut?: true;
  readonly stillAt?: number;
  readonly mute?: true;
}

export interface IteratingWorker {
  readonly id: string;
  readonly pid: number;
  readonly generation: number;
  readonly smPct: number;
}

export class WorkerSite {
  readonly driver: PartitionDriver;
  readonly workersDir: string;

  constructor(
    readonly folder: string,
    readonly ranks: readonly number[] = [0],
    change: Partial<MpsRespawnConfig> | RocmCuMaskConfig = {},
  ) {
    this.workersDir = change.workersDir ?? join(folder, "workers");
    mkdirSync(join(folder, "mps"), { recursive: true });
    this.driver = createDriver(
      {
        ...instanceOf(ranks),
        driver: change.type === "rocm-cu-mask" ? change : { ...siteConfig(folder), ...change },
      } as Parameters<typeof createDriver>[0],
      {
        stateDir: folder,
        clock: systemClock,
        log: pino({ level: process.env["FULCRUM_TEST_LOG"] ?? "silent" }),
      },
    );
  }

  /** Of the workers that are started from now on, by role and generation, or role, generation and rank. */
  faults(faults: Readonly<Record<string, WorkerFault>>): void {
    writeFileSync(join(this.folder, "faults.json"), JSON.stringify(faults));
  }

  async plan(generation: number, prefillSmPct: number, decodeSmPct: number): Promise<Plan> {
    const target = { generation, split: { prefillSmPct, decodeSmPct }, kvQuotaPct: 100 };
    return this.driver.plan(target, await this.driver.probe());
  }

  async prepared(generation: number, prefillSmPct: number, decodeSmPct: number): Promise<Plan> {
    const plan = await this.plan(generation, prefillSmPct, decodeSmPct);
    await this.driver.prepare(plan);
    await this.until(({ prepared, failure }) => {
      if (failure) throw new Error(`${failure.code}: ${failure.message}`);
      return prepared?.ready === true;
    });
    return plan;
  }

  async switched(generation: number, prefillSmPct: number, decodeSmPct: number): Promise<ActualState> {
    await this.driver.commit(await this.prepared(generation, prefillSmPct, decodeSmPct));
    return this.until((state) => state.generation === generation && state.phase === "steady");
  }

  /** Looks until it is so; a driver that does not hear its engine is looked at again. */
  async until(is: (state: ActualState) => boolean, limitMs = 20_000): Promise<ActualState> {
    const giveUpAt = performance.now() + limitMs;
    let last: unknown = null;
    for (;;) {
      try {
        const state = await this.driver.observe();
        last = state;
        if (is(state)) return state;
      } catch (error) {
        if (!(error instanceof DriverError) || !error.silent) throw error;
        last = error.message;
      }
      if (performance.now() > giveUpAt) throw new Error(`not within ${limitMs} ms: ${JSON.stringify(last)}`);
      await sleep(10);
    }
  }

  /** What the turn's folder says: the highest turn, and who last ran an iteration under it. */
  turn(
    role: WorkerRole,
    rank = 0,
  ): { readonly turn: number; readonly iteration: number; readonly worker: string } {
    const folder = join(this.folder, `turn-${rank}`);
    const turns = readdirSync(folder).flatMap((file) =>
      file.startsWith(`${role}.`) ? [Number(file.split(".")[1])] : [],
    );
    const turn = Math.max(...turns);
    const state = JSON.parse(readFileSync(join(folder, `${role}.${turn}`), "utf8")) as {
      iteration: number;
      worker?: string;
    };
    return { turn, iteration: state.iteration, worker: state.worker ?? "" };
  }

  /** What the holder of an earlier turn left behind; `from` is its last iteration. */
  stateAt(role: WorkerRole, turn: number, rank = 0): { readonly from: number } | null {
    return readJsonSync(join(this.folder, `turn-${rank}`, `${role}.${turn}`)) as { from: number } | null;
  }

  /** How often a worker was told so. */
  told(op: string): number {
    const lines = readFileSync(join(this.folder, "mps", "calls.log"), "utf8").split("\n");
    return lines.filter((line) => line === JSON.stringify([op])).length;
  }

  /** Who runs the role's iterations, once the turn that is now has had one. */
  async holder(role: WorkerRole, rank = 0): Promise<IteratingWorker> {
    const giveUpAt = performance.now() + 10_000;
    for (;;) {
      const { worker } = this.turn(role, rank);
      const found = this.workers(role).find(({ id }) => id === worker);
      if (found) return found;
      if (performance.now() > giveUpAt) throw new Error(`nobody iterates as ${role}: ${worker}`);
      await sleep(5);
    }
  }

  /** The records of the workers that run. */
  workers(role: WorkerRole): readonly IteratingWorker[] {
    return readdirSync(this.workersDir)
      .filter(
        (file) => file.startsWith("chat~worker-") && file.includes(`-${role}-`) && file.endsWith(".json"),
      )
      .map((file) => JSON.parse(readFileSync(join(this.workersDir, file), "utf8")) as IteratingWorker);
  }

  /** As an agent that loses power: nothing is said to anyone. */
  abandon(): void {
    this.driver.close();
  }

  async end(): Promise<void> {
    this.driver.close();
    if (!existsSync(this.workersDir)) return;
    const records = readdirSync(this.workersDir).filter((file) => /~(worker|resident)-.*\.json$/.test(file));
    for (const file of records) {
      const { pid } = (readJsonSync(join(this.workersDir, file)) ?? {}) as { readonly pid?: number };
      if (pid === undefined) continue;
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended already.
      }
    }
    await sleep(20);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

export const steady =
  (generation: number) =>
  (state: ActualState): boolean =>
    state.generation === generation && state.phase === "steady";

/** A folder with an MPS daemon in it. */
export async function makeSiteFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fulcrum-workers-"));
  await FakeMps.start(join(folder, "mps"));
  await installMpsControl(folder);
  return folder;
}

/** The sites of one test, ended together. */
export class WorkerSites {
  private readonly all: WorkerSite[] = [];

  async start(...of: SiteSettings): Promise<WorkerSite> {
    return this.open(await makeSiteFolder(), ...of);
  }

  open(folder: string, ...of: SiteSettings): WorkerSite {
    const site = new WorkerSite(folder, ...of);
    this.all.push(site);
    return site;
  }

  async end(): Promise<void> {
    // All agents first: one that still lives would start anew what is ended.
    for (const site of this.all) site.abandon();
    for (const site of this.all.splice(0)) await site.end();
  }
}

type SiteSettings = [ranks?: readonly number[], change?: Partial<MpsRespawnConfig> | RocmCuMaskConfig];

export function siteConfig(folder: string): MpsRespawnConfig {
  return mpsRespawnDriver.parse({
    type: "mps-respawn",
    command: [process.execPath, FAKE_WORKER],
    env: { FAKE_FAULTS: join(folder, "faults.json"), FAKE_TRACE: join(folder, "mps", "calls.log") },
    resident: { address: join(folder, "turn-{rank}") },
    smCount: 108,
    prefillSmPct: 60,
    decodeSmPct: 40,
    keepWarmMs: 400,
    deadlines: {
      attachMs: 3_000,
      hangMs: 1_500,
      takeMs: 1_500,
      handOverMs: 8_000,
      reconnectMs: 3_000,
      drainMs: 300,
      leaveMs: 300,
      sigtermMs: 300,
      terminateMs: 300,
    },
    mps: { pipeDirectory: join(folder, "mps"), tool: join(folder, "nvidia-cuda-mps-control") },
  });
}

function instanceOf(ranks: readonly number[]): Record<string, unknown> {
  return { instance: "chat", pool: "chat", ranks: [...ranks], rankCount: ranks.length };
}
