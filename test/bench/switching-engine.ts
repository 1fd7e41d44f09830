/** engine-sim as real processes, moved by the agent's mps-respawn driver with a fake MPS daemon. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { systemClock } from "@fulcrum/agent/clock.js";
import { createDriver } from "@fulcrum/agent/driver/create-driver.js";
import { type ActualState, DriverError, type PartitionDriver } from "@fulcrum/agent/partition-driver.js";
import { FakeMps, installMpsControl } from "@fulcrum/agent/testing/vendor/fake-mps.js";
import { type MpsRespawnConfig, mpsRespawnDriver } from "@fulcrum/agent/driver/respawn-config.js";
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { ResidentClient } from "@fulcrum/engine-sim/workers/resident-client.js";
import type { Measure } from "@fulcrum/engine-sim/workers/resident-protocol.js";
import { KvPool } from "@fulcrum/kv-pool/pool.js";
import { pino } from "pino";

const INSTANCE = "chat";
/** Beside the sources and from test/bench/dist. */
const HERE = fileURLToPath(new URL(".", import.meta.url));
const ENGINE_SIM = join(HERE.replace(/dist\/$/, ""), "../../apps/engine-sim/dist/main.js");

export interface EngineWorkersSetup {
  readonly folder: string;
  /** Requests per second of engine time, with prompts of 200 to 1000 tokens. */
  readonly ratePerS: number;
  /** Of the answers, evenly between the two; 100 to 300 unless given. */
  readonly outputTokens?: readonly [from: number, to: number];
  /** Engine seconds per second. */
  readonly speed: number;
  /** Engine time that a new worker takes to get ready. */
  readonly prepareMs: number;
  /** At the start, percent. */
  readonly split: readonly [prefillSmPct: number, decodeSmPct: number];
  readonly switching?: "overlapped" | "naive";
  readonly tokenLog?: string;
  readonly deadlines?: Partial<MpsRespawnConfig["deadlines"]>;
  readonly faults?: Readonly<Record<string, object>>;
}

interface ProcessRecord {
  readonly id: string;
  readonly role: WorkerRole;
  readonly pid: number;
  readonly generation: number;
  readonly smPct: number;
}

export class EngineWorkers {
  private client: ResidentClient | null = null;

  private constructor(
    readonly setup: EngineWorkersSetup,
    readonly driver: PartitionDriver,
    private readonly workersDir: string,
  ) {}

  /** Both roles iterate when it returns. */
  static async start(setup: EngineWorkersSetup): Promise<EngineWorkers> {
    const { folder } = setup;
    mkdirSync(folder, { recursive: true });
    await FakeMps.start(join(folder, "mps"));
    await installMpsControl(folder);
    writeFileSync(join(folder, "load.json"), JSON.stringify(steadyLoad(setup)));
    const workersDir = join(folder, "w");
    const config = { instance: INSTANCE, pool: INSTANCE, ranks: [0], rankCount: 1 };
    const driver = createDriver(
      { ...config, driver: driverConfig(setup, workersDir) } as unknown as Parameters<typeof createDriver>[0],
      {
        stateDir: folder,
        clock: systemClock,
        log: pino({ level: process.env["FULCRUM_TEST_LOG"] ?? "silent" }, pino.destination(2)),
      },
    );
    const engine = new EngineWorkers(setup, driver, workersDir);
    engine.faults(setup.faults ?? {});
    await engine.until(({ generation, phase }) => generation === 0 && phase === "steady");
    const known = [...engine.records("worker"), ...engine.records("resident")].length;
    if (known < 3) throw new Error(`${workersDir} names ${known} processes, not 3: end() would leave them`);
    return engine;
  }

  /** Faults of the workers that are started from now on, by `<role> <generation>` (docs/engine-sim-workers.md). */
  faults(faults: Readonly<Record<string, object>>): void {
    writeFileSync(join(this.setup.folder, "faults.json"), JSON.stringify(faults));
  }

  /** @returns how long it took until all was as asked, milliseconds. */
  async switchTo(generation: number, prefillSmPct: number, decodeSmPct: number): Promise<number> {
    const began = performance.now();
    await this.commit(generation, prefillSmPct, decodeSmPct);
    await this.until((state) => state.generation === generation && state.phase === "steady");
    return performance.now() - began;
  }

  /** Prepares, waits until that is ready, and commits. @throws Error when the driver gives it up. */
  async commit(generation: number, prefillSmPct: number, decodeSmPct: number): Promise<void> {
    const target = { generation, split: { prefillSmPct, decodeSmPct }, kvQuotaPct: 60 };
    const plan = this.driver.plan(target, await this.driver.probe());
    await this.driver.prepare(plan);
    for (;;) {
      await this.until(({ prepared, failure }) => {
        if (failure) throw new Error(`${failure.code}: ${failure.message}`);
        return prepared?.ready === true;
      });
      try {
        await this.driver.commit(plan);
        return;
      } catch (error) {
        // One that was ready was lost since: as the agent does, it is asked what became of it.
        if (!(error instanceof DriverError) || error.code !== "not_ready") throw error;
      }
    }
  }

