/** `engine-sim worker`: one role of one rank under one SM share (docs/worker-protocol.md), for an engine-sim resident. */
import { setTimeout as sleep } from "node:timers/promises";
import {
  WORKER_PROTOCOL_VERSION,
  type WorkerHello,
  type WorkerRequest,
  type WorkerState,
} from "@fulcrum/contracts/worker-protocol.js";
import type { PoolOwner } from "@fulcrum/kv-pool/owner.js";
import { KvPool } from "@fulcrum/kv-pool/pool.js";
import { loadProfile } from "../input-files.js";
import { AgentLink, type Asked } from "./agent-link.js";
import { BatchRunner, STALE } from "./batch-runner.js";
import { warmUp } from "./warm-up.js";
import { ResidentClient } from "./resident-client.js";
import { type Fault, type FaultPoint, readFault } from "./worker-faults.js";
import { smCountAt, type WorkerOptions } from "./worker-options.js";

/** How often an armed worker looks at its turn: this is what a switch costs. */
const LOOK_MS = 1;
const DRAIN = { lookMs: 10, limitMs: 100 };
const PROGRESS_MS = 1_000;

interface Engine {
  readonly pool: KvPool;
  readonly owner: PoolOwner;
  readonly runner: BatchRunner;
}

type Request<O extends WorkerRequest["op"]> = Extract<WorkerRequest, { readonly op: O }>;

export class Worker {
  private state: WorkerState = "new";
  /** The highest turn that it was told. */
  private turn: number | null = null;
  private iteration = 0;
  private smCount: number | null = null;
  private engine: Engine | null = null;
  private handOver: { readonly asked: Asked[]; readonly turn: number; readonly at: number | null } | null =
    null;
  private leaving = false;
  private hung = false;
  private iterationsRun = 0;
  /** It waits for its turn or iterates: armed once more it goes on, and does not begin a second time. */
  private looping = false;
  private readonly fault: Fault;
  private readonly link: AgentLink;

  constructor(private readonly options: WorkerOptions) {
    this.fault = readFault(options.faults, options.role, options.generation);
    this.link = new AgentLink(options.socket, {
      hello: () => this.hello(),
      request: (asked, request) => {
        if (!this.hung && !this.leaving) this.take(asked, request);
      },
    });
  }

  start(): void {
    this.link.open();
    setInterval(() => this.leaveIfAlone(), PROGRESS_MS);
    process.on("SIGTERM", () => {
      if (!this.hung && !this.fault.ignoreSigterm) this.leave();
    });
  }

  private hello(): WorkerHello {
    const { id, role, rank, generation, smPct } = this.options;
    const { state, turn, iteration, smCount } = this;
    const as = { protocol: WORKER_PROTOCOL_VERSION, worker: id, pid: process.pid, role, rank };
    return { type: "hello", ...as, generation, smPct, state, turn, iteration, smCount };
  }

  private take(asked: Asked, request: WorkerRequest): void {
    switch (request.op) {
      case "attach":
        return this.attach(asked);
      case "iterate":
        return this.iterate(asked, request);
      case "hand_over":
        return this.passOn(asked, request);
      case "keep":
        return this.keep(asked);
      case "drain":
        return this.drain(asked);
      case "leave":
        this.leave(asked);
        return;
      case "status":
        return this.accept(asked, { leases: this.engine?.owner.held ?? 0 });
    }
  }

  private accept(asked: Asked, more: object = {}): void {
    const { state, turn, iteration, smCount } = this;
    this.link.accept(asked, { state, turn, iteration, smCount, ...more });
  }

  private attach(asked: Asked): void {
    if (this.state !== "new") return this.accept(asked);
    this.state = "attaching";
    this.accept(asked);
    this.run("attach", this.makeReady());
  }

  private async makeReady(): Promise<void> {
    const { role, id: worker, generation, smPct, cappedPct, resident: path, prepareMs } = this.options;
    const began = performance.now();
    const resident = await ResidentClient.connect(path, () => {
      if (!this.leaving) this.fail("resident_lost", "the resident has ended");
    });
    const answer = await resident.ask({ op: "attach", worker, role, generation, smPct });
    if (!answer.ok) throw new Error(`the resident refused it: ${answer.message}`);
    const profile = loadProfile(answer.profile);
    const { speed } = answer;
    const pool = KvPool.open(answer.pool);
    await this.reach("attach");
    await warmUp(profile, pool.shape, sleep((this.fault.prepareMs ?? prepareMs) / speed));
    const owner = await pool.attach({ role, turn: 0 });
    const reach = (point: FaultPoint): Promise<void> => this.reach(point);
    const runner = new BatchRunner({ role, profile, speed, cappedPct, owner, resident, reach });
    this.engine = { pool, owner, runner };
    if (this.leaving || this.state !== "attaching") return;
    this.state = "ready";
    this.smCount = this.fault.smCount ?? smCountAt(profile, cappedPct);
    this.link.event({ event: "ready", smCount: this.smCount, tookMs: performance.now() - began });
    await this.reach("ready");
  }

