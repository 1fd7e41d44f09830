/** The resident's socket: answers workers, and lets only the holder of a role's turn take work and post results. */
import { createServer, type Server, type Socket } from "node:net";
import type { Phase } from "@fulcrum/core/nouns.js";
import { PoolError } from "@fulcrum/kv-pool/errors.js";
import type { KvPool } from "@fulcrum/kv-pool/pool.js";
import type { Logger } from "pino";
import { z } from "zod";
import { removeStaleSocket } from "../control-server.js";
import { monotonicMs } from "./core-wait.js";
import type { EngineState } from "./engine-state.js";
import { onLines } from "./lines.js";
import {
  type AttachAnswer,
  type Batch,
  type InheritedAnswer,
  MAX_RESIDENT_LINE_CHARS,
  type Measure,
  residentRequest,
  type ResidentRefusal,
  type ResidentRequest,
} from "./resident-protocol.js";

/** A round with nothing to run: as the simulator's (turns.ts), at least ten a second. */
const IDLE_MS = 10;
const RECLAIM_MS = 1_000;
const MAX_CONNECTIONS = 32;

export interface Holder {
  readonly worker: string;
  readonly generation: number;
  readonly smPct: number;
}

export interface ResidentServerOptions {
  readonly path: string;
  readonly state: EngineState;
  readonly pool: KvPool;
  readonly about: Omit<AttachAnswer, "ok">;
  /** `anew`: a new window begins. */
  readonly measure: (anew: boolean) => Measure;
  readonly stopLoad: () => void;
  readonly log: Pick<Logger, "info" | "warn">;
}

interface Connection extends Holder {
  readonly role: Phase;
  slot: number;
}

interface Parked {
  readonly turn: number;
  readonly answer: () => void;
  readonly timer: NodeJS.Timeout;
}

type WithTurn = Extract<ResidentRequest, { readonly turn: number }>;

