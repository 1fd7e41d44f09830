/** A worker's side of the worker protocol's socket: the hello, lines both ways, and the way back when it breaks. */
import { connect, type Socket } from "node:net";
import {
  MAX_WORKER_LINE_BYTES,
  type WorkerEvent,
  type WorkerHello,
  type WorkerRequest,
  type workerRefusalCode,
  workerRequest,
} from "@fulcrum/contracts/worker-protocol.js";
import { z } from "zod";
import { onLines } from "./lines.js";

/** Two tries are never closer than `apart` (the protocol: at most one a second); after a long connection `least`. */
const RECONNECT_MS = { least: 100, apart: 1_000 };
/** An agent that refuses a hello does so at once: one that has not by then has taken the worker. */
const TAKEN_MS = 1_000;
const FLUSH_MS = 1_000;

export type Refusal = z.infer<typeof workerRefusalCode>;

/** A request that is to be answered. Ids belong to the connection: its answer goes out there or not at all. */
export interface Asked {
  readonly id: number | null;
  readonly socket: Socket;
}

export interface AgentLinkListener {
  hello(): WorkerHello;
  request(asked: Asked, request: WorkerRequest): void;
}

export class AgentLink {
  /** The connection that stands. */
  private socket: Socket | null = null;
  private triedAtMs = 0;
  private takenTimer: NodeJS.Timeout | null = null;
  private sinceMs: number | null = performance.now();
  private retryTimer: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(
    private readonly path: string,
    private readonly listener: AgentLinkListener,
  ) {}

  /**
   * Since when no agent has it, of performance.now(); null while one does. One has it from its first request on, or when the
   * hello was not refused for a second: who is refused again and again is alone all the same.
   */
  get aloneSinceMs(): number | null {
    return this.sinceMs;
  }

  open(): void {
    this.triedAtMs = performance.now();
    const socket = connect(this.path);
    socket.on("connect", () => {
      if (this.closed) return void socket.destroy();
      this.socket = socket;
      this.takenTimer = setTimeout(() => this.taken(), TAKEN_MS);
      this.send(this.listener.hello());
    });
    onLines(
      socket,
      MAX_WORKER_LINE_BYTES,
      (line) => this.take(socket, line),
      () =>
        this.refuse(
          { id: null, socket },
          "bad_request",
          `a line must be at most ${MAX_WORKER_LINE_BYTES} bytes long`,
        ),
    );
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.lost(socket);
      if (this.closed) return;
      const agoMs = performance.now() - this.triedAtMs;
      this.retryTimer = setTimeout(
        () => this.open(),
        Math.max(RECONNECT_MS.least, RECONNECT_MS.apart - agoMs),
      );
    });
  }

  accept(asked: Asked, more: object): void {
    this.answer(asked, { id: asked.id, ok: true, ...more });
  }

  refuse(asked: Asked, code: Refusal, message: string, more: object = {}): void {
    this.answer(asked, { id: asked.id, ok: false, code, message, ...more });
  }

  event(event: WorkerEvent): void {
    this.send(event);
  }

  /** Calls back when all that was sent is on its way, or can no more be. */
  flush(done: () => void): void {
    this.closed = true;
    if (this.socket === null) return done();
    setTimeout(done, FLUSH_MS);
    this.socket.end(done);
  }

  /** For good. */
  close(): void {
    this.closed = true;
    if (this.retryTimer !== null) clearTimeout(this.retryTimer);
    this.socket?.destroy();
  }

  private answer({ socket }: Asked, value: object): void {
    if (socket === this.socket) this.send(value);
  }

  private send(value: object): void {
    // Not connected: the next hello says it all.
    this.socket?.write(`${JSON.stringify(value)}\n`);
  }

  private taken(): void {
    this.sinceMs = null;
    this.clearTakenTimer();
  }

  private lost(socket: Socket): void {
    if (this.socket !== socket) return;
    this.socket = null;
    this.clearTakenTimer();
    this.sinceMs ??= performance.now();
  }

  private clearTakenTimer(): void {
    if (this.takenTimer !== null) clearTimeout(this.takenTimer);
    this.takenTimer = null;
  }

  private take(socket: Socket, line: string): void {
    const nobody = { id: null, socket };
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return this.refuse(nobody, "bad_request", "not JSON");
    }
    // The agent hangs up next.
    if (typeof value === "object" && value !== null && "type" in value && value.type === "refused")
      return this.clearTakenTimer();
    const id = z.object({ id: z.int() }).safeParse(value);
    if (!id.success) return this.refuse(nobody, "bad_request", "id must be a whole number");
    this.taken();
    const asked = { id: id.data.id, socket };
    const parsed = workerRequest.safeParse(value);
    if (parsed.success) this.listener.request(asked, parsed.data);
    else this.refuse(asked, "bad_request", z.prettifyError(parsed.error));
  }
}
