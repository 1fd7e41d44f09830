/**
 * One connection to a control socket (docs/control-socket.md): newline-delimited JSON, one answer per request,
 * in order. Connects on the first request and again after a failure; whoever calls paces the tries.
 */
import { connect, type Socket } from "node:net";
import { DriverError } from "../partition-driver.js";

/** An answer is some 400 bytes. */
export const MAX_LINE_BYTES = 65_536;
const MAX_IN_FLIGHT = 16;

interface Waiting {
  readonly id: number;
  readonly resolve: (answer: Record<string, unknown>) => void;
  readonly reject: (error: DriverError) => void;
  readonly timer: NodeJS.Timeout;
}

export class ControlConnection {
  private socket: Socket | null = null;
  private waiting: Waiting[] = [];
  private buffered = "";
  private lastId = 0;

  constructor(
    private readonly path: string,
    private readonly timeoutMs: number,
  ) {}

  /** @throws DriverError `unreachable`, `timeout`, `bad_answer`, `busy` */
  request(body: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
    if (this.waiting.length >= MAX_IN_FLIGHT) {
      return Promise.reject(new DriverError("busy", `${MAX_IN_FLIGHT} requests are in flight`, true));
    }
    const socket = this.socket ?? this.open();
    this.lastId += 1;
    const id = this.lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        // Answers come in order: one that hangs holds up all behind it, so the connection is given up.
        const message = `${this.path} did not answer ${String(body["op"])} in ${this.timeoutMs} ms`;
        this.fail(socket, new DriverError("timeout", message, true));
      }, this.timeoutMs);
      this.waiting.push({ id, resolve, reject, timer });
      socket.write(`${JSON.stringify({ id, ...body })}\n`);
    });
  }

  close(): void {
    if (this.socket) this.fail(this.socket, new DriverError("unreachable", "the agent is closing", true));
  }

  private open(): Socket {
    const socket = connect(this.path);
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => this.take(socket, chunk));
    socket.on("error", (error) =>
      this.fail(socket, new DriverError("unreachable", `${this.path}: ${error.message}`, true)),
    );
    socket.on("close", () =>
      this.fail(socket, new DriverError("unreachable", `${this.path} closed the connection`, true)),
    );
    this.socket = socket;
    this.buffered = "";
    return socket;
  }

  private take(socket: Socket, chunk: string): void {
    if (socket !== this.socket) return;
    this.buffered += chunk;
    for (let newline = this.buffered.indexOf("\n"); newline !== -1; newline = this.buffered.indexOf("\n")) {
      const line = this.buffered.slice(0, newline);
      this.buffered = this.buffered.slice(newline + 1);
      if (!this.answer(line)) {
        const shown = line.slice(0, 80);
        return this.fail(socket, new DriverError("bad_answer", `${this.path} answered ${shown}`, true));
      }
    }
    if (this.buffered.length > MAX_LINE_BYTES) {
      const message = `${this.path} answered a line over ${MAX_LINE_BYTES} bytes`;
      this.fail(socket, new DriverError("bad_answer", message, true));
    }
  }

  private answer(line: string): boolean {
    const parsed = parseObject(line);
    const first = this.waiting[0];
    if (parsed === null || !first || parsed["id"] !== first.id) return false;
    this.waiting.shift();
    clearTimeout(first.timer);
    first.resolve(parsed);
    return true;
  }

  /** Gives the connection up, once: a late event of an abandoned socket must not harm its successor. */
  private fail(socket: Socket, error: DriverError): void {
    if (socket !== this.socket) return;
    this.socket = null;
    this.buffered = "";
    socket.destroy();
    const waiting = this.waiting;
    this.waiting = [];
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(error);
    }
  }
}

function parseObject(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}
