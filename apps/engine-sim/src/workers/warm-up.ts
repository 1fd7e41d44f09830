import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { KvPool } from "@fulcrum/kv-pool/pool.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { BatchRunner, STALE } from "./batch-runner.js";
import { EngineState } from "./engine-state.js";
import { GapMeter } from "./gap-meter.js";
import { ResidentClient } from "./resident-client.js";
import { ResidentServer } from "./resident-server.js";
import { TokenLog } from "./token-log.js";

/** Of either role, until its code is compiled; and as ready is near, since what lay still for seconds is cold again. */
const TURNS = { first: 12, last: 2 };
const STEPS = { prefill: 1, decode: 6 };
/** A round brings as many requests as one takes away: 16 run at a time. */
const REQUESTS = { each: 4, promptTokens: 600, outputTokens: 24 };
/** No time for kernels: an iteration is what the engine does around them. */
const SPEED = 1e9;

const ROLES = ["prefill", "decode"] as const;

/**
 * Runs turns and iterations on a scratch rank of its own before the worker is ready, as an engine captures its graphs: what
 * is run for the first time after the turn has come makes running requests wait. Once at once, then shortly after `prepared`.
 */
export async function warmUp(
  profile: Profile,
  shape: KvPool["shape"],
  prepared: Promise<unknown>,
): Promise<void> {
  const rank = await ScratchRank.open(profile, shape);
  try {
    await rank.run(TURNS.first);
    await prepared;
    await rank.run(TURNS.last);
  } finally {
    rank.close();
  }
}

interface ScratchWorker {
  readonly client: ResidentClient;
  readonly arm: (turn: number) => void;
  readonly runner: BatchRunner;
}

/** A resident and two workers of each role, in this process. */
class ScratchRank {
  private readonly workers: Record<WorkerRole, ScratchWorker[]> = { prefill: [], decode: [] };
  private turns = 0;
  private requests = 0;

  private constructor(
    private readonly profile: Profile,
    private readonly pool: KvPool,
    private readonly state: EngineState,
    private readonly server: ResidentServer,
  ) {}

  static async open(profile: Profile, shape: KvPool["shape"]): Promise<ScratchRank> {
    const folder = await mkdtemp(join(tmpdir(), "engine-sim-"));
    try {
      const pool = KvPool.create(join(folder, "kv"), shape);
      const nowMs = (): number => performance.now();
      const about = { profile, pool, tokens: new TokenLog(null), meter: new GapMeter(), nowMs };
      const state = new EngineState({ ...about, coreWaitMs: () => null });
      const server = await ResidentServer.listen({
        path: join(folder, "r"),
        state,
        pool,
        about: { pool: "", profile: "", speed: SPEED },
        measure: () => {
          throw new Error("nobody measures a scratch rank");
        },
        stopLoad: () => undefined,
        log: { info: () => undefined, warn: () => undefined },
      });
      const rank = new ScratchRank(profile, pool, state, server);
      for (const role of ROLES)
        for (const worker of ["a", "b"]) rank.workers[role].push(await rank.attach(folder, role, worker));
      return rank;
    } finally {
      // What is mapped and connected needs no name: killed while it prepares, a worker leaves nothing behind.
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** So many turns of either role, each a hand-over from one worker to the other. */
  async run(turns: number): Promise<void> {
    for (let done = 0; done < turns; done += 1) {
      this.turns += 1;
      for (let request = 0; request < REQUESTS.each; request += 1) this.arrive();
      for (const role of ROLES) await this.turn(role, this.turns);
    }
  }

  close(): void {
    for (const { client } of [...this.workers.prefill, ...this.workers.decode]) client.close();
    this.server.close();
    this.pool.close();
  }

  private async attach(folder: string, role: WorkerRole, worker: string): Promise<ScratchWorker> {
    const client = await ResidentClient.connect(join(folder, "r"), () => undefined);
    await client.ask({ op: "attach", worker, role, generation: 0, smPct: 50 });
    const owner = await this.pool.attach({ role, turn: 0 });
    const reach = (): Promise<void> => Promise.resolve();
    const as = { role, profile: this.profile, speed: SPEED, cappedPct: 50, owner, resident: client, reach };
    return { client, arm: (turn) => owner.arm(turn), runner: new BatchRunner(as) };
  }

  private arrive(): void {
    const { promptTokens, outputTokens } = REQUESTS;
    this.requests += 1;
    this.state.arrive({ id: this.requests, arrivalMs: performance.now(), promptTokens, outputTokens });
  }

  private async turn(role: WorkerRole, turn: number): Promise<void> {
    const worker = this.workers[role][turn % 2];
    if (worker === undefined || !this.pool.takeTurn(role, turn)) return;
    worker.arm(turn);
    worker.runner.mark();
    const begun = await worker.runner.begin(turn);
    if (begun === STALE) return;
    let batch = begun.first;
    for (let step = 1; batch.ok; step += 1) {
      if (batch.batch !== null) await worker.runner.run(batch, turn);
      if (step === STEPS[role]) return;
      batch = await worker.runner.take(turn);
    }
  }
}