  private iterate(asked: Asked, { turn, take }: Request<"iterate">): void {
    const { engine, state } = this;
    const { role } = this.options;
    const now = engine?.pool.turn(role) ?? 0;
    if (state === "iterating" && turn <= now) return this.accept(asked);
    if (engine === null || (state !== "ready" && state !== "armed" && state !== "handed_over"))
      return this.link.refuse(asked, "bad_state", `it is ${state}`);
    const isComing = state === "armed" && turn === now && this.turn === turn;
    // Of two that make a turn at once the pool lets one: the other has not got it, and stays as it was.
    const isLate = turn <= now ? !isComing : take === true && !engine.pool.takeTurn(role, turn);
    if (isLate) {
      const last = engine.pool.turn(role);
      return this.link.refuse(asked, "stale_turn", `the turn is ${last}`, { turn: last });
    }
    this.state = "armed";
    this.turn = Math.max(turn, this.turn ?? 0);
    this.accept(asked);
    if (this.looping) return;
    this.looping = true;
    const ends = (): void => void (this.looping = false);
    this.run("iterate", this.waitForTurn(engine).finally(ends));
  }

  private async waitForTurn(engine: Engine): Promise<void> {
    await this.reach("armed");
    engine.runner.mark();
    for (let lookedAt = performance.now(); this.state === "armed" && !this.leaving;) {
      const now = engine.pool.turn(this.options.role);
      if (now === this.turn) return this.iterateUnder(engine, now, lookedAt);
      if (now > (this.turn ?? 0)) return this.fenced(now);
      lookedAt = performance.now();
      engine.runner.mark();
      await sleep(LOOK_MS);
    }
  }

  /** From the moment that its turn came until it ends. @param cameAt when the turn was last seen not to be. */
  private async iterateUnder(engine: Engine, turn: number, cameAt: number): Promise<void> {
    const { pool, owner, runner } = engine;
    const { role } = this.options;
    owner.arm(turn);
    await this.reach("turn");
    const begun = await runner.begin(turn);
    if (begun === STALE) return this.fenced(pool.turn(role));
    if (this.state !== "armed" || this.leaving) return;
    this.state = "iterating";
    this.iteration = begun.progress.iteration;
    let { tokens } = begun.progress;
    const waitedMs = performance.now() - cameAt;
    this.link.event({ event: "iterating", turn, iteration: this.iteration + 1, waitedMs });
    let toldAt = Number.NEGATIVE_INFINITY;
    for (let batch = begun.first; ; batch = await runner.take(turn)) {
      if (!batch.ok) return this.fenced(pool.turn(role));
      if (batch.batch === null) this.iteration = batch.iteration;
      else {
        const ran = await runner.run(batch, turn);
        if (ran === STALE) return this.fenced(pool.turn(role));
        ({ iteration: this.iteration, tokens } = ran);
        this.iterationsRun += 1;
      }
      const { handOver } = this;
      const isDue = handOver !== null && this.iteration >= (handOver.at ?? 0);
      if (isDue && (await this.passTurn(engine, turn))) return;
      if (performance.now() - toldAt > PROGRESS_MS) {
        toldAt = performance.now();
        this.link.event({ event: "progress", iteration: this.iteration, tokens });
      }
      if (this.leaving) return this.bye();
      if (pool.turn(role) !== turn) return this.fenced(pool.turn(role));
    }
  }

  /** @returns false when the hand-over was taken back. */
  private async passTurn({ pool, runner }: Engine, own: number): Promise<boolean> {
    await this.reach("hand_over");
    const { handOver } = this;
    if (handOver === null) return false;
    if (!pool.passTurn(this.options.role, own, handOver.turn)) {
      this.fenced(pool.turn(this.options.role));
      return true;
    }
    // What comes from here on must find it handed over.
    this.state = "handed_over";
    this.handOver = null;
    await this.reach("handed_over");
    for (const asked of handOver.asked) this.accept(asked);
    runner.passed(handOver.turn);
    return true;
  }