export class ResidentServer {
  /** Who began the role's last turn. */
  readonly holders: Record<Phase, Holder | null> = { prefill: null, decode: null };
  refusedResults = 0;
  private readonly parked: Record<Phase, Parked | null> = { prefill: null, decode: null };
  /** After a batch of which nothing could run, for want of blocks: not at once the same again. */
  private readonly heldUp = { prefill: false, decode: false };
  private readonly connections = new WeakMap<Socket, Connection>();
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly options: ResidentServerOptions,
    private readonly server: Server,
  ) {
    server.on("connection", (socket: Socket) => this.serve(socket));
    this.timer = setInterval(() => void this.reclaim(), RECLAIM_MS);
  }

  /** @throws Error when the socket is in use. */
  static async listen(options: ResidentServerOptions): Promise<ResidentServer> {
    await removeStaleSocket(options.path);
    const server = createServer();
    server.maxConnections = MAX_CONNECTIONS;
    const resident = new ResidentServer(options, server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(options.path, () => resolve());
    });
    return resident;
  }

  /** There may be something to run: whoever waits for work is answered. */
  wake(): void {
    for (const role of ["prefill", "decode"] as const) {
      const parked = this.parked[role];
      if (parked === null || this.heldUp[role] || !this.options.state.hasWork(role)) continue;
      this.parked[role] = null;
      clearTimeout(parked.timer);
      parked.answer();
    }
  }

  close(): void {
    clearInterval(this.timer);
    this.server.close();
  }

  private serve(socket: Socket): void {
    const send = (answer: object): void => {
      if (!socket.destroyed) socket.write(`${JSON.stringify(answer)}\n`);
    };
    const tooLong = (): void => {
      send(refuse("bad_request", `a line must be at most ${MAX_RESIDENT_LINE_CHARS} characters long`));
      socket.destroySoon();
    };
    onLines(socket, MAX_RESIDENT_LINE_CHARS, (line) => this.takeLine(socket, line, send), tooLong);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => void this.reclaim());
  }

  private takeLine(socket: Socket, line: string, send: (answer: object) => void): void {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (error) {
      return send(refuse("bad_request", `not JSON: ${(error as Error).message}`));
    }
    const parsed = residentRequest.safeParse(value);
    if (!parsed.success) return send(refuse("bad_request", z.prettifyError(parsed.error)));
    const request = parsed.data;
    if (request.op === "measure") return send(this.options.measure(request.anew));
    if (request.op === "stop_load") {
      this.options.stopLoad();
      return send({ ok: true });
    }
    if (request.op === "attach") {
      const { worker, role, generation, smPct } = request;
      this.connections.set(socket, { worker, role, generation, smPct, slot: -1 });
      return send({ ok: true, ...this.options.about });
    }
    const connection = this.connections.get(socket);
    if (connection === undefined) return send(refuse("bad_request", "attach first"));
    this.answer(connection, request, send);
  }

  private answer(connection: Connection, request: WithTurn, send: (answer: object) => void): void {
    const { state, pool, about } = this.options;
    const { role } = connection;
    const turn = pool.turn(role);
    if (turn !== request.turn) {
      if (request.op === "post") this.refusedResults += 1;
      return send(refuse("stale_turn", `the turn of ${role} is ${turn}, not ${request.turn}`));
    }
    switch (request.op) {
      case "begin": {
        connection.slot = request.slot;
        this.holders[role] = connection;
        const sawMsAgo = (monotonicMs() - request.sawAtMs) * about.speed;
        const inherit = state.begin(role, request.slot, { turn, sawMsAgo });
        // What is left of a dead worker's requests is not known before the new one has looked: none of them runs.
        const isKnown = inherit.every(({ blocks }) => blocks !== null);
        const { iteration, tokens } = state.progress(role);
        const first = isKnown ? this.offer(connection, request.coreWaitMs) : null;
        send({ ok: true, iteration, tokens, inherit, first });
        break;
      }
      case "inherited":
        send(this.inherited(connection, request));
        break;
      case "take":
        this.take(connection, request, send);
        break;
      case "passed": {
        const { coreWaitMs } = request;
        state.pauses.passed(role, turn, coreWaitMs === null ? null : coreWaitMs * about.speed);
        send({ ok: true });
        break;
      }
      case "preempt": {
        const free = state.preempt(request.batch, request.id);
        send(free === null ? noSuchBatch(request.batch) : { ok: true, free });
        break;
      }
      case "post": {
        const free = state.post(role, connection.slot, request);
        this.heldUp[role] = free !== null && request.results.length === 0;
        const { iteration, tokens } = state.progress(role);
        send(free === null ? noSuchBatch(request.batch) : { ok: true, iteration, tokens, free });
        break;
      }
    }
    this.wake();
  }

  private inherited(
    { role, slot }: Connection,
    { from, blocks }: Extract<ResidentRequest, { op: "inherited" }>,
  ): InheritedAnswer {
    const { state } = this.options;
    if (blocks === null) {
      state.inheritAll(role, from, slot);
      return { ok: true, free: [], isBatchVoid: false };
    }
    const isBatchVoid = state.giveUp(role, slot);
    return { ok: true, free: state.inherit(role, from, slot, blocks), isBatchVoid };
  }

  private offer({ role, smPct }: Connection, coreWaitMs: number | null): Batch | null {
    const { state, about } = this.options;
    const other = this.holders[role === "prefill" ? "decode" : "prefill"]?.smPct ?? 0;
    if (this.heldUp[role]) return null;
    return state.offer(role, smPct, other, coreWaitMs === null ? null : coreWaitMs * about.speed);
  }

  private take(
    connection: Connection,
    request: Extract<ResidentRequest, { op: "take" }>,
    send: (answer: object) => void,
  ): void {
    const { state, pool } = this.options;
    const { role } = connection;
    const batch = this.offer(connection, request.coreWaitMs);
    if (batch !== null) return send(batch);
    const before = this.parked[role];
    this.parked[role] = null;
    const timer = setTimeout(() => {
      this.parked[role] = null;
      this.heldUp[role] = false;
      if (pool.turn(role) === request.turn) send({ ok: true, batch: null, iteration: state.idle(role) });
      else this.answer(connection, request, send);
    }, IDLE_MS);
    // The turn may have passed meanwhile: it is looked at again.
    this.parked[role] = { turn: request.turn, timer, answer: () => this.answer(connection, request, send) };
    if (before === null) return;
    // Of the worker that had the turn before: it is told so.
    clearTimeout(before.timer);
    if (before.turn !== request.turn) before.answer();
  }

  /** Drops dead owners from the pool that no request needs; what a request needs, its next worker inherits. */
  private async reclaim(): Promise<void> {
    const { pool, state, log } = this.options;
    try {
      const gone = pool.owners().filter((owner) => owner.state === "gone");
      if (gone.length === 0 || state.needs(new Set(gone.map(({ slot }) => slot)))) return;
      const dropped = await pool.reclaimDead();
      // One that died just now may be among them: its requests begin anew.
      state.dropped(new Set(dropped.map(({ slot }) => slot)));
      for (const { slot, role, process, blocks } of dropped)
        log.info({ event: "owner_reclaimed", slot, role, pid: process.pid, blocks });
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      log.warn({ event: "reclaim_failed", error: error.message, isPool: error instanceof PoolError });
    }
  }
}

function refuse(code: ResidentRefusal["code"], message: string): ResidentRefusal {
  return { ok: false, code, message };
}

function noSuchBatch(batch: number): ResidentRefusal {
  return refuse("no_such_batch", `batch ${batch} is not the one that is out`);
}
