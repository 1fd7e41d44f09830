/**
 * An agent's end of one candidate's connection. It hands on every line, also those that an agent would overlook, such as an
 * answer that nobody waits for; and it can be away, or refuse.
 */
import { rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { MAX_WORKER_LINE_BYTES, type WorkerRefused } from "@fulcrum/contracts/worker-protocol.js";

const HELLO_MS = 5_000;

export interface AgentSocketListener {
  /** A line; `connection` counts the connections from 1, `isFirst` is its hello. */
  line(text: string, connection: number, isFirst: boolean): void;
  /** What the worker sent is no line, or no hello came. */
  wrong(why: string): void;
  /** The connection that stood does no more. */
  lost(): void;
}

export class AgentSocket {
  /** When each connection was made, of performance.now(). */
  readonly triedAtMs: number[] = [];
  /** Answers every hello with this, and hangs up. */
  refuses: WorkerRefused | null = null;
  private server: Server | null = null;
  private readonly sockets = new Set<Socket>();
  private standing: Socket | null = null;

  constructor(
    readonly path: string,
    private readonly listener: AgentSocketListener,
  ) {}

  /** Number of the connection that stands; null without one. */
  get connection(): number | null {
    return this.standing === null ? null : this.triedAtMs.length;
  }

  async listen(): Promise<void> {
    await rm(this.path, { force: true });
    const server = createServer((socket) => this.accept(socket));
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.path, resolve);
    });
  }

  /** As an agent that ends: no socket is there to connect to. */
  async close(): Promise<void> {
    const { server } = this;
    this.server = null;
    for (const socket of this.sockets) socket.destroy();
    if (server !== null) await new Promise((resolve) => void server.close(resolve));
    await rm(this.path, { force: true });
  }

  send(text: string): void {
    this.standing?.write(text);
  }

  hangUp(): void {
    this.standing?.destroy();
    this.drop(this.standing);
  }

  private accept(socket: Socket): void {
    this.triedAtMs.push(performance.now());
    const connection = this.triedAtMs.length;
    this.sockets.add(socket);
    let buffered = "";
    let lines = 0;
    const wrong = (why: string): void => {
      socket.destroy();
      this.listener.wrong(why);
    };
    const helloTimer = setTimeout(() => wrong(`no hello within ${HELLO_MS} ms of a connection`), HELLO_MS);
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      buffered += chunk;
      for (let end = buffered.indexOf("\n"); end !== -1 && !socket.destroyed; end = buffered.indexOf("\n")) {
        const line = buffered.slice(0, end);
        buffered = buffered.slice(end + 1);
        lines += 1;
        clearTimeout(helloTimer);
        if (lines === 1) this.greet(socket);
        this.listener.line(line, connection, lines === 1);
      }
      if (Buffer.byteLength(buffered) > MAX_WORKER_LINE_BYTES)
        wrong(`it sent a line of more than ${MAX_WORKER_LINE_BYTES} bytes`);
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(helloTimer);
      this.sockets.delete(socket);
      this.drop(socket);
    });
  }

  private greet(socket: Socket): void {
    if (this.refuses !== null) {
      socket.end(`${JSON.stringify(this.refuses)}\n`);
      return;
    }
    const before = this.standing;
    this.standing = socket;
    before?.destroy();
  }

  private drop(socket: Socket | null): void {
    if (socket === null || this.standing !== socket) return;
    this.standing = null;
    this.listener.lost();
  }
}
