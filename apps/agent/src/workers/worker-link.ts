/**
 * The agent's side of one worker's connection (docs/worker-protocol.md): the hello, requests with their answers
 * (matched by id, none is used twice), and events. A worker that sends what is no line of the protocol is hung up on;
 * it may connect again.
 */
import type { Socket } from "node:net";
import {
  MAX_WORKER_LINE_BYTES,
  WORKER_PROTOCOL_VERSION,
  type WorkerAnswer,
  type WorkerEvent,
  type WorkerHello,
  type WorkerRefused,
  type WorkerRequest,
  workerAnswer,
  workerEvent,
  workerHello,
} from "@fulcrum/contracts/worker-protocol.js";

const MAX_IN_FLIGHT = 16;
/**
 * Over all connections, and above what agents before this one used (they would have had to ask a thousand times a
 * millisecond): an answer that comes late, on another connection, matches nobody's request. A safe integer until the year 2255.
 */
let lastId = Date.now() * 1_000;

/** `unreachable`: the connection broke. `timeout`: no answer in time. `busy`: too many requests wait. */
export class WorkerLinkError extends Error {
  override readonly name = "WorkerLinkError";
  constructor(
    readonly code: "unreachable" | "timeout" | "busy",
    message: string,
  ) {
    super(message);
  }
}

interface Waiting {
  readonly request: WorkerRequest;
  readonly resolve: (answer: WorkerAnswer) => void;
  readonly reject: (error: WorkerLinkError) => void;
  readonly timer: NodeJS.Timeout;
}

export interface WorkerLinkListener {
  /** The first line; what it returns refuses the worker. */
  hello(link: WorkerLink, hello: WorkerHello): WorkerRefused | null;
  event(link: WorkerLink, event: WorkerEvent): void;
  /** In the order of the lines, so that an event behind an answer is heard behind it. */
  answer(link: WorkerLink, request: WorkerRequest, answer: WorkerAnswer): void;
  /** A refusal of a line that had no id. */
  unasked?(link: WorkerLink, refusal: WorkerAnswer): void;
  /** Once, for whatever reason; `why` is for the log. */
  closed(link: WorkerLink, why: string): void;
}

export class WorkerLink {
  worker: WorkerHello | null = null;
  private readonly waiting = new Map<number, Waiting>();
  private buffered = "";
  private ended = false;
  private readonly helloTimer: NodeJS.Timeout;

  constructor(
    private readonly socket: Socket,
    private readonly listener: WorkerLinkListener,
    helloMs: number,
  ) {
    this.helloTimer = setTimeout(() => this.refuse("bad_hello", `no hello within ${helloMs} ms`), helloMs);
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => this.take(chunk));
    socket.on("error", (error) => this.end(error.message));
    socket.on("close", () => this.end("the worker closed the connection"));
  }

  get open(): boolean {
    return !this.ended;
  }

  /** @throws WorkerLinkError; a refusal is an answer. */
  request(body: WorkerRequest, timeoutMs: number): Promise<WorkerAnswer> {
    if (this.ended) return Promise.reject(new WorkerLinkError("unreachable", "the worker is not connected"));
    if (this.waiting.size >= MAX_IN_FLIGHT) {
      return Promise.reject(new WorkerLinkError("busy", `${MAX_IN_FLIGHT} requests wait for an answer`));
    }
    lastId += 1;
    const id = lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new WorkerLinkError("timeout", `${body.op} was not answered in ${timeoutMs} ms`));
      }, timeoutMs);
      this.waiting.set(id, { request: body, resolve, reject, timer });
      this.sendText(`${JSON.stringify({ id, ...body })}\n`);
    });
  }

  /** As it is, for a test of what a worker does with a bad line. */
  sendText(text: string): void {
    if (!this.ended) this.socket.write(text);
  }

  refuse(code: WorkerRefused["code"], message: string): void {
    if (this.ended) return;
    const refused: WorkerRefused = { type: "refused", code, message };
    this.socket.end(`${JSON.stringify(refused)}\n`);
    this.end(`${code}: ${message}`);
  }

  close(): void {
    this.end("the agent closed the connection");
  }

  private take(chunk: string): void {
    this.buffered += chunk;
    while (!this.ended) {
      const newline = this.buffered.indexOf("\n");
      if (newline === -1 || newline > MAX_WORKER_LINE_BYTES) break;
      const line = this.buffered.slice(0, newline);
      this.buffered = this.buffered.slice(newline + 1);
      const wrong = this.takeLine(line);
      if (wrong !== null) this.refuse(this.worker === null ? "bad_hello" : "bad_line", wrong);
    }
    if (Buffer.byteLength(this.buffered) > MAX_WORKER_LINE_BYTES) {
      this.refuse("bad_line", `a line must be at most ${MAX_WORKER_LINE_BYTES} bytes`);
    }
  }

  /** What is wrong with it; null if nothing is. */
  private takeLine(line: string): string | null {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return `not JSON: ${line.slice(0, 80)}`;
    }
    if (this.worker === null) return this.takeHello(value);
    if (typeof value === "object" && value !== null && "event" in value) {
      const event = workerEvent.safeParse(value);
      if (!event.success) return `not an event: ${issueOf(event.error)}`;
      this.listener.event(this, event.data);
      return null;
    }
    const answer = workerAnswer.safeParse(value);
    if (!answer.success) return `not an answer: ${issueOf(answer.error)}`;
    const { id } = answer.data;
    if (id === null) {
      this.listener.unasked?.(this, answer.data);
      return null;
    }
    const waiting = this.waiting.get(id);
    // One that comes after its time is up is nobody's.
    if (waiting === undefined) return null;
    this.waiting.delete(id);
    clearTimeout(waiting.timer);
    this.listener.answer(this, waiting.request, answer.data);
    waiting.resolve(answer.data);
    return null;
  }

  private takeHello(value: unknown): string | null {
    const hello = workerHello.safeParse(value);
    if (!hello.success) return `not a hello: ${issueOf(hello.error)}`;
    clearTimeout(this.helloTimer);
    if (hello.data.protocol !== WORKER_PROTOCOL_VERSION) {
      const message = `protocol must be ${WORKER_PROTOCOL_VERSION}, got ${hello.data.protocol}`;
      this.refuse("protocol", message);
      return null;
    }
    this.worker = hello.data;
    const refused = this.listener.hello(this, hello.data);
    if (refused) this.refuse(refused.code, refused.message);
    return null;
  }

  private end(why: string): void {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.helloTimer);
    this.socket.destroySoon();
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(new WorkerLinkError("unreachable", why));
    }
    this.waiting.clear();
    this.listener.closed(this, why);
  }
}

function issueOf(error: { readonly issues: readonly { path: PropertyKey[]; message: string }[] }): string {
  const issue = error.issues[0];
  return `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "unknown"}`;
}