  /** Somebody else has the role's turn: what it left is with the resident. */
  private fenced(turn: number): void {
    if (this.leaving) return this.bye();
    this.state = "handed_over";
    this.link.event({ event: "fenced", turn, iteration: this.iteration });
    for (const asked of this.handOver?.asked ?? []) this.accept(asked);
    this.handOver = null;
  }

  private passOn(asked: Asked, { turn, at }: Request<"hand_over">): void {
    const { state, engine, handOver } = this;
    const now = engine?.pool.turn(this.options.role) ?? 0;
    if (state === "handed_over" && turn <= now) return this.accept(asked);
    if (handOver !== null && handOver.turn === turn) return void handOver.asked.push(asked);
    if (state !== "iterating") return this.link.refuse(asked, "bad_state", `it is ${state}`);
    if (turn <= now) return this.link.refuse(asked, "stale_turn", `the turn is ${now}`, { turn: now });
    if (at !== null && at !== undefined && at <= this.iteration)
      return this.link.refuse(asked, "too_late", `iteration ${this.iteration} is past ${at}`);
    this.state = "handing_over";
    this.turn = turn;
    this.handOver = { asked: [asked], turn, at: at ?? null };
  }

  private keep(asked: Asked): void {
    const { state, handOver } = this;
    const now = this.engine?.pool.turn(this.options.role) ?? 0;
    const isComing = state === "armed" && now >= (this.turn ?? 0);
    if (state === "handed_over" || isComing) return this.link.refuse(asked, "too_late", `it is ${state}`);
    if (state === "armed") this.state = "ready";
    if (state === "handing_over") this.state = "iterating";
    this.handOver = null;
    for (const before of handOver?.asked ?? []) this.link.refuse(before, "kept", "it goes on");
    this.accept(asked);
  }

  private drain(asked: Asked): void {
    if (this.state === "iterating" || this.state === "handing_over")
      return this.link.refuse(asked, "bad_state", `it is ${this.state}`);
    this.state = "draining";
    this.run("drain", this.giveBack(asked));
  }

  /**
   * What running requests need is not given back: the successor takes it over as it begins. Where none does, it stays
   * in this worker's name when it leaves.
   */
  private async giveBack(asked: Asked): Promise<void> {
    const giveUpAt = performance.now() + DRAIN.limitMs;
    const held = (): number => this.engine?.owner.held ?? 0;
    while (held() > 0 && performance.now() < giveUpAt) await sleep(DRAIN.lookMs);
    if (held() > 0)
      return this.link.refuse(
        asked,
        "failed",
        `running requests need its ${held()} blocks; no successor has begun`,
      );
    this.engine?.owner.detach();
    this.accept(asked, { leases: 0 });
  }

  /** At the end of the iteration under way: nothing that was computed is lost. */
  private leave(asked?: Asked): void {
    if (this.leaving) return;
    this.leaving = true;
    this.answerLeave = () => {
      if (asked !== undefined) this.accept(asked);
    };
    if (this.state !== "iterating" && this.state !== "handing_over") this.bye();
  }

  private answerLeave: () => void = () => undefined;

  private bye(): void {
    this.answerLeave();
    const owner = this.engine?.owner;
    // With blocks of running requests it goes as a dead owner would, and its successor inherits them.
    if (owner !== undefined && owner.held === 0) owner.detach();
    this.link.flush(() => process.exit(0));
  }

  private leaveIfAlone(): void {
    const iterates = this.state === "iterating" || this.state === "handing_over";
    const { aloneSinceMs } = this.link;
    if (aloneSinceMs === null || iterates || this.hung) return;
    if (performance.now() - aloneSinceMs > this.options.abandonMs) this.leave();
  }

  private run(what: string, work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!this.leaving) this.fail(what, error instanceof Error ? error.message : String(error));
    });
  }

  private fail(code: string, message: string): void {
    this.leaving = true;
    process.stderr.write(`engine-sim worker ${this.options.id}: ${code}: ${message}\n`);
    this.link.event({ event: "failed", code, message });
    this.link.flush(() => process.exit(1));
  }

  private async reach(point: FaultPoint): Promise<void> {
    const { die, stop, hang, after } = this.fault;
    if (this.iterationsRun < after) return;
    if (die === point) process.kill(process.pid, "SIGKILL");
    if (stop === point) process.kill(process.pid, "SIGSTOP");
    if (hang !== point) return;
    this.hung = true;
    await new Promise(() => undefined);
  }
}
