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

/** At most once a second (the protocol); the first try comes sooner. */
const RECONNECT_MS = { first: 100, later: 1_000 };

export type Refusal = z.infer<typeof workerRefusalCode>;

export interface AgentLinkListener {
  hello(): WorkerHello;
  request(id: number, request: WorkerRequest): void;
}

export class AgentLink {
  private socket: Socket | null = null;
  private wasConnected = false;
  /** When it was last connected, of performance.now(). */
  lostAtMs = performance.now();

  constructor(
    private readonly path: string,
    private readonly listener: AgentLinkListener,
  ) {}

  get connected(): boolean {
    return this.socket !== null;
  }

  open(): void {
    const socket = connect(this.path);
    socket.on("connect", () => {
      this.socket = socket;
      this.wasConnected = true;
      this.send(this.listener.hello());
    });
    onLines(
      socket,
      MAX_WORKER_LINE_BYTES,
      (line) => this.take(line),
      () => this.refuse(null, "bad_request", `a line must be at most ${MAX_WORKER_LINE_BYTES} bytes long`),
    );
    socket.on("error", () => undefined);
    socket.on("close", () => {
      if (this.socket === socket) {
        this.socket = null;
        this.lostAtMs = performance.now();
      }
      const waitMs = this.wasConnected ? RECONNECT_MS.first : RECONNECT_MS.later;
      this.wasConnected = false;
      setTimeout(() => this.open(), waitMs);
    });
  }

  accept(id: number, more: object): void {
    this.send({ id, ok: true, ...more });
  }

  refuse(id: number | null, code: Refusal, message: string, more: object = {}): void {
    this.send({ id, ok: false, code, message, ...more });
  }

  event(event: WorkerEvent): void {
    this.send(event);
  }

  /** Calls back when all that was sent is on its way. */
  flush(done: () => void): void {
    if (this.socket === null) done();
    else this.socket.end(done);
  }

  private send(value: object): void {
    // Not connected: the next hello says it all.
    this.socket?.write(`${JSON.stringify(value)}\n`);
  }

  private take(line: string): void {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return this.refuse(null, "bad_request", "not JSON");
    }
    if (typeof value === "object" && value !== null && "type" in value && value.type === "refused") return;
    const id = z.object({ id: z.int() }).safeParse(value);
    const parsed = workerRequest.safeParse(value);
    if (!id.success) this.refuse(null, "bad_request", "id must be a whole number");
    else if (parsed.success) this.listener.request(id.data.id, parsed.data);
    else this.refuse(id.data.id, "bad_request", z.prettifyError(parsed.error));
  }
}
