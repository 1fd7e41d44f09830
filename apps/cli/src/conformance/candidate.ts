/** One candidate worker: its process and what it has said, with waits that have a limit. */
import { type ChildProcess, spawn } from "node:child_process";
import { processKey, sendSignal, wasStartedAs } from "@fulcrum/agent/workers/proc.js";
import type { WorkerAnswer, WorkerHello, WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { workerStatus } from "@fulcrum/contracts/worker-protocol.js";
import { AgentSocket } from "./agent-socket.js";
import { Conversation, type Heard, RuleBroken } from "./conversation.js";

export const ANSWER_MS = 5_000;
/** For one that has hung up on its own, and for the reason of its end to be known. */
const RECONNECT_MS = 1_500;
const LAST_LINES_MS = 1_000;
const MAX_OUTPUT_CHARS = 4_000;

/** A request as it is sent; also one that the protocol does not have. */
export interface AnyRequest {
  readonly op: string;
  readonly [field: string]: unknown;
}

export interface CandidateSpec {
  readonly id: string;
  readonly role: WorkerRole;
  readonly generation: number;
  readonly smPct: number;
  readonly command: string;
  readonly socket: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface Status {
  readonly state: string;
  readonly turn: number | null;
  readonly iteration: number;
  readonly smCount: number | null;
  readonly leases: number;
}

export class Candidate {
  exit: { readonly code: number | null; readonly signal: string | null } | null = null;
  readonly said: Conversation;
  readonly socket: AgentSocket;
  private output = "";
  private child: ChildProcess | null = null;
  private readonly watchers = new Set<() => void>();

  constructor(readonly spec: CandidateSpec) {
    this.said = new Conversation(spec.id);
    this.socket = new AgentSocket(spec.socket, {
      line: (text, connection, isFirst) => {
        this.said.take(text, connection, isFirst);
        if (this.said.wrong !== null) this.socket.hangUp();
        this.changed();
      },
      wrong: (why) => {
        this.said.wrong ??= why;
        this.changed();
      },
      lost: () => {
        this.said.lost();
        this.changed();
      },
    });
  }

  async start(): Promise<void> {
    await this.socket.listen();
    const { spec } = this;
    const child = spawn("/bin/sh", ["-c", spec.command], {
      env: {
        ...spec.env,
        FULCRUM_WORKER_PROTOCOL: "1",
        FULCRUM_WORKER_SOCKET: spec.socket,
        FULCRUM_WORKER_ID: spec.id,
        FULCRUM_WORKER_ROLE: spec.role,
        FULCRUM_WORKER_RANK: "0",
        FULCRUM_INSTANCE: "conformance",
        FULCRUM_GENERATION: String(spec.generation),
        FULCRUM_SM_PCT: String(spec.smPct),
        CUDA_MPS_ACTIVE_THREAD_PERCENTAGE: String(spec.smPct),
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.output = (this.output + text).slice(-MAX_OUTPUT_CHARS);
      });
    }
    child.once("exit", (code, signal) => void this.ended({ code, signal }));
  }

  get hello(): WorkerHello | null {
    return this.said.hello;
  }

  get events(): readonly Heard[] {
    return this.said.events;
  }

  /** @throws RuleBroken also when the worker ends, or has sent what is no line of the protocol. */
  async until<T>(what: string, limitMs: number, look: () => T | null | undefined | false): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        clearInterval(again);
        this.watchers.delete(check);
      };
      const fail = (why: string): void => {
        end();
        reject(new RuleBroken(`${what}: ${why}`));
      };
      const check = (): void => {
        const found = look();
        if (found !== null && found !== undefined && found !== false) {
          end();
          resolve(found);
        } else if (this.said.wrong !== null) fail(this.said.wrong);
        else if (this.exit !== null) fail(this.lastWords());
      };
      const timer = setTimeout(() => fail(`not within ${limitMs} ms`), limitMs);
      const again = setInterval(check, 20);
      this.watchers.add(check);
      check();
    });
  }

  /** The first event of the kind after the first `from` events. */
  event<K extends Heard["event"]>(kind: K, limitMs: number, from = 0): Promise<Extract<Heard, { event: K }>> {
    return this.until(`event ${kind}`, limitMs, () => this.said.find(kind, from));
  }

  /** @throws RuleBroken when there is no answer on the connection that it was asked on. */
  async ask(request: AnyRequest, limitMs = ANSWER_MS): Promise<WorkerAnswer> {
    const connected = (): number | null => this.socket.connection;
    const connection = await this.until(`a connection for ${request.op}`, RECONNECT_MS, connected);
    const asked = this.said.ask(request.op, connection);
    this.socket.send(`${JSON.stringify({ id: asked.id, ...request })}\n`);
    const unasked = this.said.unasked.length;
    const text = JSON.stringify(request);
    const answer = await this.until(`the answer to ${text}`, limitMs, () => {
      if (asked.answer !== null) return asked.answer;
      if (this.said.unasked.length > unasked) return "it has id null, not the request's";
      return this.socket.connection === connection ? null : "the connection broke before it came";
    });
    if (typeof answer === "string") throw new RuleBroken(`the answer to ${text}: ${answer}`);
    return answer;
  }

  async accept(request: AnyRequest, limitMs?: number): Promise<Extract<WorkerAnswer, { ok: true }>> {
    const answer = await this.ask(request, limitMs);
    if (answer.ok) return answer;
    throw new RuleBroken(`${JSON.stringify(request)} was refused: ${answer.code}: ${answer.message}`);
  }

  async refuse(
    request: AnyRequest,
    code: string,
    limitMs?: number,
  ): Promise<Extract<WorkerAnswer, { ok: false }>> {
    const answer = await this.ask(request, limitMs);
    if (answer.ok)
      throw new RuleBroken(`${JSON.stringify(request)} should be refused with ${code}, but was accepted`);
    if (answer.code !== code) {
      throw new RuleBroken(`${JSON.stringify(request)} should be refused with ${code}, got ${answer.code}`);
    }
    return answer;
  }

  async status(): Promise<Status> {
    const parsed = workerStatus.safeParse(await this.accept({ op: "status" }));
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    throw new RuleBroken(`the answer to status: ${issue?.path.join(".")}: ${issue?.message}`);
  }

  /** Polls status until it is so. */
  async reach(state: string, limitMs = ANSWER_MS): Promise<void> {
    const giveUpAt = performance.now() + limitMs;
    for (;;) {
      const now = await this.status();
      if (now.state === state) return;
      if (performance.now() > giveUpAt)
        throw new RuleBroken(`its state should be ${state}, but is ${now.state}`);
      await pause(20);
    }
  }

  /** Breaks the connection and waits for the next one. @returns its hello. */
  async reconnect(limitMs: number): Promise<WorkerHello> {
    const before = this.hello;
    this.socket.hangUp();
    return this.until("a new connection", limitMs, () => {
      return this.hello !== before && this.socket.connection !== null && this.hello;
    });
  }

  /** Whether its hello names a process that was started as this worker, as an agent looks before it sends a signal. */
  get ownsItsPid(): boolean {
    return this.hello !== null && wasStartedAs(processKey(this.hello.pid), this.spec.id);
  }

  signal(signal: "SIGTERM" | "SIGKILL"): void {
    if (this.exit !== null) return;
    if (this.hello !== null && this.ownsItsPid) sendSignal(processKey(this.hello.pid), signal);
    else this.child?.kill(signal);
  }

  /** At the end of everything. */
  async end(): Promise<void> {
    this.signal("SIGKILL");
    if (this.exit === null) this.child?.kill("SIGKILL");
    await this.socket.close();
  }

  /** What it sent last may be read only after its end is known. */
  private async ended(exit: NonNullable<Candidate["exit"]>): Promise<void> {
    const giveUpAt = performance.now() + LAST_LINES_MS;
    while (this.socket.connection !== null && performance.now() < giveUpAt) await pause(10);
    this.exit = exit;
    this.changed();
  }

  /** Whoever waits looks again. */
  private changed(): void {
    for (const look of this.watchers) look();
  }

  private lastWords(): string {
    const wrote = this.output.trim().split("\n").slice(-3).join(" | ");
    const how = this.exit?.signal ?? `exit code ${this.exit?.code}`;
    return `the worker ended (${how})${wrote === "" ? "" : `; it wrote: ${wrote}`}`;
  }
}

export function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, durationMs);
  });
}