  async until(is: (state: ActualState) => boolean, limitMs = 120_000): Promise<ActualState> {
    const giveUpAt = performance.now() + limitMs;
    for (let last: unknown = null; ;) {
      try {
        const state = await this.driver.observe();
        last = state;
        if (is(state)) return state;
      } catch (error) {
        if (!(error instanceof DriverError) || !error.silent) throw error;
        last = error.message;
      }
      if (performance.now() > giveUpAt) throw new Error(`not within ${limitMs} ms: ${JSON.stringify(last)}`);
      await sleep(20);
    }
  }

  /** What the resident saw since the window began; `anew`: the next begins. */
  async measure(anew = true): Promise<Measure> {
    const answer = await (await this.resident()).ask({ op: "measure", anew });
    if (!answer.ok) throw new Error(answer.message);
    return answer;
  }

  /** Lets no more requests come and waits until those inside are done. */
  async finish(limitMs = 120_000): Promise<Measure> {
    await (await this.resident()).ask({ op: "stop_load" });
    const giveUpAt = performance.now() + limitMs;
    for (;;) {
      const measure = await this.measure(false);
      if (measure.inside === 0) return measure;
      if (performance.now() > giveUpAt)
        throw new Error(`${measure.inside} requests were not done within ${limitMs} ms`);
      await sleep(100);
    }
  }

  /** The records of the workers that the driver knows. */
  workers(role: WorkerRole): readonly ProcessRecord[] {
    return this.records("worker").filter((record) => record.role === role);
  }

  /** The port of the resident's metrics page. */
  get port(): number {
    const lines = readFileSync(join(this.workersDir, `${INSTANCE}~resident-0.log`), "utf8").split("\n");
    const ready = lines.find((line) => line.includes('"event":"ready"'));
    return (JSON.parse(ready ?? "{}") as { port: number }).port;
  }

  usage(): ReturnType<KvPool["usage"]> {
    const pool = KvPool.open(join(this.setup.folder, "r0.kv"));
    try {
      return pool.usage();
    } finally {
      pool.close();
    }
  }

  /** The driver first: it would start anew what is ended. */
  async end(): Promise<void> {
    this.driver.close();
    this.client?.close();
    for (const { pid } of [...this.records("worker"), ...this.records("resident")]) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended already.
      }
    }
    await sleep(50);
    rmSync(this.setup.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  private async resident(): Promise<ResidentClient> {
    this.client ??= await ResidentClient.connect(join(this.setup.folder, "r0"), () => {
      this.client = null;
    });
    return this.client;
  }

  private records(kind: "worker" | "resident"): readonly ProcessRecord[] {
    return readdirSync(this.workersDir)
      .filter((file) => file.startsWith(`${INSTANCE}~${kind}-`) && file.endsWith(".json"))
      .map((file) => JSON.parse(readFileSync(join(this.workersDir, file), "utf8")) as ProcessRecord);
  }
}

function driverConfig(setup: EngineWorkersSetup, workersDir: string): MpsRespawnConfig {
  const { folder, speed, prepareMs, split, switching = "overlapped", tokenLog } = setup;
  const [prefillSmPct, decodeSmPct] = split;
  const log = tokenLog === undefined ? [] : ["--token-log", tokenLog];
  const resident = ["resident", "--workload", join(folder, "load.json"), "--speed", String(speed)];
  const address = join(folder, "r{rank}");
  return mpsRespawnDriver.parse({
    type: "mps-respawn",
    command: [process.execPath, ENGINE_SIM, "worker", "--prepare-ms", String(prepareMs)],
    env: { ENGINE_SIM_FAULTS: join(folder, "faults.json") },
    resident: {
      address,
      command: [process.execPath, ENGINE_SIM, ...resident, ...log, "--socket", address],
      readyPath: address,
    },
    smCount: 108,
    prefillSmPct,
    decodeSmPct,
    // What ran before goes at once: every switch prepares new workers.
    keepWarmMs: 0,
    switching,
    quota: { type: "kv-pool", path: `${address}.kv` },
    deadlines: { attachMs: 60_000 + (2 * prepareMs) / speed, ...setup.deadlines },
    mps: { pipeDirectory: join(folder, "mps"), tool: join(folder, "nvidia-cuda-mps-control") },
    workersDir,
  });
}

function steadyLoad({ ratePerS, outputTokens: [from, to] = [100, 300] }: EngineWorkersSetup): object {
  const table = (least: number, most: number): readonly (readonly number[])[] => [
    [0, least],
    [1, most],
  ];
  const band = { weight: 1, promptTokens: table(200, 1_000), outputTokens: table(from, to) };
  return {
    name: "steady",
    sources: "made up",
    kinds: { chat: [band] },
    phases: [{ name: "steady", durationS: 3_600, ratePerS: { chat: ratePerS } }],
  };
}
